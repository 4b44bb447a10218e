"""The benchmarks run, agree with their contenders, and report. What they measure is not tested here."""

import json
import subprocess
import sys
from itertools import cycle
from pathlib import Path

import pytest
from benches import fetched, peers
from benches.figures import draw
from benches.harness import SMOKE, Case, Contender, Figure, Row, UnequalResultsError, check_equal, measure
from benches.report import table
from benches.subject import Setting

ROOT = Path(__file__).parent.parent
QUICK = (
    *("encode", "search", "multi_index", "approximate", "get", "cold", "peers", "lru", "put", "archive"),
    *("semantic", "breakdown", "scopes", "stores", "lag", "imports"),
)


def run_benches(*arguments: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "benches", *arguments]
    return subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=240)


@pytest.fixture(scope="module")
def smoke(tmp_path_factory: pytest.TempPathFactory) -> tuple[subprocess.CompletedProcess[str], Path]:
    folder = tmp_path_factory.mktemp("results")
    return run_benches("--smoke", "--only", *QUICK, "--out", str(folder)), folder


def test_a_smoke_run_ends_well_and_tells_of_each_subject(smoke):
    done, _ = smoke
    assert done.returncode == 0, done.stderr
    assert [name for name in QUICK if f"{name}: " not in done.stderr] == []


def test_a_smoke_run_prints_one_table_with_a_line_for_each_contender(smoke):
    done, _ = smoke
    lines = done.stdout.splitlines()
    assert all(line.startswith("| ") and line.endswith(" |") for line in lines)
    for contender in (
        "once (",
        "NumPy",
        "FAISS",
        "MultiHash",
        "FAISS IndexBinaryHNSW",
        "usearch HNSW",
        "gptcache",
        "mneme-cache",
        "hybrid-semantic-cache",
        "semantic-cache-lib",
        "usearch",
        "published",
        "OrderedDict",
        "numpy.load",
    ):
        assert any(contender in line for line in lines), contender


def test_a_smoke_run_writes_the_table_and_a_raw_file_with_the_machine(smoke):
    done, folder = smoke
    (raw,) = folder.glob("*.json")
    content = json.loads(raw.read_text())
    assert raw.with_suffix(".md").read_text() == done.stdout
    assert {"cpu", "kernel", "isa", "versions", "load_average", "command"} <= content["machine"].keys()
    compared = [result for result in content["results"] if None not in (result["ours"], result["theirs"])]
    timed = [result for result in compared if result["unit"] != "%"]
    assert timed
    for result in timed:
        assert result["ratio"] == pytest.approx(result["theirs"] / result["ours"])
        assert all(kept["min"] <= kept["max"] and len(kept["all"]) == 3 for kept in result["rounds"].values())


