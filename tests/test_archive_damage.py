"""Damaged and hostile archives: a typed error that names the file, or the content as it was."""

import io
import json
import subprocess
import sys
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path

import msgpack
import numpy as np
import pytest

from binary_semantic_cache.errors import BinarySemanticCacheError, CorruptFileError, FormatVersionError
from binary_semantic_cache.vector.archive import Contents, load, save
from test_archive import ENCODER, contents_of

N = 3
CONTENTS = contents_of(["answer", {"choices": [1, 2.5, None, "é"]}, b"bytes"])
NAMES = [
    "codes.npy",
    "created_at.npy",
    "access_count.npy",
    "last_accessed.npy",
    "lru_order.npy",
    "response_offsets.npy",
    "responses.npy",
    "header.npy",
]
MODES = [(mmap, verify) for mmap in (False, True) for verify in (False, True)]


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("original") / "c.npz"
    save(path, CONTENTS, ENCODER)
    return path.read_bytes()


def columns_of(contents: Contents) -> list[object]:
    columns = (contents.codes, contents.created_at, contents.last_accessed, contents.access_count)
    return [*(column.tobytes() for column in columns), list(contents.responses)]


def outcome(path: Path, data: bytes, *, mmap: bool, verify: bool) -> str:
    """`error` for a typed error that names the file, `same` or `different` for what was loaded."""
    path.unlink(missing_ok=True)  # a new inode: the old one may still be mapped
    path.write_bytes(data)
    try:
        got = columns_of(load(path, ENCODER, mmap=mmap, verify=verify))
    except BinarySemanticCacheError as exc:
        return "error" if str(path) in str(exc) else f"error without the path: {exc}"
    return "same" if got == columns_of(CONTENTS) else "different"


@pytest.mark.parametrize(("mmap", "verify"), MODES)
def test_no_flipped_bit_gives_wrong_content(
    tmp_path: Path, original: bytes, mmap: bool, verify: bool
) -> None:
    outcomes = {}
    for position in range(len(original)):
        damaged = bytearray(original)
        damaged[position] ^= 1 << (position * 5 % 8)
        outcomes[position] = outcome(tmp_path / "c.npz", bytes(damaged), mmap=mmap, verify=verify)
    wrong = [position for position, what in outcomes.items() if what not in ("error", "same")]
    if verify:
        assert wrong == []
        # What is left are bytes that mean nothing: padding, dates, attributes, versions.
        assert sum(what == "error" for what in outcomes.values()) > 0.55 * len(original)
    else:
        # Unverified, only array data may differ; every structure is still checked.
        assert all(outcomes[position] == "different" for position in wrong)
        assert len(wrong) < 500


@pytest.mark.parametrize(("mmap", "verify"), MODES)
def test_every_truncation_is_an_error(tmp_path: Path, original: bytes, mmap: bool, verify: bool) -> None:
    lengths = [*range(0, len(original), 13), len(original) - 1]
    for length in lengths:
        assert outcome(tmp_path / "c.npz", original[:length], mmap=mmap, verify=verify) == "error", length


@pytest.mark.parametrize("extra", [b"\0", b"PK\5\6", b"x" * 1000])
def test_bytes_after_the_end_are_an_error(tmp_path: Path, original: bytes, extra: bytes) -> None:
    assert outcome(tmp_path / "c.npz", original + extra, mmap=False, verify=True) == "error"


def test_bytes_before_the_start_are_an_error(tmp_path: Path, original: bytes) -> None:
    assert outcome(tmp_path / "c.npz", b"x" * 64 + original, mmap=True, verify=True) == "error"


def npy(array: np.ndarray, **kwargs: object) -> bytes:
    out = io.BytesIO()
    np.lib.format.write_array(out, array, **kwargs)  # type: ignore[arg-type]
    return out.getvalue()


