"""`bsc calibrate`: exact bounds, the walk and its promise over many samples, configuration, the command."""

import json
import math
import random
import stat
import tomllib
from fractions import Fraction
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.cli.main import main
from binary_semantic_cache.errors import ConfigurationError, InvalidTypeError, InvalidValueError
from binary_semantic_cache.proof.asking import ALWAYS, NEVER, Asked
from binary_semantic_cache.proof.bounds import at_most, labels_needed, upper_bound
from binary_semantic_cache.proof.calibration import Judged, calibrated, judged_of
from binary_semantic_cache.proof.pairs import Pair
from binary_semantic_cache.proof.threshold_file import with_threshold, write_threshold
from binary_semantic_cache.proof.traffic import is_traffic, read_traffic

OWN = Path(__file__).parents[1] / "benches" / "quality" / "pairs.jsonl"


# Bounds


@pytest.mark.parametrize(
    ("k", "n", "upper"),
    [
        # Source: Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 5.
        (81, 263, 0.3676),
        (15, 148, 0.1617),
        (0, 20, 0.1684),
        (1, 29, 0.1776),
        (29, 29, 1.0),
    ],
)
def test_the_upper_bound_is_the_published_one(k, n, upper):
    assert upper_bound(k, n, 0.975) == pytest.approx(upper, abs=5e-5)


@pytest.mark.parametrize(("n", "confidence"), [(1, 0.9), (20, 0.95), (299, 0.95), (100_000, 0.999)])
def test_with_none_wrong_the_bound_has_a_closed_form(n, confidence):
    assert upper_bound(0, n, confidence) == pytest.approx(1 - (1 - confidence) ** (1 / n), rel=1e-9)


def test_of_no_labels_everything_is_possible():
    assert upper_bound(0, 0, 0.95) == 1.0


@given(st.integers(1, 60).flatmap(lambda n: st.tuples(st.integers(0, n), st.just(n))), st.integers(1, 99))
def test_the_tail_is_that_of_exact_arithmetic(counts, percent):
    k, n = counts
    p = Fraction(percent, 100)
    exact = sum(math.comb(n, j) * p**j * (1 - p) ** (n - j) for j in range(k + 1))
    assert at_most(k, n, percent / 100) == pytest.approx(float(exact), rel=1e-9, abs=1e-300)


@given(st.integers(1, 3000).flatmap(lambda n: st.tuples(st.integers(0, n - 1), st.just(n))))
def test_at_the_bound_so_few_have_just_the_probability_that_is_left(counts):
    k, n = counts
    bound = upper_bound(k, n, 0.95)
    assert k / n < bound < 1.0
    assert at_most(k, n, bound) == pytest.approx(0.05, rel=1e-6)


def test_large_counts_neither_overflow_nor_take_long():
    assert upper_bound(50_000, 1_000_000, 0.95) == pytest.approx(
        0.05 + 1.645 * math.sqrt(0.05 * 0.95 / 1e6), abs=2e-5
    )
    assert at_most(900_000, 1_000_000, 0.1) == 1.0


@pytest.mark.parametrize(
    ("budget", "confidence", "needed"),
    [(0.01, 0.95, 299), (0.001, 0.95, 2995), (0.02, 0.95, 149), (0.05, 0.95, 59)],
)
def test_labels_needed_without_a_wrong_one_are_those_of_the_logarithm(budget, confidence, needed):
    assert labels_needed(0, budget, confidence) == needed
    assert needed == math.ceil(math.log(1 - confidence) / math.log(1 - budget))


@pytest.mark.parametrize("k", [0, 1, 2, 7])
def test_labels_needed_are_the_fewest_that_do(k):
    n = labels_needed(k, 0.03, 0.9)
    assert upper_bound(k, n, 0.9) <= 0.03 < upper_bound(k, n - 1, 0.9)


