"""`bsc label`: candidates of files and caches, the sitting and its file, and a real terminal."""

import json
import os
import re
import select
import signal
import stat
import subprocess
import sys
from pathlib import Path
from time import monotonic

import numpy as np
import pytest

from binary_semantic_cache import SemanticCache
from binary_semantic_cache.cli.label_screen import marked
from binary_semantic_cache.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
)
from binary_semantic_cache.proof.candidates import Candidate, candidate_id, candidates_of
from binary_semantic_cache.proof.labelling import Labelling
from binary_semantic_cache.proof.neighbours import neighbours
from binary_semantic_cache.proof.pairs import Pair, read_pairs
from words import WordEmbedder

BSC = [sys.executable, "-m", "binary_semantic_cache.cli.main", "label"]
ROWS = [
    {"a": "How do I reset my password?", "b": "How can I reset my pincode?", "category": "account"},
    {"a": "What is DNS?", "b": "What does DNS mean?"},
    {"a": "Where is the office?", "b": "Where is the nearest office?"},
]


@pytest.fixture
def pairs_file(tmp_path):
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in ROWS))
    return path


def candidates(n=3):
    return [Candidate(candidate_id(f"a{i}", f"b{i}"), f"a{i}", f"b{i}", "all") for i in range(n)]


def rows_of(path):
    return [json.loads(line) for line in path.read_text().splitlines()]


# Candidates


def test_a_pair_that_comes_twice_is_asked_once():
    pairs = [Pair("1", "a", "b", None, "x"), Pair("2", "a", "b", True, "y"), Pair("3", "b", "a", None, "x")]
    assert [(one.a, one.b, one.category) for one in candidates_of(pairs)] == [
        ("a", "b", "x"),
        ("b", "a", "x"),
    ]


def cosine(a, b):
    one, other = WordEmbedder().embed([a, b])
    return float(one @ other / np.linalg.norm(one) / np.linalg.norm(other))


@pytest.fixture
def cache_file(tmp_path):
    """Five prompts of one scope, and one of them in another."""
    path = tmp_path / "answers.db"
    with SemanticCache(path, embedder=WordEmbedder()) as cache:
        for prompt in (
            "how does the washing machine start",
            "how does the washing machine ever start",
            "how does the old washing machine start",
            "how does the washing machine start 7 times",
            "something else entirely",
        ):
            cache.put(prompt, "x", scope="one")
        cache.put("how does the washing machine start", "x", scope="two")
    return path


def test_neighbours_are_of_one_scope_and_come_nearest_the_threshold_first(cache_file):
    found = neighbours(cache_file, threshold=0.9, width=0.2, vetoed=True)
    assert len(found) == 6
    assert len({one.id for one in found}) == 6
    distances = [abs(cosine(one.a, one.b) - 0.9) for one in found]
    # int8 vectors keep a cosine to about 0.005.
    assert distances == pytest.approx(sorted(distances), abs=0.02)
    assert all(one.similarity == pytest.approx(cosine(one.a, one.b), abs=0.01) for one in found)
    assert all("entirely" not in one.a + one.b for one in found)


def test_the_older_prompt_is_the_first_and_pairs_that_guards_stop_are_left_out(cache_file):
    found = neighbours(cache_file, threshold=0.9, width=0.2)
    assert all("7" not in one.a + one.b for one in found)
    assert ("how does the washing machine start", "how does the washing machine ever start") in {
        (one.a, one.b) for one in found
    }


def test_a_limit_and_a_random_draw_are_obeyed(cache_file):
    every = {one.id for one in neighbours(cache_file, threshold=0.9, width=0.2, vetoed=True)}
    drawn = [neighbours(cache_file, threshold=0.9, width=0.2, vetoed=True, limit=3, seed=s) for s in range(8)]
    assert {len(one) for one in drawn} == {3}
    assert len({tuple(one.id for one in draw) for draw in drawn}) > 1
    assert {one.id for draw in drawn for one in draw} <= every


def test_a_file_that_is_no_cache_is_a_typed_error(tmp_path, cache_file):
    with pytest.raises(MissingFileError):
        neighbours(tmp_path / "none.db")
    (tmp_path / "text.db").write_text("no database at all")
    with pytest.raises(CorruptFileError):
        neighbours(tmp_path / "text.db")
    with pytest.raises(InvalidValueError, match="width above 0"):
        neighbours(cache_file, width=0.0)


# The sitting


