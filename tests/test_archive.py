"""Saving and loading archives: what goes in comes out, and a failure changes nothing."""

import errno
import os
import stat
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from binary_semantic_cache.errors import (
    CorruptFileError,
    DimensionError,
    FingerprintError,
    InvalidTypeError,
    InvalidValueError,
    StoreError,
    UnsavableResponseError,
)
from binary_semantic_cache.vector import archive
from binary_semantic_cache.vector.archive import Contents, load, save


@dataclass(frozen=True)
class EncoderNames:
    embedding_dim: int = 384
    code_bits: int = 256
    seed: int | None = 42
    projection_checksum: str = "0123abcd"

    @property
    def n_words(self) -> int:
        return -(-self.code_bits // 64)


ENCODER = EncoderNames()


def contents_of(responses: list[object]) -> Contents:
    n = len(responses)
    rng = np.random.default_rng(n)
    return Contents(
        codes=rng.integers(0, 2**64, (n, 4), dtype=np.uint64),
        created_at=rng.uniform(0, 1e9, n),
        last_accessed=np.sort(rng.uniform(1e9, 2e9, n)),
        access_count=rng.integers(0, 100, n).astype(np.int32),
        responses=responses,
    )


def assert_same(got: Contents, expected: Contents) -> None:
    for column in ("codes", "created_at", "last_accessed", "access_count"):
        np.testing.assert_array_equal(getattr(got, column), getattr(expected, column))
        assert getattr(got, column).dtype == getattr(expected, column).dtype
        assert getattr(got, column).flags.writeable
    # repr tells 1 from True and 1.0, and nan equals nan.
    assert repr(list(got.responses)) == repr(list(expected.responses))


def names_in(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


def rewrite(path: Path, **changed: np.ndarray) -> None:
    """The archive as another program would write it: NumPy's own writer, neither aligned nor in order."""
    with np.load(path) as members:
        arrays = {name: members[name] for name in members.files}
    np.savez(path, **{**arrays, **changed})


scalars = (
    st.none() | st.booleans() | st.integers() | st.floats() | st.binary(max_size=20) | st.text(max_size=20)
)
surrogates = st.text(st.characters(codec=None, categories=["Cs", "Ll"]), max_size=3)
plain = st.recursive(
    scalars | surrogates,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(scalars | surrogates, inner, max_size=4),
    max_leaves=12,
)


@settings(max_examples=60, deadline=None)
@given(responses=st.lists(plain, max_size=6), mmap=st.booleans(), verify=st.booleans())
def test_what_is_saved_is_loaded(responses: list[object], mmap: bool, verify: bool) -> None:
    contents = contents_of(responses)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "cache.npz")
        save(path, contents, ENCODER)
        assert_same(load(path, ENCODER, mmap=mmap, verify=verify), contents)


def array_starts(path: Path) -> dict[str, int]:
    """Where the data of each member starts, read off the bytes."""
    data = path.read_bytes()

    def number(position: int) -> int:
        return int.from_bytes(data[position : position + 2], "little")

    starts = {}
    with zipfile.ZipFile(path) as opened:
        for info in opened.infolist():
            header = info.header_offset
            npy = header + 30 + number(header + 26) + number(header + 28)
            starts[info.filename] = npy + 10 + number(npy + 8)
    return starts


@pytest.mark.parametrize("n", [0, 1, 3, 17])
def test_every_array_starts_on_a_64_byte_boundary(tmp_path: Path, n: int) -> None:
    save(tmp_path / "c.npz", contents_of(["x" * i for i in range(n)]), ENCODER)
    starts = array_starts(tmp_path / "c.npz")
    assert len(starts) == 8
    assert [start % 64 for start in starts.values()] == [0] * 8


def test_members_of_four_gigabytes_would_be_aligned_too(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_ZIP64_FROM", 0)
    contents = contents_of(["a", "b"])
    save(tmp_path / "c.npz", contents, ENCODER)
    assert all(start % 64 == 0 for start in array_starts(tmp_path / "c.npz").values())
    assert_same(load(tmp_path / "c.npz", ENCODER), contents)


def test_numpy_reads_the_file_without_pickle(tmp_path: Path) -> None:
    contents = contents_of(["a", {"b": [1]}])
    save(tmp_path / "c.npz", contents, ENCODER)
    with np.load(tmp_path / "c.npz", allow_pickle=False) as members:
        assert members.files[:3] == ["codes", "created_at", "access_count"]
        assert {name: members[name].dtype.str for name in members.files} == {
            "codes": "<u8",
            "created_at": "<f8",
            "access_count": "<i4",
            "last_accessed": "<f8",
            "lru_order": "<i4",
            "response_offsets": "<i8",
            "responses": "|u1",
            "header": "|u1",
        }
        np.testing.assert_array_equal(members["codes"], contents.codes)
        np.testing.assert_array_equal(members["lru_order"], [0, 1])


@pytest.mark.parametrize("mmap", [False, True])
def test_a_file_that_numpy_wrote_loads_in_its_own_order_of_use(tmp_path: Path, mmap: bool) -> None:
    contents = contents_of(["a", "b", "c"])
    save(tmp_path / "c.npz", contents, ENCODER)
    rewrite(tmp_path / "c.npz", lru_order=np.array([2, 0, 1], np.int32), foreign=np.arange(5))
    got = load(tmp_path / "c.npz", ENCODER, mmap=mmap)
    assert list(got.responses) == ["c", "a", "b"]
    np.testing.assert_array_equal(got.codes, contents.codes[[2, 0, 1]])
    kept = load(tmp_path / "c.npz", ENCODER, mmap=mmap, max_entries=2)
    assert list(kept.responses) == ["a", "b"]
    np.testing.assert_array_equal(kept.last_accessed, contents.last_accessed[[0, 1]])


@pytest.mark.parametrize("max_entries", [0, 1, 3, 5, 9])
def test_the_most_recently_used_are_kept(tmp_path: Path, max_entries: int) -> None:
    contents = contents_of(["a", "b", "c", "d", "e"])
    save(tmp_path / "c.npz", contents, ENCODER)
    got = load(tmp_path / "c.npz", ENCODER, max_entries=max_entries)
    assert list(got.responses) == ["a", "b", "c", "d", "e"][max(0, 5 - max_entries) :]
    np.testing.assert_array_equal(got.codes, contents.codes[max(0, 5 - max_entries) :])


def test_a_negative_number_of_entries_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InvalidValueError, match="max_entries"):
        load(tmp_path / "c.npz", ENCODER, max_entries=-1)


def test_writing_to_a_mapped_array_leaves_the_file_alone(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    contents = contents_of(["a"] * 1000)
    save(path, contents, ENCODER)
    before = path.read_bytes()
    mapped = load(path, ENCODER, mmap=True)
    mapped.codes[:] = 0
    mapped.access_count[:] += 1
    assert path.read_bytes() == before
    assert_same(load(path, ENCODER, mmap=True), contents)


def test_a_map_outlives_the_replacement_of_its_file(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    contents = contents_of(["a"] * 5000)
    save(path, contents, ENCODER)
    mapped = load(path, ENCODER, mmap=True)
    save(path, contents_of(["b"]), ENCODER)
    assert_same(mapped, contents)


def test_a_mapped_cache_can_be_saved_over_its_own_file(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    contents = contents_of(["a", {"b": None}])
    save(path, contents, ENCODER)
    save(path, load(path, ENCODER, mmap=True), ENCODER)
    assert_same(load(path, ENCODER), contents)


def test_each_access_gives_a_new_response(tmp_path: Path) -> None:
    save(tmp_path / "c.npz", contents_of([{"a": []}, "b"]), ENCODER)
    responses = load(tmp_path / "c.npz", ENCODER).responses
    first = responses[0]
    assert isinstance(first, dict)
    first["a"].append(1)
    assert responses[0] == {"a": []}
    assert responses[-1] == "b"
    assert responses[0:2] == [{"a": []}, "b"]
    for outside in (2, -3):
        with pytest.raises(IndexError):
            responses[outside]


def test_responses_beyond_the_memory_limit_are_spooled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(archive, "_SPOOL_BYTES", 100)
    contents = contents_of(["x" * 50] * 100)
    save(tmp_path / "c.npz", contents, ENCODER)
    assert_same(load(tmp_path / "c.npz", ENCODER), contents)
    assert names_in(tmp_path) == ["c.npz"]


class Text(str):
    __slots__ = ()


CYCLE: list[object] = []
CYCLE.append(CYCLE)
DEEP: list[object] = []
for _ in range(300):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    "response",
    [
        (1, 2),
        {1},
        Text("x"),
        bytearray(b"x"),
        memoryview(b"x"),
        np.float64(1.0),
        1j,
        object(),
        [{"a": (1,)}],
        {(1, 2): "a"},
        CYCLE,
        DEEP,
    ],
    ids=lambda response: type(response).__name__,
)
@pytest.mark.parametrize("write", [archive.save, archive.save_phase1])
def test_what_is_no_plain_data_is_refused_by_entry_and_the_old_file_stays(
    tmp_path: Path, response: object, write: object
) -> None:
    path = tmp_path / "c.npz"
    save(path, contents_of(["old"]), ENCODER)
    before = path.read_bytes()
    with pytest.raises(UnsavableResponseError, match="entry 77 holds") as caught:
        write(path, contents_of(["a", response]), ENCODER, names=[5, 77])  # type: ignore[operator]
    assert isinstance(caught.value, TypeError)
    assert path.read_bytes() == before
    assert names_in(tmp_path) == ["c.npz"]


def test_columns_that_disagree_are_refused(tmp_path: Path) -> None:
    contents = contents_of(["a", "b"])
    for broken in (
        replace(contents, codes=contents.codes[:1]),
        replace(contents, created_at=contents.created_at[:1]),
        replace(contents, responses=["a"]),
    ):
        with pytest.raises(DimensionError):
            save(tmp_path / "c.npz", broken, ENCODER)
    assert names_in(tmp_path) == []


def test_a_column_of_another_dtype_is_refused(tmp_path: Path) -> None:
    contents = contents_of(["a"])
    with pytest.raises(InvalidTypeError, match="int32"):
        save(tmp_path / "c.npz", replace(contents, codes=contents.codes.astype(np.int32)), ENCODER)


def test_the_file_is_readable_by_its_owner_alone(tmp_path: Path) -> None:
    save(tmp_path / "c.npz", contents_of(["a"]), ENCODER)
    assert stat.S_IMODE((tmp_path / "c.npz").stat().st_mode) == 0o600


@pytest.mark.parametrize("call", ["fsync", "rename"])
def test_a_failing_disk_leaves_the_old_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, call: str
) -> None:
    path = tmp_path / "c.npz"
    save(path, contents_of(["old"]), ENCODER)

    def fail(*_: object) -> None:
        raise OSError(errno.EIO, "input/output error")

    with monkeypatch.context() as patch:
        if call == "fsync":
            patch.setattr(os, "fsync", fail)
        else:
            patch.setattr(Path, "replace", fail)
        with pytest.raises(StoreError, match=r"c\.npz") as caught:
            save(path, contents_of(["new"]), ENCODER)
    assert caught.value.errno == errno.EIO
    assert list(load(path, ENCODER).responses) == ["old"]
    assert names_in(tmp_path) == ["c.npz"]


CHILD = """
import os, resource, sys, errno, tempfile
sys.path.insert(0, {tests!r})
from test_archive import ENCODER, contents_of, load, save
from binary_semantic_cache.errors import StoreError
path = {path!r}
contents = contents_of(["x" * 100] * 10_000)
# Whatever is imported late is imported now: the package may lie where nobody else may read.
with tempfile.TemporaryDirectory() as folder:
    save(os.path.join(folder, "first.npz"), contents, ENCODER)
{limit}
try:
    save(path, contents, ENCODER)
except StoreError as exc:
    print(errno.errorcode[exc.errno], path in str(exc))
"""


def run_child(limit: str, path: Path) -> str:
    code = CHILD.format(tests=str(Path(__file__).parent), limit=limit, path=str(path))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


def test_a_full_disk_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "c.npz"
    save(path, contents_of(["old"]), ENCODER)
    limit = "resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))"
    assert run_child(limit, path) == "EFBIG True"
    assert list(load(path, ENCODER).responses) == ["old"]
    assert names_in(tmp_path) == ["c.npz"]


def test_a_read_only_folder_is_a_store_error() -> None:
    # Root may write anywhere, so the child gives root up; tmp_path it could not even enter then.
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder, "c.npz")
        save(path, contents_of(["old"]), ENCODER)
        Path(folder).chmod(0o555)
        limit = "if os.getuid() == 0: os.setgid(65534); os.setuid(65534)"
        assert run_child(limit, path) == "EACCES True"
        assert list(load(path, ENCODER).responses) == ["old"]
        Path(folder).chmod(0o755)


def test_a_missing_file_says_so(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"none\.npz") as caught:
        load(tmp_path / "none.npz", ENCODER)
    assert isinstance(caught.value, StoreError)
    assert caught.value.errno == errno.ENOENT


def test_a_missing_folder_says_so(tmp_path: Path) -> None:
    with pytest.raises(StoreError, match=r"c\.npz") as caught:
        save(tmp_path / "none" / "c.npz", contents_of([]), ENCODER)
    assert caught.value.errno == errno.ENOENT


def test_a_folder_or_a_pipe_is_no_archive(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in (tmp_path, tmp_path / "pipe"):
        with pytest.raises(StoreError, match="regular file"):
            load(path, ENCODER)
    with pytest.raises(StoreError):
        save(tmp_path, contents_of([]), ENCODER)


@pytest.mark.parametrize(
    ("field", "value"),
    [("embedding_dim", 768), ("code_bits", 255), ("seed", 7), ("projection_checksum", "ffff")],
)
def test_another_encoder_is_refused_by_file_and_field(tmp_path: Path, field: str, value: object) -> None:
    save(tmp_path / "c.npz", contents_of(["a"]), ENCODER)
    with pytest.raises(FingerprintError, match=rf"c\.npz: {field}: expected {value} .* got"):
        load(tmp_path / "c.npz", replace(ENCODER, **{field: value}))  # type: ignore[arg-type]


def test_one_projection_given_as_a_seed_and_as_a_matrix_is_one_encoder(tmp_path: Path) -> None:
    contents = contents_of(["a"])
    save(tmp_path / "c.npz", contents, replace(ENCODER, seed=None))
    assert_same(load(tmp_path / "c.npz", ENCODER), contents)


def test_bits_beyond_the_code_are_refused(tmp_path: Path) -> None:
    encoder = replace(ENCODER, code_bits=250)
    contents = contents_of(["a", "b"])
    contents.codes[:, 3] &= np.uint64(2**58 - 1)
    save(tmp_path / "c.npz", contents, encoder)
    assert_same(load(tmp_path / "c.npz", encoder), contents)
    contents.codes[1, 3] = 2**58
    save(tmp_path / "d.npz", contents, encoder)
    with pytest.raises(CorruptFileError, match=r"d\.npz: codes\.npy"):
        load(tmp_path / "d.npz", encoder)


AUDIT = """
import sys
sys.path.insert(0, {tests!r})
from test_archive import ENCODER, load
load({path!r}, ENCODER)  # the first one imports the codec of zip names
seen = []
sys.addaudithook(lambda event, _: seen.append(event))
for mmap in (False, True):
    list(load({path!r}, ENCODER, mmap=mmap).responses)
alarming = ("pickle", "subprocess", "socket", "os.system", "os.exec", "exec", "compile", "import", "ctypes")
print(len(seen) > 0, [event for event in seen if event.startswith(alarming)])
"""


def test_loading_neither_unpickles_nor_runs_nor_connects(tmp_path: Path) -> None:
    save(tmp_path / "c.npz", contents_of(["a", {"b": [2**70, None]}]), ENCODER)
    code = AUDIT.format(tests=str(Path(__file__).parent), path=str(tmp_path / "c.npz"))
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)
    assert done.stdout.strip() == "True []", done.stderr