@pytest.mark.parametrize("wrong", [(-1, 5, 0.95), (6, 5, 0.95), (1, 5, 1.0), (1, 5, 0.0)])
def test_a_bound_of_what_cannot_be_is_refused(wrong):
    with pytest.raises(InvalidValueError, match="expected"):
        upper_bound(*wrong)


# The walk


def judged(*runs):
    """Labels from runs of (score, right, how many)."""
    return [Judged(score, right) for score, right, n in runs for _ in range(n)]


def test_the_walk_ends_at_the_first_failure_even_if_later_thresholds_would_pass():
    labels = judged((0.95, True, 130), (0.85, False, 8), (0.75, True, 2000))
    found = calibrated(labels, budget=0.05)
    assert found.chosen.threshold == 0.86
    assert (found.chosen.wrong, found.chosen.n) == (0, 130)
    assert (found.failed.threshold, found.failed.wrong) == (0.85, 8)
    assert upper_bound(8, 2138, 0.95) < 0.05


def test_the_loosest_threshold_is_chosen_when_nothing_fails():
    found = calibrated(judged((0.9, True, 100)), budget=0.05, least=0.6)
    assert found.chosen.threshold == 0.6
    assert found.failed is None
    assert found.missing is None


def test_the_walk_begins_where_hits_can_bear_a_wrong_one():
    # One wrong among the first 59, which alone would have to be without any; 93 bear one, 124 bear two.
    labels = judged((0.95, False, 1), (0.94, True, 60), (0.85, True, 200))
    assert [labels_needed(k, 0.05, 0.95) for k in (0, 1, 2)] == [59, 93, 124]
    found = calibrated(labels, budget=0.05, least=0.8)
    assert found.steps[0].n == 261
    assert found.chosen.threshold == 0.8


def test_with_few_hits_the_walk_begins_where_none_may_be_wrong():
    # 124 would bear two, but that is at 0.75, among the looser half.
    labels = judged((0.95, True, 70), (0.75, False, 12), (0.75, True, 60))
    found = calibrated(labels, budget=0.05)
    assert (found.steps[0].n, found.chosen.threshold) == (70, 0.76)


def test_where_to_begin_depends_on_how_many_hits_there_are_and_not_on_what_they_are():
    rng = random.Random(3)
    scores = [rng.random() for _ in range(400)]
    starts = {
        calibrated([Judged(score, rng.random() < 0.9) for score in scores], budget=0.04).steps[0].threshold
        for _ in range(20)
    }
    assert len(starts) == 1


def test_too_few_labels_promise_nothing_and_say_how_many_are_missing():
    found = calibrated(judged((0.9, True, 40)), budget=0.02)
    assert (found.chosen, found.steps, found.missing, found.needed) == (None, [], 109, 149)


def test_wrong_labels_at_the_start_say_how_many_more_would_be_needed():
    found = calibrated(judged((0.9, True, 150), (0.9, False, 3)), budget=0.02)
    assert found.chosen is None
    assert found.missing == labels_needed(3, 0.02, 0.95) - 153


def test_of_traps_all_traps_count_and_of_pairs_all_pairs():
    labels = judged((0.9, True, 50), (0.85, False, 2), (NEVER, False, 145), (NEVER, True, 3))
    traps = calibrated(labels, budget=0.05, of="traps")
    assert (traps.chosen.threshold, traps.chosen.n, traps.chosen.wrong) == (0.5, 147, 2)
    pairs = calibrated(labels, budget=0.05, of="pairs")
    assert (pairs.chosen.n, pairs.chosen.wrong) == (200, 2)


def test_exact_repeats_and_pairs_without_a_label_are_left_out():
    def asked(score, same):
        return Asked(Pair("p", "a", "b", same, "all"), "", score, None)

    found = judged_of([asked(ALWAYS, True), asked(0.9, None), asked(0.8, False), asked(NEVER, True)])
    assert found == [Judged(0.8, False), Judged(NEVER, True)]


