"""`bsc evaluate`: pairs read, the cache asked, figures worked out by hand, and the command as it is run."""

import gzip
import json
import re
from html.parser import HTMLParser
from pathlib import Path

import pytest

from binary_semantic_cache import SemanticCache
from binary_semantic_cache.cli.main import main
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import (
    CorruptFileError,
    EmbedderError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
)
from binary_semantic_cache.proof.asking import ALWAYS, NEVER, Asked, ask, texts_of
from binary_semantic_cache.proof.curve import area, best_by_budget, best_by_f1, curve, thresholds
from binary_semantic_cache.proof.evaluation import evaluated
from binary_semantic_cache.proof.pairs import Pair, read_pairs, requested, sampled
from binary_semantic_cache.proof.remembering import RememberingEmbedder
from binary_semantic_cache.proof.report import page
from binary_semantic_cache.proof.shares import Share, wilson
from binary_semantic_cache.text.judge import Judge
from words import WordEmbedder

OWN = Path(__file__).parents[1] / "benches" / "quality" / "pairs.jsonl"
ROWS = [
    {"id": "near", "a": "How do I reset my password?", "b": "How can I reset my password?", "same": 1},
    {"id": "far", "a": "How do I reset my password?", "b": "How tall is the Eiffel Tower?", "same": 1},
    {
        "id": "vetoed",
        "a": "May I park here for 30 minutes?",
        "b": "May I park here for 45 minutes?",
        "same": 0,
    },
    {"id": "equal", "a": "What does a ferry ticket cost?", "b": "What does a ferry ticket cost?", "same": 0},
]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(name="p", a="a", b="b", same=True, category="all"):
    return Pair(name, a, b, same, category)


def scored(score, same, **changes):
    return Asked(pair(same=same), "semantic" if score > 0.8 else "below_threshold", score, score, **changes)


# Reading


def test_json_lines_are_pairs_with_texts_messages_labels_and_categories(tmp_path):
    messages = [{"role": "user", "content": "Which plan?"}]
    rows = [*ROWS[:1], {"a": messages, "b": "x", "same": None, "category": "chat"}]
    first, second = read_pairs(write_lines(tmp_path / "p.jsonl", rows))
    assert first == Pair("near", ROWS[0]["a"], ROWS[0]["b"], True, "all")
    assert second == Pair("p.jsonl:2", messages, "x", None, "chat")


def test_a_compressed_file_reads_as_the_plain_one(tmp_path):
    plain = write_lines(tmp_path / "p.jsonl", ROWS)
    packed = tmp_path / "p.jsonl.gz"
    packed.write_bytes(gzip.compress(plain.read_bytes()))
    assert list(read_pairs(packed)) == list(read_pairs(plain))


@pytest.mark.parametrize(
    ("name", "text", "options", "expected"),
    [
        ("p.csv", "a,b\nx,y\n", {}, ("x", "y", None, "all")),
        ("p.csv", "question1,question2\nx,y\n", {}, ("x", "y", None, "all")),
        ("p.csv", "same,b,a,category\n1,y,x,c\n", {}, ("x", "y", True, "c")),
        (
            "p.csv",
            'id,q,r,dup\n7,"x, ""z""",y,0\n',
            {"columns": ("q", "r", "dup")},
            ('x, "z"', "y", False, "all"),
        ),
        ("p.csv", "x,y,different,c\n", {"header": False}, ("x", "y", False, "c")),
        ("p.tsv", "a\tb\tsame\nx,1\ty\tyes\n", {}, ("x,1", "y", True, "all")),
        ("p.csv", "\ufeffa,b,same\r\nx,y,true\r\n\r\n", {}, ("x", "y", True, "all")),
    ],
)
def test_a_csv_is_read_by_names_or_by_places(tmp_path, name, text, options, expected):
    path = tmp_path / name
    path.write_bytes(text.encode())
    (found,) = read_pairs(path, **options)
    assert (found.a, found.b, found.same, found.category) == expected


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("p.jsonl", '{"a": "x", "b": "y"}\n\n{"a": "x"\n', r"p\.jsonl:3: is not JSON"),
        ("p.jsonl", "[1]\n", r"p\.jsonl:1: expected an object, got list"),
        ("p.jsonl", '{"a": "x"}\n', r"p\.jsonl:1: b: expected a text or a list of messages, got nothing"),
        ("p.jsonl", '{"a": "x", "b": 3}\n', r"p\.jsonl:1: b: .* got int"),
        ("p.jsonl", '{"a": "x", "b": [{"role": 1}]}\n', r"p\.jsonl:1: b: "),
        ("p.jsonl", '{"a": "x", "b": "\\ud800"}\n', r"p\.jsonl:1: b: "),
        ("p.jsonl", '{"a": "x", "b": "y", "same": 2}\n', r"p\.jsonl:1: same: expected 1 or 0, got '2'"),
        ("p.csv", "a,b,same\nx,y,1\nx,y\n", r"p\.csv:3: expected 3 columns, got 2"),
        ("p.csv", 'a,b\n"x\nz",y\nx,"y\n', r"p\.csv:4: "),
        ("p.csv", "a,b,same\nx,y,maybe\n", r"p\.csv:2: same: expected 1 or 0, got 'maybe'"),
        ("p.csv", "only\nx\n", r"p\.csv:1: expected two columns or more, got 1"),
    ],
)
def test_a_line_that_is_no_pair_is_named_with_file_and_line(tmp_path, name, text, message):
    path = tmp_path / name
    path.write_text(text)
    with pytest.raises((InvalidValueError, InvalidTypeError), match=message):
        list(read_pairs(path))