def npy_saying(text: str, data: bytes = b"") -> bytes:
    """A member whose header says anything."""
    header = text.encode().ljust(117) + b"\n"
    return b"\x93NUMPY\1\0" + len(header).to_bytes(2, "little") + header + data


def npy_of_shape(descr: str, shape: str, data: bytes = b"") -> bytes:
    return npy_saying(f"{{'descr': '{descr}', 'fortran_order': False, 'shape': {shape}, }}", data)


def members_of(data: bytes) -> dict[str, bytes]:
    with zipfile.ZipFile(io.BytesIO(data)) as opened:
        return {name: opened.read(name) for name in opened.namelist()}


def zipped(members: dict[str, bytes] | list[tuple[str, bytes]], **kwargs: int) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w", **kwargs) as opened:  # type: ignore[call-overload]
        for name, data in members.items() if isinstance(members, dict) else members:
            opened.writestr(name, data)
    return out.getvalue()


def with_header(original: bytes, **fields: object) -> bytes:
    members = members_of(original)
    header = json.loads(members["header.npy"][128:])
    return with_header_text(original, json.dumps({**header, **fields}).encode())


def with_header_text(original: bytes, text: bytes) -> bytes:
    return zipped({**members_of(original), "header.npy": npy(np.frombuffer(text, np.uint8))})


def test_a_rebuilt_file_loads_so_the_lies_below_are_what_is_refused(tmp_path: Path, original: bytes) -> None:
    for mmap, verify in MODES:
        data = zipped(members_of(original))
        assert outcome(tmp_path / "c.npz", data, mmap=mmap, verify=verify) == "same"
        assert outcome(tmp_path / "c.npz", with_header(original), mmap=mmap, verify=verify) == "same"