@pytest.mark.parametrize(
    "wrong",
    [
        {"budget": 0.0},
        {"confidence": 1.0},
        {"of": "all"},
        {"step": 0.0},
        {"step": 0.9},
        {"least": 1.0},
        {"least": -2.0},
    ],
)
def test_arguments_out_of_range_are_refused(wrong):
    with pytest.raises(InvalidValueError, match="expected"):
        calibrated(judged((0.9, True, 1)), **{"budget": 0.05, **wrong})


def chance_of_right(score):
    """A world in which an answer of this similarity is right so often."""
    return 1 / (1 + math.exp(-25 * (score - 0.7)))


def true_share_wrong(threshold):
    """Of the answers served in that world, whose similarities are even between 0.6 and 1."""
    scores = [0.6 + 0.4 * (i + 0.5) / 4000 for i in range(4000)]
    served = [1 - chance_of_right(score) for score in scores if score >= threshold]
    return sum(served) / len(served)


@pytest.mark.parametrize(
    ("n", "budget", "confidence"), [(300, 0.05, 0.9), (1500, 0.03, 0.9), (600, 0.10, 0.8)]
)
def test_the_promise_holds_in_as_many_samples_as_it_says(n, budget, confidence):
    """Coverage over 400 samples: the share of broken promises is at most what the confidence leaves."""
    rng = random.Random(n)
    samples, broken, promised = 400, 0, 0
    for _ in range(samples):
        scores = [0.6 + 0.4 * rng.random() for _ in range(n)]
        labels = [Judged(score, rng.random() < chance_of_right(score)) for score in scores]
        chosen = calibrated(labels, budget=budget, confidence=confidence, least=0.6).chosen
        if chosen is not None:
            promised += 1
            broken += true_share_wrong(chosen.threshold) > budget
    # At most three standard deviations above what is allowed; fixed seeds make it the same every time.
    allowed = samples * (1 - confidence)
    assert broken <= allowed + 3 * math.sqrt(allowed * confidence)
    assert promised > samples * 0.8


def test_a_choice_by_the_point_estimate_would_break_its_promise_far_more_often():
    """What the bound is for: the loosest threshold whose observed share is in the budget."""
    rng = random.Random(300)
    broken = 0
    for _ in range(200):
        scores = sorted((0.6 + 0.4 * rng.random() for _ in range(300)), reverse=True)
        labels = [(score, rng.random() < chance_of_right(score)) for score in scores]
        wrong, loosest = 0, 1.0
        for n, (score, right) in enumerate(labels, 1):
            wrong += not right
            if wrong <= 0.05 * n:
                loosest = score
        broken += true_share_wrong(loosest) > 0.05
    assert broken > 200 * 0.3


# Judged answers


def lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def test_judged_answers_are_read_by_class(tmp_path):
    path = lines(
        tmp_path / "j.jsonl",
        [
            {"similarity": 0.9, "right": True, "class": "faq"},
            {"similarity": 1, "right": False},
            {"similarity": 0.8, "right": 0, "class": "faq", "more": "is passed over"},
        ],
    )
    assert is_traffic(path)
    assert read_traffic(path) == {
        "faq": [Judged(0.9, True), Judged(0.8, False)],
        "all": [Judged(1.0, False)],
    }
    assert not is_traffic(OWN)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        ({"right": True}, "similarity: expected a number, got NoneType"),
        ({"similarity": "0.9", "right": True}, "similarity: expected a number, got str"),
        ({"similarity": 90, "right": True}, "similarity: expected a cosine, got 90"),
        ({"similarity": 0.9, "right": "yes"}, "right: expected true or false, got 'yes'"),
    ],
)
def test_a_line_that_is_no_judged_answer_is_named(tmp_path, row, message):
    path = lines(tmp_path / "j.jsonl", [{"similarity": 0.9, "right": True}, row])
    with pytest.raises((InvalidTypeError, InvalidValueError), match=rf"j\.jsonl:2: {message}"):
        read_traffic(path)


