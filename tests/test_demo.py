"""The demonstration: its questions are sound, and what it reports is what happened."""

import json
import re
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder
from binary_semantic_cache.cli.demo import questions
from binary_semantic_cache.cli.demo import report as demo_report
from binary_semantic_cache.cli.demo.findings import Findings, Latency, Outcome, Reopened
from binary_semantic_cache.cli.demo.reopen import ask

QUESTIONS = questions.load()
DEMO = [sys.executable, "-m", "binary_semantic_cache.cli.main", "demo"]
REOPEN = [sys.executable, "-m", "binary_semantic_cache.cli.demo.reopen"]


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
    return tmp_path_factory.mktemp("demo") / "kept.npz"


@pytest.fixture(scope="module")
def report(int8_model, kept):
    command = [*DEMO, "--json", "--threshold", "0.84375", "--keep", str(kept)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout) | {"stderr": done.stderr}


def test_demo_shows_its_steps_and_no_bars_when_nobody_watches(report):
    lines = [line for line in report["stderr"].splitlines() if line.startswith("[")]
    assert [line[:5] for line in lines] == [f"[{step}/6]" for step in range(1, 7)]
    assert "%|" not in report["stderr"]


def test_demo_stores_and_asks_every_question(report):
    assert report["entries"] == len(QUESTIONS.stored)
    assert [o["question"] for o in report["outcomes"]] == [asked.question for asked in QUESTIONS.asked]


def test_demo_serves_exactly_what_reaches_the_threshold(report):
    for outcome in report["outcomes"]:
        served = outcome["verdict"] != "missed"
        assert served == (outcome["similarity"] >= report["threshold"]), outcome
        if served:
            assert (outcome["verdict"] == "right") == outcome["nearest_is_right"], outcome


def test_demo_serves_no_unrelated_question(report):
    assert report["totals"]["unrelated"] == {"right": 0, "wrong": 0, "missed": len(asked_of("unrelated"))}


def test_demo_serves_more_paraphrases_right_than_wrong(report):
    totals = report["totals"]["paraphrase"]
    assert totals["right"] >= 10
    assert totals["right"] > 5 * totals["wrong"]


def test_demo_counts_no_trap_as_right(report):
    assert report["totals"]["trap"]["right"] == 0


def test_new_process_answers_as_the_first_one(report):
    assert report["reopened"]["equal"] is True


def test_latencies_are_positive_and_ordered(report):
    latencies = report["latencies"]
    assert set(latencies) == {"embed", "encode", "search", "search_100k", "get", "answer"}
    for latency in latencies.values():
        assert 0 < latency["median_us"] <= latency["p95_us"]
        assert latency["calls"] >= 100
    assert latencies["embed"]["median_us"] <= latencies["answer"]["median_us"]


def test_kept_file_is_a_cache_of_all_questions(report, kept):
    cache = BinarySemanticCache(RustBinaryEncoder(384), max_entries=10_000)
    cache.load(kept)
    found = {entry.response["question"] for entry in cache.get_all_entries()}
    assert found == {stored.question for stored in QUESTIONS.stored}
    assert report["file_bytes"] == kept.stat().st_size


def test_place_that_cannot_be_written_is_one_clear_line(int8_model, tmp_path):
    done = subprocess.run(
        [*DEMO, "--keep", str(tmp_path / "missing" / "cache.npz")],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1].startswith("bsc: error: ")
    assert "Traceback" not in done.stderr


def test_reopened_cache_answers_as_before(tmp_path):
    embeddings = np.random.default_rng(7).standard_normal((20, 384), dtype=np.float32)
    cache = BinarySemanticCache(RustBinaryEncoder(384), max_entries=100, similarity_threshold=0.84375)
    for number, embedding in enumerate(embeddings[:10]):
        cache.put(embedding, {"id": f"number-{number}"})
    first = ask(cache, embeddings)
    cache.save(tmp_path / "cache.npz")
    np.save(tmp_path / "asked.npy", embeddings)
    command = [*REOPEN, str(tmp_path / "cache.npz"), str(tmp_path / "asked.npy"), "0.84375"]
    second = json.loads(subprocess.run(command, capture_output=True, text=True, check=True).stdout)
    assert second["answers"] == first
    assert second["entries"] == 10
    assert [answer is not None for answer in first] == [True] * 10 + [False] * 10


def made_up_findings(**changes):
    outcomes = (
        Outcome("paraphrase", "undo commit", "How do I undo a commit?", 0.9, True, "right"),
        Outcome("paraphrase", "drop commit", "How do I undo a commit?", 0.85, False, "wrong"),
        Outcome("paraphrase", "rename", "How do I rename a branch?", 0.7, True, "missed"),
        Outcome("unrelated", "boil an egg", "How do I add a remote?", 0.6, False, "missed"),
        Outcome(
            "trap", "undo two " + "very " * 40 + "commits", "How do I undo?", 0.95, False, "wrong", "a number"
        ),
    )
    found = Findings(
        subject="Git",
        embedder="a-model/" + "f" * 200,
        threshold=0.84375,
        code_bits=256,
        entries=3,
        outcomes=outcomes,
        latencies={name: Latency(10.0, 20.0, 100) for name in ("embed", "encode", "search", "get", "answer")},
        fill_seconds=1.0,
        total_seconds=2.0,
        bytes_per_entry=72.0,
        file_bytes=3000,
        file=Path("kept.npz"),
        save_ms=1.0,
        reopened=Reopened(4711, 0.5, True),
        call_seconds=2.0,
    )
    return replace(found, **changes)


def test_report_counts_what_happened():
    text = demo_report.as_text(made_up_findings())
    assert re.search(r"paraphrases, should hit +3 +1 +1 +1 ", text)
    assert re.search(r"traps, should miss +1 +- +1 +0 ", text)
    assert "1 of 1 traps were served a wrong answer" in text
    assert "at most 40 of 256 bits differ" in text
    assert "all 5 answers equal those of the first process" in text


def test_report_saves_only_calls_that_were_answered_rightly():
    text = " ".join(demo_report.as_text(made_up_findings()).split())
    assert "1 of 5 questions were answered rightly without a model call" in text
    assert "assumed 2 s a call (--call-seconds) that is 2 s of waiting" in text
    assert "2 more were answered wrongly" in text


def test_report_shows_what_other_thresholds_would_serve():
    text = demo_report.as_text(made_up_findings())
    assert re.search(r"\n  0.891 +1 +0 +0 +1\n", text)
    assert re.search(r"\n  0.957 +0 +0 +0 +0\n", text)


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
    assert "at most 0 of 256 bits differ" in text
    assert "0 of 5 questions were answered rightly" in text


def test_json_report_holds_only_plain_data():
    data = demo_report.as_json(made_up_findings())
    assert json.loads(json.dumps(data)) == json.loads(json.dumps(data, default=repr))
    assert data["totals"]["paraphrase"] == {"right": 1, "wrong": 1, "missed": 1}
    assert data["file"] == "kept.npz"