WRONG_ARRAYS = {
    "missing row": lambda a: a[:-1],
    "added row": lambda a: np.concatenate([a, a[:1]]),
    "two-dimensional": lambda a: a[:, None] if a.ndim == 1 else a[:, 0],
    "scalar": lambda a: a.ravel()[0],
    "big-endian": lambda a: a.astype(a.dtype.newbyteorder(">")) if a.itemsize > 1 else a.astype(">u2"),
    "text": lambda a: a.astype("U20"),
    "float32": lambda a: a.astype(np.float32),
    "complex": lambda a: a.astype(np.complex128),
    "record": lambda a: np.zeros(len(a), [("a", "<u4"), ("b", "<u4")]),
    "empty": lambda a: a[:0],
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("lie", WRONG_ARRAYS)
def test_an_array_of_wrong_type_or_shape_is_an_error(
    tmp_path: Path, original: bytes, name: str, lie: str
) -> None:
    members = members_of(original)
    array = np.load(io.BytesIO(members[name]))
    members[name] = npy(np.asarray(WRONG_ARRAYS[lie](array)))
    for mmap, verify in MODES:
        assert outcome(tmp_path / "c.npz", zipped(members), mmap=mmap, verify=verify) == "error"


SAYINGS = {
    "huge": "{'descr': '%s', 'fortran_order': False, 'shape': (999999999999, 4), }",
    "beyond 64 bits": "{'descr': '%s', 'fortran_order': False, 'shape': (999999999999999999999999,), }",
    "product wraps": "{'descr': '%s', 'fortran_order': False, 'shape': (4294967296, 4294967296), }",
    "negative": "{'descr': '%s', 'fortran_order': False, 'shape': (-3,), }",
    "fortran": "{'descr': '%s', 'fortran_order': True, 'shape': (3, 4), }",
    "object": "{'descr': '|O', 'fortran_order': False, 'shape': (3,), }",
    "extra key": "{'descr': '%s', 'fortran_order': False, 'shape': (3,), 'x': 1}",
    "missing key": "{'descr': '%s', 'shape': (3,), }",
    "expression": "{'descr': '%s', 'fortran_order': False, 'shape': (3*1,), }",
    "call": "__import__('os').system('false')",
    "nested": "(" * 100,
    "nothing": "",
}


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("saying", SAYINGS)
def test_a_header_that_lies_is_an_error(tmp_path: Path, original: bytes, name: str, saying: str) -> None:
    members = members_of(original)
    descr = np.load(io.BytesIO(members[name])).dtype.str
    text = SAYINGS[saying]
    members[name] = npy_saying(text % descr if "%" in text else text, members[name][128:])
    for mmap, verify in MODES:
        assert outcome(tmp_path / "c.npz", zipped(members), mmap=mmap, verify=verify) == "error"


@pytest.mark.parametrize("name", NAMES)
def test_a_missing_member_is_an_error(tmp_path: Path, original: bytes, name: str) -> None:
    members = members_of(original)
    del members[name]
    assert outcome(tmp_path / "c.npz", zipped(members), mmap=False, verify=True) == "error"


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.filterwarnings("ignore:Duplicate name")
def test_a_member_given_twice_is_an_error(tmp_path: Path, original: bytes, name: str) -> None:
    members = members_of(original)
    data = zipped([*members.items(), (name, members[name])])
    assert outcome(tmp_path / "c.npz", data, mmap=False, verify=False) == "error"


@pytest.mark.parametrize("shift", range(1, 8))
def test_swapped_members_are_an_error(tmp_path: Path, original: bytes, shift: int) -> None:
    members = members_of(original)
    names = NAMES[shift:] + NAMES[:shift]
    data = zipped({name: members[other] for name, other in zip(NAMES, names, strict=True)})
    for mmap, verify in MODES:
        assert outcome(tmp_path / "c.npz", data, mmap=mmap, verify=verify) == "error"


def test_two_members_over_the_same_bytes_are_an_error(tmp_path: Path, original: bytes) -> None:
    # last_accessed's directory entry is made to point at created_at's bytes.
    with zipfile.ZipFile(io.BytesIO(original)) as opened:
        infos = {info.filename: info for info in opened.infolist()}
        start = opened.start_dir
    directory = original[start:]
    place = directory.index(b"last_accessed.npy") - 46
    entry = bytearray(directory)
    entry[place + 42 : place + 46] = infos["created_at.npy"].header_offset.to_bytes(4, "little")
    assert outcome(tmp_path / "c.npz", original[:start] + entry, mmap=True, verify=False) == "error"


@pytest.mark.parametrize("method", [zipfile.ZIP_DEFLATED, zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
def test_compressed_members_are_an_error(tmp_path: Path, original: bytes, method: int) -> None:
    data = zipped(members_of(original), compression=method)
    assert outcome(tmp_path / "c.npz", data, mmap=False, verify=True) == "error"


HEADER_LIES: dict[str, object] = {
    "n_entries": [-1, 2, 4, 2**31, 2**64, 10**4000, 3.0, "3", None, True, [3]],
    "embedding_dim": [383, -1, 2**70, 384.0, "384", None, {}],
    "code_bits": [0, 255, 64, 2**70, 256.0, None],
    "seed": [43, -42, 2**64, 42.0, "42", [42], True],
    "projection_checksum": ["", "x" * 1000, 7, None, ["0123abcd"]],
    "version": [0, 1, 3, 5, 2**64, -4, 4.0, "4", None],
    "format": ["", "other", None, 4],
}


@pytest.mark.parametrize(
    ("field", "value"),
    [(field, value) for field, values in HEADER_LIES.items() for value in values],  # type: ignore[attr-defined]
    ids=lambda value: repr(value)[:20],
)
def test_a_wrong_header_field_is_an_error(tmp_path: Path, original: bytes, field: str, value: object) -> None:
    for mmap, verify in MODES:
        data = with_header(original, **{field: value})
        assert outcome(tmp_path / "c.npz", data, mmap=mmap, verify=verify) == "error"


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"{}",
        b"[]",
        b"null",
        b"{",
        b"\xff\xfe\xfd",
        b"[" * 60_000,
        b'{"a":' * 10_000,
        b'{"n_entries": ' + b"9" * 50_000 + b"}",
        b" " * 70_000,
        b'{"format": NaN}',
    ],
    ids=lambda text: repr(text[:12]),
)
def test_a_header_that_is_no_header_is_an_error(tmp_path: Path, original: bytes, text: bytes) -> None:
    assert outcome(tmp_path / "c.npz", with_header_text(original, text), mmap=False, verify=True) == "error"


def test_another_version_is_told_apart_from_damage(tmp_path: Path, original: bytes) -> None:
    (tmp_path / "c.npz").write_bytes(with_header(original, version=5))
    with pytest.raises(FormatVersionError, match="version: expected 4, got 5"):
        load(tmp_path / "c.npz", ENCODER)


WRONG_VALUES: dict[str, tuple[str, Callable[[np.ndarray], object]]] = {
    "time not a number": ("created_at.npy", lambda a: a.__setitem__(1, np.nan)),
    "time infinite": ("last_accessed.npy", lambda a: a.__setitem__(1, np.inf)),
    "time negative": ("created_at.npy", lambda a: a.__setitem__(0, -1.0)),
    "count negative": ("access_count.npy", lambda a: a.__setitem__(2, -1)),
    "row twice": ("lru_order.npy", lambda a: a.__setitem__(1, 0)),
    "row negative": ("lru_order.npy", lambda a: a.__setitem__(1, -1)),
    "row too high": ("lru_order.npy", lambda a: a.__setitem__(1, 3)),
    "row far too high": ("lru_order.npy", lambda a: a.__setitem__(1, 2**31 - 1)),
    "offset backwards": ("response_offsets.npy", lambda a: a.__setitem__(1, a[2] + 1)),
    "offset negative": ("response_offsets.npy", lambda a: a.__setitem__(1, -5)),
    "offset beyond": ("response_offsets.npy", lambda a: a.__setitem__(2, 2**62)),
    "first offset": ("response_offsets.npy", lambda a: a.__setitem__(0, 1)),
    "last offset": ("response_offsets.npy", lambda a: a.__setitem__(3, a[3] + 1)),
    "packed garbage": ("responses.npy", lambda a: a.__setitem__(0, 0xC1)),
    "packed too long": ("responses.npy", lambda a: a.__setitem__(0, 0xDB)),
    "packed too short": ("responses.npy", lambda a: a.__setitem__(0, 0xC0)),
    "packed extension": ("responses.npy", lambda a: a.__setitem__(0, 0xC7)),
}


@pytest.mark.parametrize("what", WRONG_VALUES)
def test_a_wrong_value_under_a_right_checksum_is_an_error(tmp_path: Path, original: bytes, what: str) -> None:
    name, change = WRONG_VALUES[what]
    members = members_of(original)
    array = np.load(io.BytesIO(members[name]))
    change(array)
    members[name] = npy(array)
    for mmap in (False, True):
        assert outcome(tmp_path / "c.npz", zipped(members), mmap=mmap, verify=True) == "error"
    if name in ("lru_order.npy", "response_offsets.npy", "responses.npy"):
        assert outcome(tmp_path / "c.npz", zipped(members), mmap=True, verify=False) == "error"


@pytest.mark.parametrize("data", [b"", b"PK\5\6" + bytes(18), b"not a zip" * 100, bytes(10_000)])
def test_what_is_no_archive_is_an_error(tmp_path: Path, data: bytes) -> None:
    for mmap, verify in MODES:
        assert outcome(tmp_path / "c.npz", data, mmap=mmap, verify=verify) == "error"


def test_a_flipped_bit_names_the_member_and_both_checksums(tmp_path: Path, original: bytes) -> None:
    damaged = bytearray(original)
    damaged[original.index(CONTENTS.codes.tobytes())] ^= 1
    (tmp_path / "c.npz").write_bytes(damaged)
    with pytest.raises(
        CorruptFileError, match=r"codes\.npy: checksum: expected [0-9a-f]{8}, got [0-9a-f]{8}"
    ):
        load(tmp_path / "c.npz", ENCODER)


BOMB_CHILD = """
import resource, sys
sys.path.insert(0, {tests!r})
from test_archive import ENCODER, load
from binary_semantic_cache.errors import CorruptFileError
pages = int(open("/proc/self/statm").read().split()[0])
limit = pages * resource.getpagesize() + 64 * 2**20
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
for path in sys.argv[1:]:
    for mmap in (False, True):
        for verify in (False, True):
            try:
                list(load(path, ENCODER, mmap=mmap, verify=verify).responses)
                print("loaded", path)
            except CorruptFileError as exc:
                print("refused" if path in str(exc) else "unnamed " + str(exc))
"""


def bombs(original: bytes) -> dict[str, bytes]:
    members = members_of(original)
    n = 2**31 - 1
    huge = json.dumps({**json.loads(members["header.npy"][128:]), "n_entries": n}).encode()
    nested = b"\xc0\xc0" + b"\xdd\0\x0f\0\0" * 1000 + bytes(2**20)
    bomb = {
        "declared": {
            **members,
            "header.npy": npy(np.frombuffer(huge, np.uint8)),
            "codes.npy": npy_of_shape("<u8", f"({n}, 4)", bytes(100)),
            "created_at.npy": npy_of_shape("<f8", f"({n},)", bytes(100)),
        },
        "responses": {**members, "responses.npy": npy_of_shape("|u1", "(99999999999,)", bytes(10))},
        "nested": {
            **members,
            "responses.npy": npy(np.frombuffer(nested, np.uint8)),
            "response_offsets.npy": npy(np.array([0, 1, 2, len(nested)], np.int64)),
        },
        "string": {
            **members,
            "responses.npy": npy(np.frombuffer(b"\xdb\xff\xff\xff\xf0abc\xc0\xc0", np.uint8)),
            "response_offsets.npy": npy(np.array([0, 8, 9, 10], np.int64)),
        },
    }
    files = {name: zipped(content) for name, content in bomb.items()}
    flood = npy(np.zeros(2**27, np.uint8))
    files["deflated"] = zipped({**members, "responses.npy": flood}, compression=zipfile.ZIP_DEFLATED)
    files["flooded header"] = zipped({**members, "header.npy": flood}, compression=zipfile.ZIP_DEFLATED)
    files["sizes"] = original.replace(
        len(members["codes.npy"]).to_bytes(4, "little") * 2, (2**31).to_bytes(4, "little") * 2
    )
    files["directory"] = original[:-10] + (2**31).to_bytes(4, "little") + original[-6:]
    return files


def test_no_bomb_is_allocated(tmp_path: Path, original: bytes) -> None:
    paths = []
    for name, data in bombs(original).items():
        assert zlib.crc32(data) != zlib.crc32(original), name
        paths.append(tmp_path / f"{name}.npz")
        paths[-1].write_bytes(data)
    code = BOMB_CHILD.format(tests=str(Path(__file__).parent))
    done = subprocess.run(
        [sys.executable, "-c", code, *map(str, paths)], capture_output=True, text=True, check=False
    )
    assert done.stdout.split("\n") == ["refused"] * 4 * len(paths) + [""], done.stdout + done.stderr


def test_extension_types_of_msgpack_never_become_objects(tmp_path: Path, original: bytes) -> None:
    members = members_of(original)
    for packed in (msgpack.packb(msgpack.ExtType(5, b"abc")), msgpack.packb(msgpack.ExtType(1, b""))[:-1]):
        members["responses.npy"] = npy(np.frombuffer(packed + b"\xc0\xc0", np.uint8))
        end = len(packed)
        members["response_offsets.npy"] = npy(np.array([0, end, end + 1, end + 2], np.int64))
        assert outcome(tmp_path / "c.npz", zipped(members), mmap=False, verify=True) == "error"
