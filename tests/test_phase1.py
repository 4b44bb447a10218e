"""Files of Phase 1: the genuine ones load, ours load there, and a pickle in one runs nothing."""

import io
import json
import os
import pickle
import pickletools
import struct
import subprocess
import sys
import zipfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from binary_semantic_cache import RustBinaryEncoder
from binary_semantic_cache.errors import BinarySemanticCacheError, CorruptFileError, FingerprintError
from binary_semantic_cache.vector.archive import Contents, load, phase1, save_phase1
from binary_semantic_cache.vector.archive.phase1 import read_object_array
from binary_semantic_cache.vector.archive.responses import NotPlainError
from test_archive import ENCODER, assert_same, contents_of

FIXTURE = Path(__file__).parent / "fixtures" / "phase1"


def npz(path: Path, responses: bytes, *, n: int = 2, codes: np.ndarray | None = None) -> Path:
    """A Phase 1 file of `n` rows whose `responses` member holds these bytes after its npy header."""
    columns = contents_of([None] * n)
    with zipfile.ZipFile(path, "w") as opened:
        for name, array in (
            ("codes", columns.codes if codes is None else codes),
            ("created_at", np.arange(n, dtype=np.float64)),
            ("access_count", columns.access_count),
        ):
            out = io.BytesIO()
            np.save(out, array)
            opened.writestr(f"{name}.npy", out.getvalue())
        header = f"{{'descr': '|O', 'fortran_order': False, 'shape': ({n},), }}".ljust(117) + "\n"
        prefix = b"\x93NUMPY\1\0" + struct.pack("<H", len(header))
        opened.writestr("responses.npy", prefix + header.encode() + responses)
    return path


def pickled(responses: list[object], protocol: int = 4) -> bytes:
    array = np.empty(len(responses), object)
    for row, response in enumerate(responses):
        array[row] = response
    return pickle.dumps(array, protocol=protocol)


def test_a_genuine_file_loads_with_its_codes_and_answers() -> None:
    encoder = RustBinaryEncoder(384)
    got = load(FIXTURE / "phase1.npz", encoder)
    assert list(got.responses) == json.loads((FIXTURE / "responses.json").read_text())
    np.testing.assert_array_equal(got.codes, np.load(FIXTURE / "codes.npy"))
    np.testing.assert_array_equal(got.codes, encoder.encode(np.load(FIXTURE / "embeddings.npy")))
    np.testing.assert_array_equal(got.last_accessed, got.created_at)
    assert np.all(np.diff(got.created_at) >= 0)


def test_a_genuine_file_loads_the_same_mapped_and_cut() -> None:
    whole = load(FIXTURE / "phase1.npz", ENCODER)
    assert_same(load(FIXTURE / "phase1.npz", ENCODER, mmap=True, verify=False), whole)
    cut = load(FIXTURE / "phase1.npz", ENCODER, max_entries=7)
    assert list(cut.responses) == list(whole.responses)[-7:]
    np.testing.assert_array_equal(cut.codes, whole.codes[-7:])


PLAIN: list[object] = ["a", {"b": [1, 2.5, None, True, b"\x00", 2**70, -1]}, [], "é☃", 2**31]


def test_what_save_phase1_writes_is_what_phase_1_reads(tmp_path: Path) -> None:
    contents = contents_of(PLAIN)
    save_phase1(tmp_path / "c.npz", contents, ENCODER)
    order = np.argsort(contents.created_at)
    with np.load(tmp_path / "c.npz", allow_pickle=True) as members:
        assert members.files == ["codes", "created_at", "access_count", "responses"]
        assert members["responses"].tolist() == [PLAIN[row] for row in order]
        for column in ("codes", "created_at", "access_count"):
            np.testing.assert_array_equal(members[column], getattr(contents, column)[order])
            assert members[column].dtype == getattr(contents, column).dtype


