"""The SQLite store: puts, reads, cold start, size of a file, against others that keep answers in SQLite."""

import statistics
from collections.abc import Callable, Iterator
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path
from tempfile import TemporaryDirectory
from time import perf_counter

import diskcache
import mneme
import numpy as np
from numpy.typing import NDArray

from benches.harness import Case, Contender, Figure, Row, check_equal, measure
from benches.subject import Setting
from benches.vectors import embeddings_in_chunks
from binary_semantic_cache import HammingSimilarity, RustBinaryEncoder
from binary_semantic_cache.stores import Entry
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.mirror import Mirror
from binary_semantic_cache.text.vectors import pack, unit

__all__ = ["run"]

DISKCACHE, MNEME = "diskcache", "mneme-cache"
_DIMENSION = 384
_ANSWER = "An answer of the usual length. " * 16
_SCOPE, _OWNER = b"s" * 16, b"o" * 16
_CHUNK = 1000
_ASKED = 512
_FAR_FUTURE = 2e9


def run(setting: Setting) -> Iterator[Row]:
    """One file of each kind on the same disk, one process."""
    with TemporaryDirectory(prefix="bsc-bench-") as name:
        folder = Path(name)
        n = setting.size(100_000, 500)
        files = _Files(folder, "os")
        files.fill(n)
        yield from _puts(setting, files, n, "os", Figure.at_most(60, "us"))
        yield from _finds(setting, files, n)
        files.close()
        yield from _sizes(files, n)
        yield from _cold_starts(setting, files.path, n, None)
    with TemporaryDirectory(prefix="bsc-bench-") as name:
        files = _Files(Path(name), "disk")
        files.fill(_ASKED)
        yield from _puts(setting, files, _ASKED, "disk", None)
        files.close()
    with TemporaryDirectory(prefix="bsc-bench-") as name:
        n = setting.size(1_000_000, 2000)
        path = Path(name) / "answers.db"
        _fill_ours(path, n)
        yield from _cold_starts(setting, path, n, Figure.at_most(300, "ms"))


class _Files:
    """The same entries in three files; `_put` enters one more into each."""

    def __init__(self, folder: Path, durability: str) -> None:
        self.path = folder / "ours.db"
        self._theirs = folder / "mneme.db"
        self._disk = folder / "diskcache"
        self.ours = SQLiteStore(self.path, durability="disk" if durability == "disk" else "os")
        self.ours.open("bench")
        self.mneme = mneme.SQLiteStore(self._theirs)
        self.mneme.open("bench", _DIMENSION)
        # 1 is NORMAL, its default; 2 is FULL, which waits for the disk. No culling, as the others do none.
        synchronous = 2 if durability == "disk" else 1
        self.diskcache = diskcache.Cache(
            str(self._disk), sqlite_synchronous=synchronous, eviction_policy="none", statistics=0
        )

    def fill(self, n: int) -> None:
        """Enters the first `n`."""
        batch = []
        for i, vector in enumerate(_vectors(n)):
            entry = entry_of(i, vector)
            batch.append(entry)
            self.mneme.insert(theirs_of(entry, vector))
            self.diskcache.set(entry.key, (entry.prompt, _ANSWER, entry.vector))
            if len(batch) == _CHUNK or i == n - 1:
                self.ours.put_many(batch)
                batch = []
        self.ours.compact()

    def close(self) -> None:
        """Closes all three, write-ahead logs emptied."""
        self.ours.close()
        self.mneme.close()
        self.diskcache.close()

    def sizes(self) -> dict[str, int]:
        """Bytes on the disk."""
        return {
            "ours": _bytes_of(self.path),
            MNEME: _bytes_of(self._theirs),
            DISKCACHE: sum(map(_bytes_of, self._disk.rglob("*"))),
        }


def entry_of(number: int, vector: NDArray[np.float32]) -> Entry:
    """Entry number `number`, with a code that is as good as any."""
    embedding = unit(vector)
    return Entry(
        key=number.to_bytes(16),
        scope=_SCOPE,
        owner=_OWNER,
        code=_ENCODER.encode(embedding).astype("<u8").tobytes(),
        vector=pack(embedding, "int8"),
        prompt=f"How do I repair part {number}?",
        kind="text",
        payload=_ANSWER.encode(),
        created_at=0.0,
        expires_at=None,
    )


_ENCODER = RustBinaryEncoder(_DIMENSION)


