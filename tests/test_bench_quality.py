"""The measurement of quality: its arithmetic on cases worked by hand, and a small run of the whole."""

import json
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from benches.quality.ablation import ablated, in_doubt
from benches.quality.evidence import JUDGE, Evidence, judged_outcome, outcome
from benches.quality.inputs import INPUTS, misspelt, typed
from benches.quality.pairs import OWN, load, read
from benches.quality.shares import THRESHOLDS, curve, measured

from binary_semantic_cache import Guards, MissReason
from binary_semantic_cache.proof.pairs import Pair
from binary_semantic_cache.proof.shares import Point, Share
from binary_semantic_cache.text.guards import GUARDS

ROOT = Path(__file__).parents[1]
PAIRS = [
    ("How do I reset my password?", "How can I reset my password?", 1),
    ("How do I reset my password?", "How tall is the Eiffel Tower?", 1),
    ("Can I park here for 30 minutes?", "Can I park here for 45 minutes?", 0),
    ("What does a ferry ticket cost?", "What does a ferry ticket cost?", 0),
]
"""Served: the first and, being equal, the last. Too far: the second. Near, but vetoed: the third."""


def evidence(
    cosine,
    *,
    same=True,
    vetoes=(),
    probability=0.5,
    equal=False,
    one_scope=True,
    refused=None,
    searchable=True,
):
    return Evidence(
        pair=Pair("", "", "", same, ""),
        distance=0,
        cosine=cosine,
        vetoes=frozenset(vetoes),
        probability=probability,
        equal=equal,
        one_scope=one_scope,
        refused=refused,
        searchable=searchable,
    )


def test_shares_are_of_the_pairs_with_their_label():
    pairs = [
        evidence(0.9, same=True),
        evidence(0.7, same=True),
        evidence(0.95, same=False),
        evidence(0.5, same=False),
    ]
    point = measured(pairs, lambda one: one.cosine >= 0.6)
    assert (point.served, point.traps) == (Share(2, 2), Share(1, 2))
    assert (point.precision, point.hit_rate) == (Share(2, 3), Share(3, 4))
    points = curve(pairs, lambda one, threshold: one.cosine >= threshold)
    assert points[THRESHOLDS.index(0.7)] == Point(Share(2, 2), Share(1, 2))
    assert points[THRESHOLDS.index(0.71)] == Point(Share(1, 2), Share(1, 2))
    assert points[-1] == Point(Share(0, 2), Share(0, 2))


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        ({"equal": True, "refused": MissReason.POLICY, "searchable": False}, "exact"),
        ({"refused": MissReason.POLICY}, "policy"),
        ({"searchable": False}, "no_candidate"),
        ({"equal": True, "one_scope": False}, "no_candidate"),
        ({"vetoes": ["numbers"]}, "guard"),
        ({}, "semantic"),
    ],
)
def test_the_composed_decision_goes_in_the_order_of_the_cache(given, expected):
    assert outcome(evidence(0.9, same=True, **given), 0.82) == expected
    if expected in ("guard", "semantic"):
        assert outcome(evidence(0.81, same=True, **given), 0.82) == "below_threshold"


def test_the_judge_has_its_own_limits_and_speaks_last():
    likely = JUDGE.least_probability
    assert judged_outcome(evidence(0.67, probability=likely)) == "semantic"
    assert judged_outcome(evidence(0.67, probability=likely - 0.01)) == "judge"
    assert judged_outcome(evidence(0.65, probability=1.0)) == "below_threshold"
    assert judged_outcome(evidence(0.9, probability=1.0, vetoes=["numbers"])) == "guard"
    assert judged_outcome(evidence(0.9, probability=0.0, equal=True)) == "exact"


def test_each_step_of_the_ablation_adds_one_part_to_those_before_it():
    served = {
        name: point.traps.count
        for name, point in ablated(
            [
                evidence(0.9, same=False, vetoes=["numbers"], probability=1.0),
                evidence(0.9, same=False, vetoes=["units", "time"]),
                evidence(0.9, same=False, vetoes=["substitution"]),
                evidence(0.9, same=False, one_scope=False, searchable=False),
                evidence(0.9, same=False),
            ],
            0.82,
        ).items()
    }
    assert list(served)[:4] == ["codes", "cosine", "+ numbers", "+ units"]
    assert list(served)[2:-3] == [f"+ {guard}" for guard in GUARDS]
    assert [served[name] for name in ("codes", "cosine", "+ numbers", "+ units")] == [5, 5, 4, 3]
    assert [served[name] for name in list(served)[-4:]] == [2, 1, 0, 1]