def test_what_save_phase1_writes_loads_again(tmp_path: Path) -> None:
    contents = contents_of(PLAIN)
    save_phase1(tmp_path / "c.npz", contents, ENCODER)
    order = np.argsort(contents.created_at)
    expected = Contents(
        codes=contents.codes[order],
        created_at=contents.created_at[order],
        last_accessed=contents.created_at[order],
        access_count=contents.access_count[order],
        responses=[PLAIN[row] for row in order],
    )
    assert_same(load(tmp_path / "c.npz", ENCODER), expected)


def test_an_empty_file_goes_both_ways(tmp_path: Path) -> None:
    save_phase1(tmp_path / "c.npz", contents_of([]), ENCODER)
    assert_same(load(tmp_path / "c.npz", ENCODER), contents_of([]))


@pytest.mark.parametrize("protocol", [3, 4, 5])
def test_pickles_of_every_numpy_are_read(tmp_path: Path, protocol: int) -> None:
    data = pickled(PLAIN, protocol)
    # NumPy 1 called the module numpy.core; a frame is that much shorter, which the unpickler does not mind.
    for variant in (
        data,
        data.replace(b"\x16numpy._core", b"\x15numpy.core").replace(b"numpy._core", b"numpy.core"),
    ):
        if protocol > 3 and variant != data:
            shorter = (int.from_bytes(data[3:11], "little") - 1).to_bytes(8, "little")
            variant = variant[:3] + shorter + variant[11:]
        path = npz(tmp_path / "c.npz", variant, n=len(PLAIN))
        assert repr(list(load(path, ENCODER).responses)) == repr(PLAIN)


def test_of_equal_codes_the_newest_stays(tmp_path: Path) -> None:
    codes = contents_of([None] * 2).codes[[0, 1, 0, 1, 0]]
    path = npz(tmp_path / "c.npz", pickled(["a", "b", "c", "d", "e"]), n=5, codes=codes)
    got = load(path, ENCODER)
    assert list(got.responses) == ["d", "e"]
    np.testing.assert_array_equal(got.codes, codes[3:])
    np.testing.assert_array_equal(got.created_at, [3.0, 4.0])
    assert list(load(path, ENCODER, max_entries=1).responses) == ["e"]


def test_entries_that_shared_a_list_share_it_no_more(tmp_path: Path) -> None:
    shared = ["x"]
    responses = load(npz(tmp_path / "c.npz", pickled([shared, shared])), ENCODER).responses
    first = responses[0]
    assert isinstance(first, list)
    first.append("y")
    assert list(responses) == [["x"], ["x"]]


def test_another_number_of_words_is_refused(tmp_path: Path) -> None:
    with pytest.raises(FingerprintError, match=r"phase1\.npz: words in a code: expected 2 .* got 4"):
        load(FIXTURE / "phase1.npz", replace(ENCODER, code_bits=128))


@pytest.mark.parametrize(
    "value", [(1, 2), {1}, 1j, np.float64(1), bytearray(b"x"), Path("x"), [(1,)], {(): 1}]
)
def test_what_is_no_plain_data_is_refused(tmp_path: Path, value: object) -> None:
    path = npz(tmp_path / "c.npz", pickled(["a", value]))
    with pytest.raises(CorruptFileError, match=r"c\.npz: responses\.npy: expected plain data"):
        load(path, ENCODER)


class Runs:
    """Unpickled the ordinary way, this runs a command."""

    def __init__(self, command: str) -> None:
        self.command = command

    def __reduce__(self) -> object:
        return os.system, (self.command,)


@pytest.mark.parametrize("protocol", [0, 1, 2, 3, 4, 5])
@pytest.mark.parametrize("place", ["array", "whole"])
def test_a_pickle_that_runs_a_command_runs_nothing(tmp_path: Path, protocol: int, place: str) -> None:
    marker = tmp_path / "ran"
    attack = Runs(f"touch {marker}")
    data = pickle.dumps(attack, protocol) if place == "whole" else pickled(["a", attack], protocol)
    path = npz(tmp_path / "c.npz", data)
    for verify in (False, True):
        with pytest.raises(CorruptFileError, match=r"c\.npz"):
            load(path, ENCODER, verify=verify)
    assert not marker.exists()
    pickle.loads(data)  # the attack itself is sound
    assert marker.exists()


