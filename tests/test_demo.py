"""The demonstration: its questions are sound, and what it reports is what happened."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from binary_semantic_cache import SemanticCache
from binary_semantic_cache.cli.demo import questions
from binary_semantic_cache.cli.demo import report as demo_report
from binary_semantic_cache.cli.demo.findings import Alone, Findings, Latency, Outcome, Reopened

QUESTIONS = questions.load()
DEMO = [sys.executable, "-m", "binary_semantic_cache.cli.main", "demo"]


def asked_of(kind):
    return [asked for asked in QUESTIONS.asked if asked.kind == kind]


def test_there_are_enough_questions_of_each_kind():
    assert len(QUESTIONS.stored) >= 300
    assert len(asked_of("paraphrase")) >= 60
    assert len(asked_of("unrelated")) >= 40
    assert len(asked_of("trap")) >= 20


def test_ids_are_unique_and_plain():
    ids = [stored.id for stored in QUESTIONS.stored]
    assert len(set(ids)) == len(ids)
    assert all(re.fullmatch(r"[a-z0-9-]+", one) for one in ids)


def test_no_question_occurs_twice():
    texts = [item.question.casefold() for item in (*QUESTIONS.stored, *QUESTIONS.asked)]
    assert sorted(texts) == sorted(set(texts))


def test_answers_are_short_and_complete():
    for stored in QUESTIONS.stored:
        assert 3 <= len(stored.answer) <= 260, stored.id
        assert stored.answer.endswith("."), stored.id
        assert stored.answer.count("`") % 2 == 0, stored.id


def test_every_paraphrase_has_a_stored_target():
    ids = {stored.id for stored in QUESTIONS.stored}
    assert {asked.target for asked in asked_of("paraphrase")} <= ids


def test_every_trap_resembles_a_stored_question_and_says_why_it_differs():
    ids = {stored.id for stored in QUESTIONS.stored}
    for trap in asked_of("trap"):
        assert trap.resembles in ids
        assert trap.because
        assert trap.target is None


@pytest.fixture(scope="module")
def kept(tmp_path_factory):
    return tmp_path_factory.mktemp("demo") / "kept.db"


@pytest.fixture(scope="module")
def report(int8_model, kept):
    command = [*DEMO, "--json", "--threshold", "0.82", "--keep", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


def test_demo_shows_its_steps_and_no_bars_when_nobody_watches(report):
    lines = [line for line in report["stderr"].splitlines() if line.startswith("[")]
    assert [line[:5] for line in lines] == [f"[{step}/5]" for step in range(1, 6)]
    assert "%|" not in report["stderr"]


def test_demo_stores_and_asks_every_question(report):
    assert report["entries"] == report["repeats"] == report["repeats_right"] == len(QUESTIONS.stored)
    assert [o["question"] for o in report["outcomes"]] == [asked.question for asked in QUESTIONS.asked]


def test_demo_serves_what_reaches_the_threshold_and_nothing_speaks_against(report):
    for outcome in report["outcomes"]:
        served = outcome["verdict"] != "missed"
        assert served == (outcome["reason"] is None), outcome
        if served:
            assert outcome["similarity"] >= report["threshold"], outcome
            assert (outcome["verdict"] == "right") == outcome["nearest_is_right"], outcome
        elif outcome["reason"] == "below_threshold":
            assert outcome["similarity"] < report["threshold"], outcome


def test_demo_serves_no_unrelated_question(report):
    assert report["totals"]["unrelated"] == {"right": 0, "wrong": 0, "missed": len(asked_of("unrelated"))}


def test_demo_serves_more_and_errs_less_than_a_threshold_on_codes(report):
    totals, alone = report["totals"], report["alone"][0]
    assert totals["paraphrase"]["right"] > alone["paraphrases_right"] >= 10
    assert totals["trap"]["wrong"] < alone["traps_wrong"] / 2
    assert totals["paraphrase"]["right"] > 5 * totals["paraphrase"]["wrong"]


def test_guards_and_policy_only_take_away_from_a_threshold_on_cosines(report):
    totals, alone = report["totals"], report["alone"][1]
    assert totals["trap"]["wrong"] < alone["traps_wrong"]
    assert totals["paraphrase"]["right"] <= alone["paraphrases_right"] + alone["paraphrases_wrong"]


def test_demo_counts_no_trap_as_right(report):
    assert report["totals"]["trap"]["right"] == 0


def test_new_process_answers_as_the_first_one(report):
    assert report["reopened"]["equal"] is True


def test_latencies_are_positive_and_ordered(report):
    latencies = report["latencies"]
    assert set(latencies) == {"exact", "embed", "encode", "search", "search_100k", "decide", "lookup"}
    for latency in latencies.values():
        assert 0 < latency["median_us"] <= latency["p95_us"]
        assert latency["calls"] >= 100
    assert latencies["embed"]["median_us"] <= latencies["lookup"]["median_us"]


def test_kept_file_is_a_cache_of_all_questions(report, kept, int8_model):
    with SemanticCache(kept) as cache:
        assert len(cache) == len(QUESTIONS.stored)
        assert all(cache.lookup(stored.question).kind == "exact" for stored in QUESTIONS.stored)
    assert report["file_bytes"] >= kept.stat().st_size


@pytest.mark.parametrize("made", [False, True])
def test_place_that_cannot_be_written_is_one_clear_line(int8_model, tmp_path, made):
    path = tmp_path / "cache.db"
    if made:
        path.write_text("somebody's file")
    else:
        path = path / "under a file" / "cache.db"
        (tmp_path / "cache.db").write_text("no folder")
    done = subprocess.run([*DEMO, "--keep", str(path)], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("bsc: error: ")
    assert "Traceback" not in done.stderr
    assert "somebody" in path.read_text() if made else True


def made_up_findings(**changes):
    outcomes = (
        Outcome("paraphrase", "undo commit", "How do I undo a commit?", 0.9, True, "right"),
        Outcome("paraphrase", "drop commit", "How do I undo a commit?", 0.85, False, "wrong"),
        Outcome("paraphrase", "rename", "How do I rename a branch?", 0.7, True, "missed", "guard: numbers"),
        Outcome(
            "unrelated", "boil an egg", "How do I add a remote?", 0.6, False, "missed", "below_threshold"
        ),
        Outcome(
            "trap",
            "undo two " + "very " * 40 + "commits",
            "How do I undo?",
            0.95,
            False,
            "wrong",
            because="a number",
        ),
    )
    found = Findings(
        subject="Git",
        embedder="a-model/" + "f" * 200,
        threshold=0.82,
        radius=74,
        entries=3,
        outcomes=outcomes,
        alone=(Alone("Hamming similarity", 0.84375, 23, 1, 0, 15),),
        repeats=7,
        repeats_right=6,
        latencies={name: Latency(10.0, 20.0, 100) for name in ("exact", "embed", "decide", "lookup")},
        fill_seconds=1.0,
        total_seconds=2.0,
        bytes_per_entry=72.0,
        file_bytes=3000,
        file=Path("kept.db"),
        reopened=Reopened(4711, 0.5, True),
        call_seconds=2.0,
    )
    return replace(found, **changes)


def test_report_counts_what_happened():
    text = demo_report.as_text(made_up_findings())
    assert re.search(r"paraphrases, should hit +3 +1 +1 +1 ", text)
    assert re.search(r"traps, should miss +1 +- +1 +0 ", text)
    assert "1 of 1 traps were served a wrong answer" in text
    assert "within 74 of 256 bits" in text
    assert "all 5 answers equal those of the first process" in text


def test_report_saves_only_calls_that_were_answered_rightly():
    text = " ".join(demo_report.as_text(made_up_findings()).split())
    assert "1 of 5 questions were answered rightly without a model call" in text
    assert "assumed 2 s a call (--call-seconds) that is 2 s of waiting" in text
    assert "2 more were answered wrongly" in text


def test_report_shows_what_a_threshold_alone_would_have_done():
    text = demo_report.as_text(made_up_findings())
    assert re.search(r"\n  Hamming similarity 0.84375 alone +23 +1 +0 +15\n", text)
    assert re.search(r"\n  the cache, guards and policy +1 +1 +0 +1\n", text)
    assert "6 of 7 stored questions" in text
    assert "guard: numbers | How do I rename a branch?" in text


def test_report_fits_the_terminal_and_is_plain_without_colours():
    text = demo_report.as_text(made_up_findings())
    assert max(len(line) for line in text.splitlines()) <= 96
    assert "\x1b" not in text


def test_colours_change_nothing_but_the_colour():
    found = made_up_findings()
    coloured = demo_report.as_text(found, colours=True)
    assert "\x1b[31m" in coloured
    assert re.sub(r"\x1b\[\d+m", "", coloured) == demo_report.as_text(found)


def test_report_says_when_the_new_process_answers_otherwise():
    text = demo_report.as_text(made_up_findings(reopened=Reopened(4711, 0.5, False)))
    assert "ANSWERS DIFFER" in text


def test_report_of_a_cache_that_serves_nothing_can_be_printed():
    outcomes = tuple(replace(outcome, verdict="missed") for outcome in made_up_findings().outcomes)
    text = demo_report.as_text(made_up_findings(outcomes=outcomes, threshold=1.0))
    assert "cosine 1 (--threshold)" in text
    assert "0 of 5 questions were answered rightly" in text


def test_json_report_holds_only_plain_data():
    data = demo_report.as_json(made_up_findings())
    assert json.loads(json.dumps(data)) == json.loads(json.dumps(data, default=repr))
    assert data["totals"]["paraphrase"] == {"right": 1, "wrong": 1, "missed": 1}
    assert data["file"] == "kept.db"