def test_the_grey_zone_is_what_a_verifier_would_be_asked():
    zone = in_doubt(
        [
            evidence(0.9, probability=0.96),
            evidence(0.55, probability=0.7),
            evidence(0.9, probability=0.4),
            evidence(0.9, probability=0.7, equal=True),
            evidence(0.9, probability=0.7, vetoes=["numbers"]),
            evidence(0.9, same=False, probability=0.96),
            evidence(0.9, same=False, probability=0.7),
        ]
    )
    assert zone.asked == Share(2, 7)
    assert zone.best == Point(Share(3, 5), Share(1, 2))
    assert zone.worst == Point(Share(3, 5), Share(2, 2))


def test_misspelling_changes_one_letter_of_long_words_alone():
    text = "How do I reset my password on 30 devices by 12:45?"
    wrong = misspelt(text, Random(1), share=1.0)
    for before, after in zip(text.split(), wrong.split(), strict=True):
        letters = before.strip("?")
        if letters.isalpha() and len(letters) >= 4:
            assert after[0] == before[0]
            assert abs(len(after) - len(before)) <= 1
        else:
            assert after == before
    assert wrong != text
    assert misspelt(text, Random(1), share=0.0) == text


def test_about_as_many_words_are_misspelt_as_was_said():
    words = ["question"] * 4000
    wrong = misspelt(" ".join(words), Random(2), share=0.1).split()
    assert 0.08 < sum(word != "question" for word in wrong) / len(words) < 0.12


def test_each_side_of_a_pair_is_mistyped_for_itself_and_the_same_each_time():
    text = " ".join(["question"] * 100)
    conversation = [{"role": "user", "content": text}, {"role": "user", "content": text}]
    pairs = [Pair("1", text, text, True, ""), Pair("2", conversation, conversation, True, "")]
    for name in INPUTS:
        plain, messages = typed(pairs, name)
        assert [plain, messages] == list(typed(pairs, name))
        differs = "misspelt" in name
        assert (plain.a != plain.b) is (messages.a != messages.b) is differs
    assert [message["role"] for message in messages.a] == ["user", "user"]


def test_a_sample_is_drawn_the_same_each_time_and_keeps_the_order(tmp_path):
    path = tmp_path / "pairs.jsonl"
    rows = [
        {"id": str(i), "a": "a", "b": "b", "same": i % 2, "category": "c", "source": "s"} for i in range(99)
    ]
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    drawn = read("set", path, 20)
    assert drawn == read("set", path, 20)
    assert (drawn.rows, len(drawn.pairs)) == (99, 20)
    assert [int(pair.id) for pair in drawn.pairs] == sorted(int(pair.id) for pair in drawn.pairs)
    assert len(read("set", path).pairs) == 99


def test_the_own_pairs_are_all_different_and_of_both_kinds(tmp_path):
    (own,) = load(tmp_path, full=True, smoke=False)
    assert own.name == OWN
    assert len({(pair.a, pair.b) for pair in own.pairs}) == len({pair.id for pair in own.pairs}) == own.rows
    assert {pair.same for pair in own.pairs} == {True, False}


def test_a_guard_objects_alone_as_it_does_among_all():
    """What the tables of one guard alone and one left out rest on."""
    (own,) = load(ROOT / "nowhere", full=True, smoke=False)
    together = [{veto.guard for veto in Guards().check(pair.b, [pair.a])[0]} for pair in own.pairs]
    for guard in GUARDS:
        lone = Guards(disabled=set(GUARDS) - {guard})
        alone = [{veto.guard for veto in lone.check(pair.b, [pair.a])[0]} for pair in own.pairs]
        assert alone == [found & {guard} for found in together], guard