def glob(module: str, name: str) -> bytes:
    return f"c{module}\n{name}\n".encode()


ARRAY = glob("numpy.core.multiarray", "_reconstruct")
NDARRAY, DTYPE = glob("numpy", "ndarray"), glob("numpy", "dtype")
REFUSED_GLOBALS = [
    ("os", "system"),
    ("builtins", "eval"),
    ("builtins", "getattr"),
    ("numpy", "load"),
    ("numpy", "frombuffer"),
    ("numpy.core.multiarray", "scalar"),
    ("numpy._core.multiarray", "scalar"),
    ("numpy.testing._private.utils", "runstring"),
    ("_codecs", "encode"),
    ("copyreg", "_reconstructor"),
    ("numpy", "ndarray.tofile"),
    ("collections", "OrderedDict"),
]


@pytest.mark.parametrize("name", REFUSED_GLOBALS, ids=".".join)
def test_every_other_name_is_refused_by_name(tmp_path: Path, name: tuple[str, str]) -> None:
    path = npz(tmp_path / "c.npz", b"\x80\4" + glob(*name) + b"(t.")
    with pytest.raises(CorruptFileError) as caught:
        load(path, ENCODER)
    assert ".".join(name) in str(caught.value)


HOSTILE = {
    "empty": b"",
    "stops at once": b"\x80\4.",
    "no array": b"\x80\4K\1.",
    "a list": b"\x80\4](K\1K\2e.",
    "a reference": b"\x80\4" + NDARRAY + b".",
    "an array without state": b"\x80\4" + ARRAY + NDARRAY + b"K\0\x85C\1b\x87R.",
    "state of another kind": b"\x80\4" + ARRAY + b"(tR](K\1eb.",
    "state on a class": b"\x80\4" + NDARRAY + b"}b.",
    "state on a function": b"\x80\4" + ARRAY + b"N}(X\x08\0\0\0__name__X\1\0\0\0xu\x86b.",
    "state on a list": b"\x80\4]}(X\1\0\0\0xK\1ub.",
    "calls a class": b"\x80\4" + NDARRAY + b"(tR.",
    "calls a number": b"\x80\4K\1(tR.",
    "too many calls": b"\x80\4" + (ARRAY + b"(tR") * 3 + b".",
    "too many names": b"\x80\4" + ARRAY * 4 + b".",
    "nested tuples": b"\x80\4)" + b"\x85" * 100_000 + b".",
    "nested lists": pickled([None, None]).replace(b"NN", b"]" * 2000 + b"a" * 1999 + b"N"),
    "a huge memo index": b"\x80\4K\1r\xff\xff\xff\x7f.",
    "a memo that is not there": b"\x80\4h\7.",
    "a huge string": b"\x80\4\x8d" + struct.pack("<Q", 2**62) + b"abc.",
    "huge bytes": b"\x80\4\x8e" + struct.pack("<Q", 2**62) + b"abc.",
    "large bytes": b"\x80\4B" + struct.pack("<I", 2**31) + b"abc.",
    "a huge bytearray": b"\x80\5\x96" + struct.pack("<Q", 2**40) + b"abc.",
    "a huge frame": b"\x80\4\x95" + struct.pack("<Q", 2**62) + b"K\1.",
    "a huge integer": b"\x80\4\x8b" + struct.pack("<i", 2**31 - 1) + b"\1.",
    "a negative integer size": b"\x80\4\x8b" + struct.pack("<i", -1) + b"\1.",
    "a persistent id": b"\x80\4K\1Q.",
    "an extension": b"\x80\4\x82\1.",
    "an object": b"\x80\4(" + glob("os", "system") + b"o.",
    "an instance": b"\x80\4(ios\nsystem\n.",
    "a new object": b"\x80\4" + NDARRAY + b")\x81.",
    "an out-of-band buffer": b"\x80\5\x97.",
    "protocol 99": b"\x80\x63K\1.",
    "text": b"I1\n.",
    "no stop": b"\x80\4K\1",
    "an empty stack": b"\x80\4\x93.",
    "too many marks": b"\x80\4" + b"(" * 1000 + b".",
    "a list as a key": b"\x80\4}]K\1s.",
    "a non-ASCII name": b"\x80\4c\xff\xfe\n\xff\n.",
}