def theirs_of(entry: Entry, vector: NDArray[np.float32]) -> "mneme.StoredEntry":
    """The same as mneme-cache keeps it."""
    return mneme.StoredEntry(
        id=0,
        namespace="s",
        query_hash=entry.key.hex(),
        query=entry.prompt,
        response=_ANSWER,
        embedding=vector.tobytes(),
        metadata={},
        created_at=0,
        last_accessed_at=0,
        ttl=None,
        access_count=0,
    )


def _puts(setting: Setting, files: _Files, n: int, durability: str, figure: Figure | None) -> Iterator[Row]:
    (vector,) = _vectors(1)
    template = entry_of(n, vector)
    numbers = count(n)

    def fresh() -> Iterator[tuple[Entry]]:
        return (
            (replace(template, key=i.to_bytes(16), code=np.random.default_rng(i).bytes(32)),) for i in numbers
        )

    def put_mneme(entry: Entry) -> object:
        return files.mneme.insert(theirs_of(entry, vector))

    def put_diskcache(entry: Entry) -> object:
        return files.diskcache.set(entry.key, (entry.prompt, _ANSWER, entry.vector))

    what = f"put one entry, {durability}-durable"
    ours = Contender("ours", lambda entry: files.ours.put_many([entry]), fresh(), figure)
    others = [Contender(DISKCACHE, put_diskcache, fresh())]
    if durability == "os":  # it has no other mode
        others.append(Contender(MNEME, put_mneme, fresh()))
    yield from measure(Case(what, n, ours, others), setting.effort)


def _finds(setting: Setting, files: _Files, n: int) -> Iterator[Row]:
    keys = [int(i).to_bytes(16) for i in np.random.default_rng(5).choice(n, min(n, _ASKED), replace=False)]

    def ours(key: bytes) -> tuple[str, str]:
        stored = files.ours.find(key, _FAR_FUTURE)
        assert stored is not None
        return stored.entry.prompt, stored.entry.payload.decode()

    def others(key: bytes) -> tuple[str, str]:
        prompt, answer, _ = files.diskcache[key]
        return prompt, answer

    def theirs(key: bytes) -> tuple[str, str]:
        found = files.mneme.get_by_hash("s", key.hex())
        assert found is not None
        return found.query, found.response

    for key in keys:
        check_equal("find", DISKCACHE, ours(key), others(key))
        check_equal("find", MNEME, ours(key), theirs(key))
    asked: Callable[[], Iterator[tuple[bytes]]] = lambda: cycle([(key,) for key in keys])  # noqa: E731
    contenders = [Contender(DISKCACHE, others, asked()), Contender(MNEME, theirs, asked())]
    yield from measure(Case("find by key", n, Contender("ours", ours, asked()), contenders), setting.effort)


def _sizes(files: _Files, n: int) -> Iterator[Row]:
    sizes = files.sizes()
    for name in (DISKCACHE, MNEME):
        what = "file, an entry" + (" (theirs keeps float32 vectors)" if name == MNEME else "")
        yield Row(what, n, "B", sizes["ours"] / n, name, sizes[name] / n)


def _cold_starts(setting: Setting, path: Path, n: int, figure: Figure | None) -> Iterator[Row]:
    """Opening the file and folding its log into an index, out of the page cache."""
    folds, rows = [], []
    for _ in range(setting.size(7, 3)):
        store = SQLiteStore(path)
        began = perf_counter()
        store.open("bench")
        mirror = Mirror(store, HammingSimilarity(), n + 2**20)
        mirror.sync()
        folds.append((perf_counter() - began) * 1e3)
        entries = len(mirror)
        began = perf_counter()
        _, chunks = store.snapshot()
        from_rows = sum(len(chunk) for chunk in chunks)
        rows.append((perf_counter() - began) * 1e3)
        check_equal("cold start", "rows", entries, from_rows)
        check_equal("cold start", "the store", entries, store.stats().entries)
        store.close()
    kept = {"ours": folds, "reading all rows": rows}
    ours, theirs = statistics.median(folds), statistics.median(rows)
    yield Row("cold start: open and fold", n, "ms", ours, "reading all rows", theirs, figure, rounds=kept)


def _fill_ours(path: Path, n: int) -> None:
    store = SQLiteStore(path)
    store.open("bench")
    batch: list[Entry] = []
    for i, vector in enumerate(_vectors(n)):
        batch.append(entry_of(i, vector))
        if len(batch) == _CHUNK or i == n - 1:
            store.put_many(batch)
            batch = []
    store.compact()
    store.close()


def _vectors(n: int) -> Iterator[NDArray[np.float32]]:
    for chunk in embeddings_in_chunks(n, _DIMENSION, 21, min(n, 20_000)):
        yield from chunk


def _bytes_of(path: Path) -> int:
    return path.stat().st_size if path.is_file() else 0
