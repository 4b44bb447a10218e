"""The measurement of quality: its arithmetic on cases worked by hand, and a small run of the whole."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
from benches.quality.evidence import Evidence, outcome
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


def evidence(cosine, *, same, vetoes=(), equal=False, one_scope=True, refused=None, searchable=True):
    return Evidence(
        pair=Pair("", "", "", same, ""),
        distance=0,
        cosine=cosine,
        vetoes=frozenset(vetoes),
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


def test_without_pairs_the_project_document_is_left_alone(tmp_path):
    command = [sys.executable, "-m", "benches.quality", "--data", str(tmp_path), "--docs"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 2
    assert "--data FOLDER" in done.stderr