def test_columns_that_are_not_there_are_named_beside_those_that_are(tmp_path):
    path = tmp_path / "p.csv"
    path.write_text("x,y\n1,2\n")
    with pytest.raises(InvalidValueError, match="expected columns among x, y, got x, z"):
        list(read_pairs(path, columns=("x", "z")))
    with pytest.raises(InvalidValueError, match=r"ends in \.csv or \.tsv"):
        list(read_pairs(write_lines(tmp_path / "p.jsonl", ROWS), columns=("a", "b")))


def test_files_that_cannot_be_read_are_typed_errors(tmp_path):
    with pytest.raises(MissingFileError, match="nothing at"):
        list(read_pairs(tmp_path / "none.jsonl"))
    (tmp_path / "p.jsonl.gz").write_bytes(b"not compressed")
    with pytest.raises(CorruptFileError, match="not readable as text"):
        list(read_pairs(tmp_path / "p.jsonl.gz"))
    whole = gzip.compress(json.dumps(ROWS[0]).encode() * 100)
    (tmp_path / "p.jsonl.gz").write_bytes(whole[: len(whole) // 2])
    with pytest.raises(CorruptFileError, match="not readable as text"):
        list(read_pairs(tmp_path / "p.jsonl.gz"))
    (tmp_path / "p.jsonl").write_bytes(b'{"a": "\xff"}')
    with pytest.raises(CorruptFileError, match="not readable as text"):
        list(read_pairs(tmp_path / "p.jsonl"))


def test_a_sample_is_the_same_for_a_seed_and_keeps_the_order():
    pairs = [pair(str(i)) for i in range(99)]
    drawn = sampled(pairs, 20, 7)
    assert drawn == sampled(pairs, 20, 7) != sampled(pairs, 20, 8)
    assert [int(one.id) for one in drawn] == sorted(int(one.id) for one in drawn)
    assert sampled(pairs, None, 7) == sampled(pairs, 100, 7) == pairs


# Asking


@pytest.fixture(scope="module")
def own_pairs():
    return list(read_pairs(OWN))


def test_each_pair_comes_to_what_the_cache_says_of_it_alone(own_pairs):
    threshold, asked = ask(own_pairs, WordEmbedder(), threshold=0.8)
    assert threshold == 0.8
    outcomes = set()
    for one in asked:
        with SemanticCache(embedder=WordEmbedder(), threshold=0.8) as cache:
            cache.put(one.pair.a, "x")
            verdict = cache.lookup(one.pair.b)
            assert one.outcome == (verdict.kind if verdict else verdict.reason.value)
            outcomes.add(one.outcome)
    assert {"semantic", "guard", "below_threshold"} <= outcomes


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.85, 0.9, 0.95])
def test_one_score_a_pair_tells_what_the_cache_serves_at_any_threshold(own_pairs, threshold):
    _, once = ask(own_pairs, WordEmbedder(), threshold=0.99)
    _, again = ask(own_pairs, WordEmbedder(), threshold=threshold)
    assert [one.served_at(threshold) for one in once] == [one.served for one in again]


def test_exact_repeats_are_always_served_and_classes_of_the_policy_never():
    repeat = pair(a="What is DNS?", b="What is DNS?")
    order = pair(a="Cancel the order", b="Cancel the order please")
    _, (exact, policy) = ask([repeat, order], WordEmbedder(), threshold=0.1)
    assert (exact.outcome, exact.score) == ("exact", ALWAYS)
    assert (policy.outcome, policy.score, policy.detail) == ("policy", NEVER, "action")


