"""The files of pairs that `bsc evaluate` reads, and those it refuses."""

import gzip
import json

import pytest

from binary_semantic_cache.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
)
from binary_semantic_cache.proof.pairs import Pair, read_pairs, requested, sampled
from labelled_pairs import ROWS, pair, write_lines


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


def test_a_side_is_asked_as_a_prompt_or_as_a_chat():
    assert requested("x").text == "x"
    assert requested([{"role": "user", "content": "x"}]).text == "x"