# Configuration files


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("", "[cache]\nthreshold = 0.84\n"),
        ("[cache]\nthreshold = 0.9\n", "[cache]\nthreshold = 0.84\n"),
        ("[cache]\n  threshold=0.9# why\nmode = 'on'\n", "[cache]\n  threshold=0.84# why\nmode = 'on'\n"),
        ("# top\n[cache]  # here\nmode = 'on'\n", "# top\n[cache]  # here\nthreshold = 0.84\nmode = 'on'\n"),
        ("[server]\nport = 1", "[server]\nport = 1\n\n[cache]\nthreshold = 0.84\n"),
        (
            "[steering]\nthreshold = 0.1\n[cache]\r\n[prices]\nthreshold = 1\n",
            "[steering]\nthreshold = 0.1\n[cache]\r\nthreshold = 0.84\n[prices]\nthreshold = 1\n",
        ),
        ("[cache]\r\nthreshold = 0.9 # x\r\n", "[cache]\r\nthreshold = 0.84 # x\r\n"),
        ("[cache]\n# threshold = 0.9\n", "[cache]\nthreshold = 0.84\n# threshold = 0.9\n"),
        ('["cache"]\nthreshold = 0.9', '["cache"]\nthreshold = 0.84'),
    ],
)
def test_one_value_changes_and_every_other_character_stays(before, after):
    assert with_threshold(before, 0.84) == after


@pytest.mark.parametrize(
    "text",
    [
        "cache = { threshold = 0.9 }\n",
        "cache.threshold = 0.9\n",
        '[cache]\nnote = """\nthreshold = 1\n"""\nthreshold = 0.9\n',
        '[server]\nnote = """\n[cache]\n"""\n[cache]\nmode = "on"\n',
        '[cache]\n"threshold" = 0.9\n',
        "cache = 3\n",
        "[cache\n",
    ],
)
def test_what_one_line_cannot_set_is_refused(text):
    with pytest.raises(ConfigurationError, match=r"by hand|expected"):
        with_threshold(text, 0.84)


@given(st.text("[]cache\"'=# \n\tthresold0.9", max_size=60), st.sampled_from([0.5, 0.84, 1e-07, -0.25]))
def test_whatever_the_text_the_result_differs_in_the_one_value_or_is_refused(text, threshold):
    try:
        new = with_threshold(text, threshold)
    except ConfigurationError:
        return
    wanted = tomllib.loads(text)
    wanted.setdefault("cache", {})["threshold"] = threshold
    assert tomllib.loads(new) == wanted


def test_a_file_keeps_its_permissions_and_is_left_alone_when_refused(tmp_path):
    path = tmp_path / "bsc.toml"
    path.write_text("[cache]\nthreshold = 0.9\n")
    path.chmod(0o640)
    write_threshold(path, 0.84)
    assert path.read_text() == "[cache]\nthreshold = 0.84\n"
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    path.write_text("cache.threshold = 0.9\n")
    with pytest.raises(ConfigurationError, match=r"bsc\.toml: .* by hand"):
        write_threshold(path, 0.84)
    assert path.read_text() == "cache.threshold = 0.9\n"
    assert [one.name for one in tmp_path.iterdir()] == ["bsc.toml"]


def test_a_link_to_a_file_stays_a_link(tmp_path):
    target, link = tmp_path / "real.toml", tmp_path / "bsc.toml"
    target.write_text("[cache]\n")
    link.symlink_to(target)
    write_threshold(link, 0.84)
    assert link.is_symlink()
    assert "threshold = 0.84" in target.read_text()


# The command


@pytest.fixture
def live(tmp_path):
    rows = [{"similarity": 0.86 + 0.001 * (i % 130), "right": True, "class": "faq"} for i in range(400)]
    rows += [{"similarity": 0.9, "right": i > 0, "class": "chat"} for i in range(30)]
    return lines(tmp_path / "judged.jsonl", rows)