@pytest.mark.parametrize("what", HOSTILE)
def test_a_hostile_pickle_is_an_error(tmp_path: Path, what: str) -> None:
    path = npz(tmp_path / "c.npz", HOSTILE[what])
    for verify in (False, True):
        with pytest.raises(CorruptFileError, match=r"c\.npz: responses\.npy"):
            load(path, ENCODER, verify=verify)


def test_a_pickle_cannot_change_the_reader(tmp_path: Path) -> None:
    for hostile in HOSTILE.values():
        with pytest.raises(NotPlainError):
            read_object_array(hostile, 2)
    assert read_object_array(pickled(["a", "b"]), 2) == ["a", "b"]


def test_the_length_must_be_that_of_the_other_columns(tmp_path: Path) -> None:
    for responses in (["a"], ["a", "b", "c"]):
        with pytest.raises(CorruptFileError, match="another shape"):
            load(npz(tmp_path / "c.npz", pickled(responses)), ENCODER)


def unfolding(levels: int) -> list[object]:
    """Ten to the power of `levels` elements in a few bytes."""
    data: list[object] = ["x"] * 10
    for _ in range(levels):
        data = [data] * 10
    return data


BOMB_CHILD = """
import resource, sys
sys.path.insert(0, {tests!r})
from test_archive import ENCODER, load
from binary_semantic_cache.errors import CorruptFileError
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 64 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    try:
        load(path, ENCODER)
        print("loaded", path)
    except CorruptFileError as exc:
        print("refused")
"""


def test_no_bomb_is_allocated(tmp_path: Path) -> None:
    names = [name for name in HOSTILE if "huge" in name or "large" in name or "nested" in name]
    paths = [npz(tmp_path / f"{place}.npz", HOSTILE[name]) for place, name in enumerate(names)]
    code = BOMB_CHILD.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n") == ["refused"] * len(paths) + [""], done.stdout + done.stderr


def test_a_pickle_that_unfolds_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("binary_semantic_cache.vector.archive.phase1._UNFOLDED_AT_LEAST", 1 << 16)
    path = npz(tmp_path / "c.npz", pickled(["a", unfolding(20)]))
    with pytest.raises(CorruptFileError, match="unfolded"):
        load(path, ENCODER)


def test_no_flipped_bit_in_a_pickle_does_harm(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    data = pickled(["a", {"b": [1, 2.5, None]}])
    outcomes = []
    for position in range(len(data)):
        for bit in range(8):
            damaged = bytearray(data)
            damaged[position] ^= 1 << bit
            npz(path, bytes(damaged))
            try:
                list(load(path, ENCODER).responses)
                outcomes.append("loaded")
            except BinarySemanticCacheError:
                outcomes.append("refused")
    assert len(outcomes) == 8 * len(data)
    assert outcomes.count("refused") > len(outcomes) / 2


def test_no_truncation_or_flip_of_a_genuine_file_gives_wrong_content(tmp_path: Path) -> None:
    data = (FIXTURE / "phase1.npz").read_bytes()
    expected = load(FIXTURE / "phase1.npz", ENCODER)
    path = tmp_path / "c.npz"
    for position in range(0, len(data), 11):
        path.write_bytes(data[:position])
        with pytest.raises(CorruptFileError, match=r"c\.npz"):
            load(path, ENCODER)
        damaged = bytearray(data)
        damaged[position] ^= 1 << (position % 8)
        path.write_bytes(damaged)
        try:
            got = load(path, ENCODER)
        except CorruptFileError:
            continue
        assert_same(got, expected)


def test_the_admitted_instructions_exist() -> None:
    known = {opcode.name for opcode in pickletools.opcodes}
    assert known >= phase1._ADMITTED >= set(phase1._AT_MOST)