def test_labels_are_written_one_by_one_and_the_next_sitting_goes_on(tmp_path):
    out = tmp_path / "out.jsonl"
    with Labelling(candidates(), out, lambda: 0.0) as first:
        first.label(same=True)
        assert [row["same"] for row in rows_of(out)] == [1]
        first.skip()
        first.label(same=False)
        assert first.current is None
        assert (first.labelled, first.same, first.skipped) == (2, 1, 1)
    assert stat.S_IMODE(out.stat().st_mode) == 0o600
    with Labelling(candidates(), out, lambda: 0.0) as second:
        assert (second.resumed, second.labelled, second.current.a) == (2, 2, "a1")
        second.label(same=True)
    assert [(row["a"], row["same"]) for row in rows_of(out)] == [("a0", 1), ("a2", 0), ("a1", 1)]
    assert [(pair.a, pair.same) for pair in read_pairs(out)] == [("a0", True), ("a2", False), ("a1", True)]


def test_undoing_takes_back_labels_and_skips_of_the_sitting_alone(tmp_path):
    out = tmp_path / "out.jsonl"
    with Labelling(candidates(), out, lambda: 0.0) as first:
        first.label(same=True)
    before = out.read_bytes()
    with Labelling(candidates(), out, lambda: 0.0) as second:
        second.label(same=True)
        second.skip()
        assert second.undo()
        assert second.undo()
        assert second.current.a == "a1"
        assert out.read_bytes() == before
        assert not second.undo()
        second.label(same=False)
    assert [row["same"] for row in rows_of(out)] == [1, 0]


def test_time_is_told_for_each_pair_of_the_sitting(tmp_path):
    clock = iter([100.0, 104.0, 112.0])
    with Labelling(candidates(), tmp_path / "out.jsonl", lambda: next(clock)) as labelling:
        assert labelling.seconds_each is None
        labelling.label(same=True)
        assert labelling.seconds_each == 4.0
        labelling.skip()
        assert labelling.seconds_each == 6.0


def test_a_label_that_was_cut_off_does_not_spoil_the_next(tmp_path):
    out = tmp_path / "out.jsonl"
    with Labelling(candidates(), out, lambda: 0.0) as first:
        first.label(same=True)
    out.write_bytes(out.read_bytes().rstrip(b"\n"))
    with Labelling(candidates(), out, lambda: 0.0) as second:
        second.label(same=False)
    assert [row["same"] for row in rows_of(out)] == [1, 0]


def test_a_file_of_something_else_is_not_written_to(pairs_file):
    before = pairs_file.read_bytes()
    with pytest.raises(InvalidTypeError, match=r"pairs\.jsonl:1: expected a label"):
        Labelling(candidates(), pairs_file, lambda: 0.0)
    assert pairs_file.read_bytes() == before


# The screen


@pytest.mark.parametrize(
    ("a", "b", "expected"),
    [
        (
            "reset my password now",
            "reset my pincode now",
            ("reset my [password] now", "reset my [pincode] now"),
        ),
        ("What is it?", "what is it", ("What is it?", "what is it")),
        ("one two", "one two three", ("one two", "one two [three]")),
    ],
)
def test_words_that_differ_are_marked(a, b, expected):
    assert marked(a, b, ("[", "]")) == expected


def label(*arguments, keys, **environment):
    return subprocess.run(
        [*BSC, *map(str, arguments)],
        input=keys,
        capture_output=True,
        text=True,
        check=False,
        timeout=60,
        env={**os.environ, **environment},
    )


def test_without_a_terminal_lines_are_read_and_words_are_in_brackets(pairs_file, tmp_path):
    out = tmp_path / "out.jsonl"
    done = label(pairs_file, "--out", out, keys="d\nwhat?\n\nsame\nu\nskip\nD\n")
    assert done.returncode == 0, done.stderr
    assert [row["same"] for row in rows_of(out)] == [0, 0]
    assert rows_of(out)[0]["category"] == "account"
    assert "How [do] I reset my [password?]" in done.stdout
    assert "\x1b" not in done.stdout
    assert "2 of 3 labelled: 0 same, 2 different; 1 skipped" in done.stdout


def test_the_end_of_the_input_quits_and_the_next_run_goes_on(pairs_file, tmp_path):
    out = tmp_path / "out.jsonl"
    assert label(pairs_file, "--out", out, keys="s\n").returncode == 0
    done = label(pairs_file, "--out", out, keys="s\nq\n")
    assert "1 of 3 have a label already" in done.stdout
    assert [row["a"] for row in rows_of(out)] == [ROWS[0]["a"], ROWS[1]["a"]]


def test_conversations_show_their_last_turns(tmp_path):
    chat = [{"role": role, "content": f"turn {i}"} for i, role in enumerate(["user", "assistant"] * 4)]
    chat.append({"role": "user", "content": "and then?"})
    path = tmp_path / "chats.jsonl"
    path.write_text(json.dumps({"a": chat, "b": "and then \x1b[2J what"}) + "\n")
    done = label(path, "--out", tmp_path / "out.jsonl", keys="q\n")
    assert "(4 messages before)" in done.stdout
    assert "assistant: turn 7" in done.stdout
    assert "turn 3" not in done.stdout
    assert "\x1b" not in done.stdout