@pytest.fixture(scope="module")
def smoke(int8_model, tmp_path_factory):
    """A small run over four pairs of strings and one of conversations."""
    data, out = tmp_path_factory.mktemp("data"), tmp_path_factory.mktemp("out")
    (data / "adversarial").mkdir()
    rows = [
        {"id": str(i), "a": a, "b": b, "same": same, "category": "c", "source": "s"}
        for i, (a, b, same) in enumerate(PAIRS)
    ]
    (data / "adversarial" / "fow_questions.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    messages = [{"role": "user", "content": "Which plan?"}, {"role": "assistant", "content": "Basic."}]
    last = {"role": "user", "content": "What does it cost?"}
    other = [messages[0], {"role": "assistant", "content": "Family."}, last]
    row = {"id": "0", "a": [*messages, last], "b": other, "same": 0, "category": "c", "source": "s"}
    (data / "adversarial" / "fow_conversations.jsonl").write_text(json.dumps(row) + "\n")
    options = ["--smoke", "--data", str(data), "--out", str(out), "--docs", str(out / "docs")]
    command = [sys.executable, "-m", "benches.quality", *options]
    (out / "docs").mkdir()
    (out / "docs" / "quality.md").write_text(
        "before\n<!-- measured: begin -->\nold\n<!-- measured: end -->\nafter\n"
    )
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=120, check=False)
    return done, out


def test_a_run_measures_what_was_worked_out_by_hand(smoke):
    done, out = smoke
    assert done.returncode == 0, done.stderr
    (raw,) = out.glob("*-smoke-quality.json")
    results = {result["set"]: result for result in json.loads(raw.read_text())["results"]}
    questions = results["questions"]["decisions"]
    half = {"count": 1, "n": 2, "share": 0.5, "interval": [0.0945, 0.9055]}
    assert questions["as shipped"] == {"served": half, "traps": half}
    assert questions["cosine"]["traps"]["count"] == 2
    assert results["questions"]["outcomes"] == {
        "should_hit": {"semantic": 1, "below_threshold": 1},
        "traps": {"guard": 1, "exact": 1},
    }
    assert results["questions"]["guard_left_out"]["numbers"]["traps"]["count"] == 2
    assert list(results["questions"]["inputs"]) == list(INPUTS)
    assert results["questions"]["inputs"]["as written"]["as shipped"] == questions["as shipped"]
    assert results["questions"]["inputs"]["as written"]["with judge"] == questions["with judge"]
    steps = results["questions"]["ablation"]
    assert (steps["cosine"], steps["as shipped"]) == (questions["cosine"], questions["as shipped"])
    conversations = results["conversations"]
    assert conversations["outcomes"]["traps"] == {"no_candidate": 1}
    assert all(point["traps"]["count"] == 1 for point in conversations["contenders"].values())


def test_a_run_prints_a_table_and_renews_the_part_of_the_document_between_the_marks(smoke):
    done, out = smoke
    assert "| questions: served" in done.stdout
    text = (out / "docs" / "quality.md").read_text()
    assert text.startswith("before\n<!-- measured: begin -->\n")
    assert text.endswith("<!-- measured: end -->\nafter\n")
    assert "\nold\n" not in text
    assert done.stdout.strip() in text
    figures = sorted((out / "docs" / "figures").glob("*.png"))
    assert [figure.name for figure in figures if f"figures/{figure.name}" not in text] == []
    assert figures
    assert all(figure.stat().st_size < 80_000 for figure in figures)


def test_a_run_compares_conversations_by_digests_instead(tmp_path, int8_model):
    (tmp_path / "adversarial").mkdir()
    rows = []
    for i, (plan, other, same) in enumerate(
        [("Basic", "Basic", 1), ("Basic", "basic plan, please", 1), ("Basic", "Family", 0)]
    ):
        a, b = (
            [
                {"role": "user", "content": f"{name} it is"},
                {"role": "assistant", "content": "Noted"},
                {"role": "user", "content": "What does it cost?"},
            ]
            for name in (plan, other)
        )
        rows.append({"id": str(i), "a": a, "b": b, "same": same, "category": "c", "source": "s"})
    (tmp_path / "adversarial" / "fow_conversations.jsonl").write_text("\n".join(map(json.dumps, rows)))
    command = [sys.executable, "-m", "benches.quality", "--digests", "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    lines = done.stdout.splitlines()
    assert lines[0].count("|") == lines[2].count("|") == 8
    assert all(cell.strip().endswith(", 100.0") for cell in lines[3].split("|")[2:-1]), lines[3]
    assert "percent of 2 pairs" in lines[-1]
    command[-1] = str(tmp_path / "none")
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert (done.returncode, "no conversations" in done.stderr) == (2, True)


def test_without_pairs_the_project_document_is_left_alone(tmp_path):
    command = [sys.executable, "-m", "benches.quality", "--data", str(tmp_path), "--docs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--data FOLDER" in done.stderr