def test_a_refused_pair_names_its_guards_and_what_they_saw():
    _, (one,) = ask([pair(a=ROWS[2]["a"], b=ROWS[2]["b"])], WordEmbedder(), threshold=0.2)
    assert (one.outcome, one.guards, one.score) == ("guard", ("numbers",), NEVER)
    assert "45" in one.detail


def test_conversations_are_asked_with_their_earlier_turns_as_scope():
    last = {"role": "user", "content": "What does the plan cost?"}
    basic, family = (
        [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": name}, last]
        for name in ("Basic", "Family")
    )
    _, (same, other) = ask([pair(a=basic, b=basic), pair(a=basic, b=family)], WordEmbedder())
    assert (same.outcome, other.outcome, other.similarity) == ("exact", "no_candidate", None)


def test_every_text_is_embedded_once_and_in_batches():
    calls = []

    class Counting(WordEmbedder):
        def embed(self, texts):
            calls.append(len(texts))
            return super().embed(texts)

    pairs = [pair(a=f"question number {i}", b=f"a question of number {i}") for i in range(50)]
    remembering = RememberingEmbedder(Counting())
    done = []
    remembering.learn(texts_of(pairs), done.append)
    assert sum(done) == 100
    ask(pairs, remembering)
    assert sum(calls) == 100
    assert len(calls) == 4


def test_a_text_beyond_the_window_is_left_to_the_cache_to_refuse():
    long = pair(a=" ".join(["word"] * 100), b=" ".join(["word"] * 101))
    remembering = RememberingEmbedder(WordEmbedder())
    remembering.learn(texts_of([long]))
    assert len(remembering) == 0
    _, (one,) = ask([long], remembering)
    assert (one.outcome, one.score) == ("too_long", NEVER)


def test_an_embedder_that_fails_is_an_error_and_no_miss():
    class Broken(WordEmbedder):
        def embed(self, texts):
            raise EmbedderError("down")

    with pytest.raises(EmbedderError):
        ask([pair()], Broken())


def test_a_verifier_that_refuses_is_no_matter_of_the_threshold():
    near = pair(a=ROWS[0]["a"], b=ROWS[0]["b"])
    _, (one,) = ask([near], WordEmbedder(), threshold=0.2, verifier=lambda a, b: False)
    assert (one.outcome, one.score) == ("verifier", NEVER)


@pytest.fixture(scope="module")
def model(int8_model):
    return RememberingEmbedder(LocalEmbedder(int8_model))


@pytest.mark.parametrize("least", [0.5, 0.8, 0.904, 0.93])
def test_with_a_judge_one_probability_a_pair_tells_what_is_served_at_any(own_pairs, model, least):
    threshold, once = ask(own_pairs, model, judge=Judge(least_probability=1.0))
    assert threshold == 1.0
    _, again = ask(own_pairs, model, judge=Judge(least_probability=least))
    assert [one.served_at(least) for one in once] == [one.served for one in again]
    assert {one.outcome for one in again} >= {"semantic", "guard"}


def test_with_a_judge_the_least_cosine_stays_and_is_no_matter_of_the_threshold(own_pairs, model):
    _, asked = ask(own_pairs, model, judge=Judge(least_probability=0.0, least_cosine=0.8))
    far = [one for one in asked if one.outcome == "below_threshold"]
    assert far
    assert all(one.score == NEVER and one.similarity < 0.8 for one in far)


def test_a_judge_and_a_verifier_are_not_asked_together(own_pairs, model):
    with pytest.raises(InvalidValueError, match="expected a judge or a verifier, got both"):
        ask(own_pairs, model, judge=Judge(), verifier=lambda a, b: True)


# Figures


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        # Source: Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(count, n, low, high):
    assert wilson(count, n) == pytest.approx((low, high), abs=5e-5)


def test_of_no_pairs_everything_is_possible():
    assert wilson(0, 0) == (0.0, 1.0)


def test_thresholds_are_multiples_of_the_step_strict_ones_first():
    assert thresholds(0.7, 0.1) == [0.9, 0.8, 0.7]
    assert thresholds(-0.5, 0.5) == [0.5, 0.0, -0.5]
    assert len(thresholds(0.5, 0.01)) == 50


def test_the_curve_counts_each_label_apart():
    asked = [
        scored(0.9, True),
        scored(0.7, True),
        scored(0.85, False),
        scored(NEVER, False),
        scored(0.99, None),
    ]
    at = {one.threshold: one.point for one in curve(asked)}
    assert (at[0.9].served, at[0.9].traps) == (Share(1, 2), Share(0, 2))
    assert (at[0.7].served, at[0.7].traps) == (Share(2, 2), Share(1, 2))


def test_the_area_is_the_precision_at_each_answer():
    # Right at 0.9; right and wrong together at 0.8: 1, 2/3, 2/3; one never.
    asked = [scored(0.9, True), scored(0.8, True), scored(0.8, False), scored(NEVER, True)]
    found = area(asked)
    assert found.area == pytest.approx((1 + 2 / 3 + 2 / 3) / 4)
    assert found.hit_rate == 0.75
    assert found.mean_precision == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert area([]).mean_precision == 0.0


def test_the_best_threshold_by_budget_is_the_loosest_before_the_first_bound_beyond():
    asked = [scored(0.75, False), *[scored(0.3, False)] * 99, scored(0.9, True), scored(0.6, True)]
    points = curve(asked)
    # The upper end of 0 in 100 is 3.7 %, of 1 in 100 is 5.4 %.
    assert best_by_budget(points, 0.05).threshold == 0.76
    assert best_by_budget(points, 0.06).threshold == 0.5
    assert best_by_budget(points, 0.03) is None
    assert best_by_budget(curve([scored(0.9, True)]), 0.5) is None


def test_the_best_threshold_by_f1_is_the_strictest_of_equals():
    best = best_by_f1(curve([scored(0.9, True), scored(0.7, True), scored(0.6, False)]))
    assert (best.threshold, best.f1) == (0.7, 1.0)
    assert best_by_f1(curve([scored(0.9, False)])) is None


@pytest.fixture(scope="module")
def evaluation():
    pairs = [Pair(row["id"], row["a"], row["b"], row["same"] == 1, f"c{i % 2}") for i, row in enumerate(ROWS)]
    _, asked = ask([*pairs, pair("unlabelled", "x y z", "x y z", None)], WordEmbedder(), threshold=0.7)
    return evaluated(asked, threshold=0.7, embedder="words", budget=0.05)


def test_the_figures_are_those_of_the_hand(evaluation):
    plain = evaluation.plain(show=9)
    assert (plain["served"], plain["wrong"], plain["n_same"], plain["n_different"]) == (0.5, 0.5, 2, 2)
    assert plain["by_category"]["c0"] == {
        "served": 1.0,
        "wrong": 0.0,
        "n_same": 1,
        "n_different": 1,
        "served_interval": pytest.approx([0.206543, 1.0], abs=1e-5),
        "wrong_interval": pytest.approx([0.0, 0.793457], abs=1e-5),
    }
    assert plain["by_category"]["all"]["served"] is None
    assert plain["unlabelled"] == {"n": 1, "served": 1.0}
    assert plain["guards"] == {"numbers": {"traps": 1, "should_hit": 0, "alone": 1}}
    assert [one["id"] for one in plain["wrong_serves"]] == ["equal"]
    assert [one["id"] for one in plain["lost_hits"]] == ["far"]
    assert plain["curve_disagrees"] == 0
    json.dumps(plain, allow_nan=False)


def test_a_curve_that_is_not_the_caches_is_noticed():
    asked = [scored(0.9, True), Asked(pair(), "guard", 0.9, 0.9)]
    assert evaluated(asked, threshold=0.8, embedder="e", budget=0.05).disagreeing == 1


class _Checked(HTMLParser):
    """Refuses tags that do not close, and collects what a browser would fetch or run."""

    def __init__(self):
        super().__init__()
        self.open, self.foreign = [], []

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "link", "img", "iframe") or {"src", "href"} & {name for name, _ in attributes}:
            self.foreign.append(tag)
        if tag not in ("meta", "html"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_fetches_nothing_and_escapes_what_it_shows():
    hostile = '<script>alert(1)</script> & "quoted"'
    asked = [
        Asked(pair(f"{same} {i}", hostile, hostile, same, "<b>"), "semantic", 0.9, 0.9)
        for same in (True, False)
        for i in range(3)
    ]
    made = evaluated(asked, threshold=0.82, embedder="<i>e", budget=0.05)
    text = page(made, show=5, texts=True)
    checked = _Checked()
    checked.feed(text)
    checked.close()
    assert (checked.open, checked.foreign) == ([], [])
    assert text.count("<svg") == 2
    assert "prefers-color-scheme: dark" in text
    assert "&lt;script&gt;" in text
    assert "alert" not in page(made, show=5, texts=False)


def test_a_page_without_labels_has_no_curves(evaluation):
    made = evaluated([scored(0.9, None)], threshold=0.8, embedder="e", budget=0.05)
    assert "<svg" not in page(made, show=5, texts=True)


# The command


@pytest.fixture
def lines_file(tmp_path):
    return write_lines(tmp_path / "pairs.jsonl", ROWS)


def test_json_has_the_shares(lines_file, int8_model, capsys):
    assert main(["evaluate", str(lines_file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["served"], found["wrong"], found["threshold"]) == (0.5, 0.5, 0.82)
    assert found["by_category"]["all"]["wrong"] == 0.5
    assert found["outcomes"]["traps"] == {"exact": 1, "guard": 1}
    assert found["wrong_serves"][0]["a"] == ROWS[3]["a"]


def test_the_text_has_shares_categories_curve_guards_and_mistakes(lines_file, int8_model, capsys):
    assert main(["evaluate", str(lines_file)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^served +50\.0 % \[9\.\d to 90\.\d\], 1 of 2", text, re.MULTILINE)
    assert re.search(r"^numbers +1 +0 +1$", text, re.MULTILINE)
    assert "P-CHR AUC" in text
    assert ROWS[3]["a"] in text
    assert main(["evaluate", str(lines_file), "--no-text"]) == 0
    assert "ferry" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("most", "strict", "status"), [("0.5", False, 0), ("0.4", False, 3), ("0.5", True, 3)]
)
def test_more_wrong_answers_than_admitted_are_status_3(lines_file, int8_model, capsys, most, strict, status):
    options = ["--max-wrong", most, "--json", *["--strict"] * strict]
    assert main(["evaluate", str(lines_file), *options]) == status
    out, err = capsys.readouterr()
    assert json.loads(out)["wrong"] == 0.5
    assert (f"to be at most {most}, got" in err) == (status == 3)


def test_two_columns_without_labels_say_what_would_be_served(tmp_path, int8_model, capsys):
    path = tmp_path / "p.csv"
    path.write_text(f"first,second\n{ROWS[0]['a']},{ROWS[0]['b']}\n{ROWS[1]['a']},{ROWS[1]['b']}\n")
    assert main(["evaluate", str(path)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"served +50\.0 % .* 1 of 2 of the pairs without a label", text)
    assert "wrong" not in text
    assert main(["evaluate", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["served"], found["wrong"], found["unlabelled"]) == (None, None, {"n": 2, "served": 0.5})
    assert main(["evaluate", str(path), "--max-wrong", "0.1"]) == 1
    assert "expected pairs labelled 0 for --max-wrong" in capsys.readouterr().err


def test_a_page_and_a_picture_are_written(lines_file, int8_model, tmp_path, capsys):
    html, png = tmp_path / "report.html", tmp_path / "curve.png"
    assert main(["evaluate", str(lines_file), "--html", str(html), "--png", str(png)]) == 0
    assert html.read_text().startswith("<!doctype html>")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib_is_refused_before_anything_is_asked(
    lines_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("binary_semantic_cache.proof.plot.find_spec", lambda name: None)
    assert main(["evaluate", str(lines_file), "--png", str(tmp_path / "c.png"), "--embedder", "none"]) == 1
    assert "binary-semantic-cache[plot]" in capsys.readouterr().err


def test_a_threshold_and_a_limit_are_obeyed(lines_file, int8_model, capsys):
    assert main(["evaluate", str(lines_file), "--threshold", "0.999", "--limit", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["threshold"], found["pairs"]) == (0.999, 3)


def test_with_the_judge_the_thresholds_are_its_probabilities(lines_file, int8_model, capsys):
    assert main(["evaluate", str(lines_file), "--judge", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["threshold"], found["threshold_of"], found["least_cosine"]) == (0.904, "probability", 0.66)
    assert found["curve_disagrees"] == 0
    assert main(["evaluate", str(lines_file), "--judge", "--threshold", "0.5"]) == 0
    said = "threshold  0.500 of the judge's probability, asked from a cosine of 0.66"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--judge", "--threshold", "-0.5"], "expected least_probability from 0.0 to 1.0, got -0.5"),
        (["--strict"], "expected --max-wrong with --strict"),
        (["--columns", "a,b"], "ends in .csv or .tsv"),
        (["--embedder", "none"], "expected one of local"),
    ],
)
def test_wrong_use_is_one_line(lines_file, capsys, options, message):
    assert main(["evaluate", str(lines_file), *options]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1


def test_a_side_is_asked_as_a_prompt_or_as_a_chat():
    assert requested("x").text == "x"
    assert requested([{"role": "user", "content": "x"}]).text == "x"