def test_live_answers_set_the_threshold_of_a_configuration_that_the_proxy_reads(live, tmp_path, capsys):
    path = tmp_path / "bsc.toml"
    path.write_text('# ours\n[cache]\nmode = "on"  # always\n')
    options = [str(live), "--budget", "2%", "--by", "class", "--write", str(path)]
    assert main(["calibrate", *options]) == 0
    out, err = capsys.readouterr()
    # Nothing below the least similarity that was judged.
    assert "threshold  0.86: at most 2 % of answers served by meaning are wrong" in out
    assert "faq" in out
    assert "chat" in out
    assert "a configuration has one threshold" in err
    assert path.read_text() == '# ours\n[cache]\nthreshold = 0.86\nmode = "on"  # always\n'
    assert main(["serve", "--config", str(path), "--check"]) == 0


@pytest.mark.parametrize("least", [0.57, 0.58, 0.83, 0.95])
def test_the_least_similarity_seen_is_itself_a_threshold_that_may_come_out(tmp_path, capsys, least):
    path = lines(tmp_path / "judged.jsonl", [{"similarity": least, "right": True}] * 200)
    assert main(["calibrate", str(path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["threshold"] == least


def test_json_has_the_walk_and_the_classes(live, capsys):
    assert main(["calibrate", str(live), "--by", "class", "--json", "--step", "0.02"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["threshold"], found["labels"], found["wrong"], found["n"]) == (0.86, 430, 1, 430)
    assert found["bound"] == pytest.approx(upper_bound(1, 430, 0.95), abs=1e-6)
    assert found["by"]["faq"]["threshold"] == 0.86
    assert (found["by"]["chat"]["threshold"], found["by"]["chat"]["labels_missing"]) == (None, 119)
    assert [step["threshold"] for step in found["steps"]] == sorted(
        (step["threshold"] for step in found["steps"]), reverse=True
    )


def test_no_promise_is_status_3_says_what_is_missing_and_writes_nothing(tmp_path, capsys):
    few = lines(tmp_path / "few.jsonl", [{"similarity": 0.9, "right": True}] * 40)
    path = tmp_path / "bsc.toml"
    assert main(["calibrate", str(few), "--write", str(path)]) == 3
    out = capsys.readouterr().out
    assert "149 labels without a wrong one would prove it, there are 40: 109 more are needed" in out
    assert not path.exists()


def test_pairs_are_asked_of_the_cache_and_calibrated(int8_model, capsys):
    options = ["--of", "traps", "--budget", "0.1", "--step", "0.02", "--by", "category", "--json"]
    assert main(["calibrate", str(OWN), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    rows = [json.loads(line) for line in OWN.read_text().splitlines()]
    assert found["n"] == sum(row["same"] == 0 for row in rows)
    assert found["wrong"] == 0
    assert found["embedder"].startswith("all-MiniLM-L6-v2")
    assert set(found["by"]) == {row["category"] for row in rows}


def test_with_the_judge_the_walk_goes_over_its_probabilities(int8_model, capsys):
    options = ["--judge", "--of", "traps", "--budget", "0.1", "--json"]
    assert main(["calibrate", str(OWN), *options]) == 0
    found = json.loads(capsys.readouterr().out)
    assert found["threshold_of"] == "probability"
    assert 0.5 <= found["threshold"] < 1.0
    assert main(["calibrate", str(OWN), *options[:-1]]) == 0
    assert "the thresholds are its least probabilities" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("rows", "options", "message"),
    [
        ([{"similarity": 0.9, "right": True}], ["--judge"], "expected pairs with --judge"),
        ([{"a": "x", "b": "y"}], ["--judge", "--write", "x.toml"], "expected --write without --judge"),
        ([{"a": "x", "b": "y"}], [], "expected pairs with labels"),
        ([{"similarity": 0.9, "right": True}], ["--of", "traps"], "expected --of hits for judged answers"),
        ([{"similarity": 0.9, "right": True}], [str(OWN)], "got files of both"),
    ],
)
def test_wrong_use_is_one_line(tmp_path, capsys, rows, options, message):
    path = lines(tmp_path / "f.jsonl", rows)
    assert main(["calibrate", str(path), *options]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
