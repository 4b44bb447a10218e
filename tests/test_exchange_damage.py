"""Exports and stores that are damaged or hostile: nothing of them gets out or in."""

import base64
import json
import sqlite3
import zipfile

import numpy as np
import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.text.exchange_jsonl import JSONLinesExport
from binary_semantic_cache.text.exchange_npz import NpzExport
from binary_semantic_cache.text.exporting import export
from binary_semantic_cache.text.importing import import_export
from filled_caches import QUESTION, content


def rewrite(path, change):
    lines = [json.loads(line) for line in path.read_bytes().split(b"\n") if line]
    change(lines)
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))


DAMAGE = {
    "no JSON": (lambda raw: raw.replace(b'{"id"', b'{id"', 1), "line 2: is not JSON"),
    "not UTF-8": (lambda raw: raw.replace(b"france", b"fran\xffe", 1), "line 2: is not JSON"),
    "a key twice": (lambda raw: raw.replace(b'{"id"', b'{"id": 1, "id"', 1), "line 2: expected an object"),
    "deep": (lambda raw: raw.replace(b'{"id"', b"[" * 100_000 + b'{"id"', 1), "line 2"),
    "a huge number": (lambda raw: raw.replace(b'{"id": ', b'{"id": ' + b"9" * 5000, 1), "line 2"),
    "cut off": (lambda raw: raw[: raw.rindex(b'{"pair"')], "cut off"),
    "cut in a line": (lambda raw: raw[: len(raw) // 2], "is not JSON"),
    "empty": (lambda raw: b"", "an empty file"),
    "of something else": (lambda raw: b'{"rows": []}\n', "line 1: not the header"),
    "a list": (lambda raw: b"[]\n" + raw, "line 1: expected an object"),
    "more behind the end": (lambda raw: raw + raw.split(b"\n")[1] + b"\n", "behind the end"),
}


@pytest.mark.parametrize("what", DAMAGE)
def test_a_damaged_line_is_named_and_nothing_is_stored(filled, tmp_path, what):
    out, copy = tmp_path / "out.jsonl", tmp_path / "copy.db"
    export(filled, out)
    change, message = DAMAGE[what]
    out.write_bytes(change(out.read_bytes()))
    with pytest.raises(errors.CorruptFileError, match=message):
        import_export(JSONLinesExport(out), copy)
    assert not copy.exists()
    before = content(filled)
    with pytest.raises(errors.CorruptFileError):
        import_export(JSONLinesExport(out), filled, overwrite=True)
    assert content(filled) == before


ZEROS = base64.b64encode(bytes(15)).decode()
FIELDS = [
    ("id", 0),
    ("id", "1"),
    ("id", 2**63),
    ("id", True),
    ("key", ZEROS),
    ("key", "***"),
    ("key", 5),
    ("scope", ZEROS),
    ("owner", ZEROS),
    ("code", ZEROS),
    ("vector", ZEROS),
    ("vector", base64.b64encode(b"\x03" + b"\xff" * 256).decode()),
    ("code", ""),
    ("prompt", None),
    ("prompt", "\ud800"),
    ("kind", "pickle"),
    ("payload", base64.b64encode(b"\xff").decode()),
    ("created_at", None),
    ("created_at", float("nan")),
    ("created_at", float("inf")),
    ("created_at", -1),
    ("created_at", 10**400),
    ("created_at", True),
    ("expires_at", float("inf")),
    ("expires_at", "never"),
    ("ttl_seconds", -1.0),
    ("ttl_seconds", 5.0),
    ("tags", "geography"),
    ("tags", [1]),
    ("tags", [""]),
    ("tags", ["a", "a"]),
    ("tags", ["\udfff"]),
    ("saving", None),
    ("saving", {}),
    ("saving", {"input_tokens": 1.5, "output_tokens": 0, "cost": 0, "seconds": 0}),
    ("saving", {"input_tokens": 2**70, "output_tokens": 0, "cost": 0, "seconds": 0}),
    ("saving", {"input_tokens": 0, "output_tokens": 0, "cost": float("nan"), "seconds": 0}),
    ("extra", 1),
]


@pytest.mark.parametrize(("name", "value"), FIELDS)
def test_a_field_that_no_cache_writes_is_refused(filled, tmp_path, name, value):
    out = tmp_path / "out.jsonl"
    export(filled, out)
    rewrite(out, lambda lines: lines[1].update({name: value}))
    with pytest.raises(errors.CorruptFileError, match=r"out\.jsonl: line 2"):
        import_export(JSONLinesExport(out), tmp_path / "copy.db")


def test_a_missing_field_is_refused(filled, tmp_path):
    out = tmp_path / "out.jsonl"
    export(filled, out)
    rewrite(out, lambda lines: lines[1].pop("owner"))
    with pytest.raises(errors.CorruptFileError, match="line 2: no field owner"):
        import_export(JSONLinesExport(out), tmp_path / "copy.db")


HEADERS = [
    ("version", 0),
    ("version", "1"),
    ("made_by", None),
    ("made_by", {"embedder": [1]}),
    ("made_by", {"embedder": "x", "dimension": 0, "code_bits": 256, "seed": 1, "projection": ""}),
    ("made_by", {"embedder": "x", "dimension": 2**60, "code_bits": 256, "seed": 1, "projection": ""}),
    ("store", None),
    ("store", ZEROS),
    ("secret", ZEROS),
    ("secret", base64.b64encode(bytes(32)).decode()),
    ("last_id", -1),
    ("last_id", 2**80),
    ("entries", 5),
    ("entries", 7),
    ("entries", 1e3),
    ("pairs", 0),
]


@pytest.mark.parametrize(("name", "value"), HEADERS)
def test_a_header_that_no_cache_writes_is_refused(filled, tmp_path, name, value):
    out = tmp_path / "out.jsonl"
    export(filled, out)
    rewrite(out, lambda lines: lines[0].update({name: value}))
    with pytest.raises(errors.CorruptFileError, match=r"out\.jsonl"):
        import_export(JSONLinesExport(out), tmp_path / "copy.db")


def test_a_newer_version_is_refused_as_such(filled, tmp_path):
    out = tmp_path / "out.jsonl"
    export(filled, out)
    rewrite(out, lambda lines: lines[0].update(version=2))
    with pytest.raises(errors.FormatVersionError, match="expected 1, got 2"):
        JSONLinesExport(out)


def rewrite_arrays(path, **changes):
    with np.load(path, allow_pickle=False) as members:
        arrays = dict(members)
    for name, change in changes.items():
        arrays[name] = change(arrays[name])
    np.savez(path, **arrays)


def with_value(at, value):
    def change(array):
        array = array.copy()
        array[at] = value
        return array

    return change


ARRAYS = {
    "ids that fall": {"ids": lambda ids: ids[::-1]},
    "ids beyond the last": {"ids": with_value(-1, 2**60)},
    "short keys": {"keys": lambda keys: keys[:, :15]},
    "offsets that fall": {"offsets": with_value(1, 2**40)},
    "offsets before the start": {"offsets": with_value(1, -5)},
    "offsets from behind the start": {"offsets": with_value(0, 1)},
    "a kind that is not there": {"kinds": with_value(0, 9)},
    "times that are none": {"created_at": with_value(0, np.nan)},
    "a code without its mark": {"coded": with_value(0, 0)},
    "a vector of another length": {"vector_offsets": with_value(1, 3)},
    "tags that are no JSON": {"tags": with_value(0, 0)},
    "a prompt that is not UTF-8": {"blob": with_value(0, 255)},
    "a cost that is none": {"costs": with_value((0, 0), np.inf)},
    "negative tokens": {"tokens": with_value((0, 0), -1)},
    "pairs of another number": {"pairs": lambda pairs: np.zeros((2, 16), np.uint8)},
    "a header that is no JSON": {"header": with_value(0, 0)},
    "a header that is no object": {"header": lambda _: np.frombuffer(b"[]", np.uint8)},
}


@pytest.mark.parametrize("what", ARRAYS)
def test_arrays_that_no_cache_writes_are_refused(filled, tmp_path, what):
    out = tmp_path / "out.npz"
    export(filled, out)
    rewrite_arrays(out, **ARRAYS[what])
    with pytest.raises(errors.CorruptFileError, match=r"out\.npz"):
        import_export(NpzExport(out), tmp_path / "copy.db")
    assert not (tmp_path / "copy.db").exists()


def test_a_flipped_bit_in_the_arrays_is_noticed(filled, tmp_path):
    out = tmp_path / "out.npz"
    export(filled, out)
    raw = bytearray(out.read_bytes())
    raw[raw.index(QUESTION.encode())] ^= 1
    out.write_bytes(raw)
    with pytest.raises(errors.CorruptFileError, match="checksum"):
        NpzExport(out)


def test_a_bomb_is_refused(tmp_path):
    with zipfile.ZipFile(tmp_path / "out.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("tag_offsets.npy", bytes(10**7))
        archive.writestr("header.npy", bytes(10**7))
    with pytest.raises(errors.CorruptFileError, match="compressed"):
        NpzExport(tmp_path / "out.npz")


def test_a_damaged_entry_is_not_exported(filled, tmp_path):
    with sqlite3.connect(filled) as db:
        db.execute("UPDATE body SET payload = x'ff' WHERE kind = 'text'")
    db.close()
    with pytest.raises(errors.CorruptFileError, match="entry 2: its checksum"):
        export(filled, tmp_path / "out.jsonl")
    assert not (tmp_path / "out.jsonl").exists()