def test_pairs_of_a_cache_are_shown_with_their_cosine(cache_file, tmp_path):
    out = tmp_path / "out.jsonl"
    done = label("--from", cache_file, "--out", out, "--threshold", "0.9", "--width", "0.2", keys="s\nq\n")
    assert done.returncode == 0, done.stderr
    assert re.search(r"cosine 0\.\d{3}", done.stdout)
    (row,) = rows_of(out)
    assert row["category"] == "near"
    assert 0.69 <= row["similarity"] <= 1.0


@pytest.mark.parametrize("both", [True, False])
def test_a_file_or_a_cache_is_wanted_and_not_both(pairs_file, cache_file, tmp_path, both):
    sources = [str(pairs_file), "--from", str(cache_file)] if both else []
    done = label(*sources, "--out", tmp_path / "out.jsonl", keys="")
    assert done.returncode == 1
    assert "expected a file of pairs, or a cache by --from, and not both" in done.stderr


class Terminal:
    """A child on a pseudo-terminal, and all that it has shown."""

    def __init__(self, arguments, **environment):
        import pty

        self.own, child = pty.openpty()
        env = {**os.environ, "TERM": "xterm", **environment}
        env = {name: value for name, value in env.items() if value is not None}
        self.process = subprocess.Popen(
            [*BSC, *map(str, arguments)],
            stdin=child,
            stdout=child,
            stderr=child,
            env=env,
            start_new_session=True,
        )
        os.close(child)
        self.shown = ""

    def wait_for(self, text, times=1):
        deadline = monotonic() + 60
        while self.shown.count(text) < times:
            ready, _, _ = select.select([self.own], [], [], max(0.0, deadline - monotonic()))
            assert ready, f"never saw {text!r}: {self.shown!r}"
            try:
                self.shown += os.read(self.own, 65536).decode()
            except OSError:  # the other end was closed
                assert self.shown.count(text) >= times, self.shown

    def press(self, keys):
        os.write(self.own, keys.encode())

    def close(self):
        status = self.process.wait(timeout=60)
        os.close(self.own)
        return status


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_on_a_terminal_single_keys_answer_and_what_differs_is_bold(pairs_file, tmp_path):
    out = tmp_path / "out.jsonl"
    terminal = Terminal([pairs_file, "--out", out], NO_COLOR=None)
    for times, key in enumerate(["s", "x", "u", "d", " ", "s"], 1):
        terminal.wait_for("[q]uit", times)
        terminal.press(key)
    terminal.wait_for("labelled: 1 same, 1 different; 1 skipped")
    assert terminal.close() == 0
    assert "\x1b[1;7mpassword?\x1b[0m" in terminal.shown
    assert [row["same"] for row in rows_of(out)] == [0, 1]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_without_colour_a_terminal_gets_brackets(pairs_file, tmp_path):
    out = tmp_path / "out.jsonl"
    terminal = Terminal([pairs_file, "--out", out], NO_COLOR="1")
    terminal.wait_for("[q]uit")
    terminal.press("s")
    terminal.wait_for("[q]uit", 2)
    terminal.press("q")
    terminal.wait_for("1 of 3 labelled")
    assert terminal.close() == 0
    assert "\x1b" not in terminal.shown
    assert "[password?]" in terminal.shown
    assert [row["same"] for row in rows_of(out)] == [1]


@pytest.mark.skipif(sys.platform == "win32", reason="no pseudo-terminals on Windows")
def test_an_interrupt_keeps_the_labels_and_puts_the_terminal_back(pairs_file, tmp_path):
    import termios

    out = tmp_path / "out.jsonl"
    terminal = Terminal([pairs_file, "--out", out])
    terminal.wait_for("[q]uit")
    terminal.press("s")
    terminal.wait_for("[q]uit", 2)
    deadline = monotonic() + 60
    while termios.tcgetattr(terminal.own)[3] & termios.ICANON:
        assert monotonic() < deadline, "it never waited for a single key"
    terminal.process.send_signal(signal.SIGINT)
    terminal.wait_for("interrupted")
    modes = termios.tcgetattr(terminal.own)[3]
    assert modes & termios.ECHO
    assert modes & termios.ICANON
    assert terminal.close() == 130
    assert [row["same"] for row in rows_of(out)] == [1]


def test_the_file_of_labels_is_what_evaluate_reads(pairs_file, tmp_path):
    out = tmp_path / "out.jsonl"
    label(pairs_file, "--out", out, keys="s\nd\ns\n")
    assert [pair.same for pair in read_pairs(Path(out))] == [True, False, True]