def test_the_measurement_of_guards_counts_what_they_keep_and_block(tmp_path, int8_model):
    (tmp_path / "adversarial").mkdir()
    pairs = [
        {"a": "Wait 5 minutes", "b": "Please wait 5 minutes", "same": 1, "category": "x"},
        {"a": "Wait 5 minutes", "b": "Wait 6 minutes", "same": 0, "category": "x"},
        {"a": "Wait 5 minutes", "b": "Wait here 5 minutes", "same": 0, "category": "y"},
    ]
    lines = "\n".join(json.dumps(pair) for pair in pairs)
    (tmp_path / "adversarial" / "fow_questions.jsonl").write_text(lines)
    command = [sys.executable, "-m", "benches.guards", "--data", str(tmp_path), "--show", "questions"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert "| numbers | 100.0 [21-100] / 50.0 [9-91] |" in done.stdout
    assert "| y | 1 | - / 0.0 [0-79] |" in done.stdout
    assert "served | Wait 5 minutes | Wait here 5 minutes" in done.stdout
    head = "| microseconds a candidate | guards, one candidate | guards, each of 20 | judge, one candidate |"
    assert head in done.stdout


def test_without_labelled_pairs_the_measurement_of_guards_says_where_it_looked(tmp_path):
    command = [sys.executable, "-m", "benches.guards", "--data", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2
    assert str(tmp_path) in done.stderr


def test_an_unknown_subject_is_a_usage_error():
    done = run_benches("--only", "nonsense")
    assert done.returncode == 2
    assert "nonsense" in done.stderr


def test_results_that_differ_stop_the_comparison():
    check_equal("find", "other", (3, 0.5), (3, 0.5))
    with pytest.raises(UnequalResultsError, match="find: other gives None, ours"):
        check_equal("find", "other", (3, 0.5), None)


def test_every_contender_gets_the_same_inputs_in_the_same_order():
    seen: dict[str, list[int]] = {"ours": [], "theirs": []}
    ours = Contender("ours", seen["ours"].append, cycle([(1,), (2,), (3,)]))
    theirs = Contender("theirs", seen["theirs"].append, cycle([(1,), (2,), (3,)]))
    (row,) = measure(Case("append", 3, ours, [theirs], calls=5), SMOKE)
    assert seen["ours"] == seen["theirs"] == ([1, 2, 3] * 6)[: 6 * SMOKE.rounds]
    assert [len(times) for times in row.rounds.values()] == [SMOKE.rounds] * 2


def test_a_contender_that_is_missing_is_a_line_that_says_why():
    ours = Contender("ours", int, cycle([()]))
    (row,) = measure(
        Case("nothing", 1, ours, missing={"other": "not available: no network"}, calls=1), SMOKE
    )[1:]
    assert (row.contender, row.theirs, row.reached) == ("other", None, None)
    assert "not available: no network" in table([row])


@pytest.mark.parametrize(
    ("figure", "ours", "theirs", "reached"),
    [
        (Figure.at_least(3), 1.0, 3.0, True),
        (Figure.at_least(3), 1.0, 2.9, False),
        (Figure.within(1.5), 1.5, 1.0, True),
        (Figure.within(1.5), 1.6, 1.0, False),
        (Figure.at_most(72, "B"), 72.0, None, True),
        (Figure.at_most(72, "B"), 72.1, 1000.0, False),
        (Figure.at_least(3), 1.0, None, None),
        (None, 1.0, 2.0, None),
    ],
)
def test_a_figure_is_reached_from_its_value_on(figure, ours, theirs, reached):
    assert Row("what", 1, "us", ours, "contender", theirs, figure).reached is reached


def _row(what, n, unit, ours, contender, theirs):
    return {"what": what, "n": n, "unit": unit, "ours": ours, "contender": contender, "theirs": theirs}


def test_what_is_to_be_done_before_each_call_is_done_and_not_timed():
    done: list[str] = []
    ours = Contender("ours", lambda: done.append("call"), cycle([()]))
    case = Case("append", 1, ours, calls=2, before_each=lambda: done.append("before"))
    (row,) = measure(case, SMOKE)
    assert done == ["call", "before", "call", "before", "call"] * SMOKE.rounds
    assert len(row.rounds["ours"]) == SMOKE.rounds


def test_whole_gets_are_drawn_beside_the_reading_of_all_codes(tmp_path):
    gets = [
        _row("whole get, hit", n, "us", n / 1e3, name, n / 1e2)
        for n in (1000, 10_000)
        for name in ("gptcache", "read 32 B once (memchr)")
    ]
    assert [path.name for path in draw(gets, tmp_path)] == ["speed-get-hit.png"]
    assert (tmp_path / "speed-get-hit.png").read_bytes().startswith(b"\x89PNG")


def test_other_caches_that_cannot_be_fetched_are_lines_that_say_why(monkeypatch, tmp_path):
    monkeypatch.setattr(fetched.subprocess, "run", _without_network)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    rows = list(peers.run(Setting(SMOKE, True, None, "not asked for")))
    assert {row.note for row in rows if row.contender == "other caches"} == {"not available: no network"}
    assert {row.what for row in rows} == {"whole get, hit", "whole get, miss"}


def _without_network(command, **_):
    raise subprocess.CalledProcessError(1, command, stderr="ERROR: no network\n")


def test_figures_are_drawn_of_what_was_measured_at_two_sizes_or_more(tmp_path):
    search = [
        _row("find_nearest, miss, 0.80", n, "us", n / 1e3, name, n / 1e2)
        for n in (1000, 10_000)
        for name in ("FAISS", "read 32 B once (memchr)")
    ]
    memory = [_row("resident, an entry", 1000, "B", 77.0, "published", 53.0)]
    assert [path.name for path in draw(search + memory, tmp_path)] == ["speed-search-0.80.png"]
    assert (tmp_path / "speed-search-0.80.png").read_bytes().startswith(b"\x89PNG")
    assert draw(memory, tmp_path / "none") == []
