"""`BinarySemanticCache`: an embedding in, the entry of the most similar embedding out."""

import operator
import weakref
from collections.abc import Iterable
from dataclasses import dataclass
from numbers import Real
from os import PathLike
from time import time
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity
from binary_semantic_cache.errors import (
    DimensionError,
    InvalidTypeError,
    InvalidValueError,
    ReentrantUseError,
)
from binary_semantic_cache.vector.codes import prefers_slices
from binary_semantic_cache.vector.columns import Columns
from binary_semantic_cache.vector.encoder import Encoder
from binary_semantic_cache.vector.index import Index
from binary_semantic_cache.vector.response_column import ResponseColumn
from binary_semantic_cache.vector.substrings import (
    AUTO_ROWS,
    AUTO_THRESHOLD,
    LEAST_BITS,
    MOST_BITS,
    SubstringIndex,
)

__all__ = ["BinarySemanticCache", "CacheEntry", "CacheStats", "Encoder"]

# Rows are int32; the rest is room for the rows an index takes beyond its entries.
_MOST_ENTRIES = 2**31 - 2**20
_ENCODER_NAMES = ("encode", "embedding_dim", "code_bits", "n_words")


@dataclass(frozen=True, slots=True, eq=False)
class CacheEntry:
    """An entry as it was when it was asked for."""

    id: int
    """Names the entry for good: ids are never used twice in a cache's life."""
    code: NDArray[np.uint64]
    """The stored code, `(n_words,)`; a copy."""
    response: object
    """The object that was put; from a loaded file, a new object each time."""
    created_at: float
    """When the response was put, in seconds since the epoch."""
    last_accessed: float
    """When it was last put or hit, in seconds since the epoch."""
    access_count: int
    """Hits since the response was put, this one included."""
    similarity: float
    """Similarity of the query's code to the stored code; 1.0 where there was no query."""


@dataclass(frozen=True, slots=True)
class CacheStats:
    """Counters of a cache's life (`clear` and `load` do not reset them) and its size now."""

    size: int
    max_size: int
    hits: int
    misses: int
    evictions: int
    memory_bytes: int
    """Bytes of codes, times, counts and links; responses are not counted."""

    @property
    def hit_rate(self) -> float:
        """Hits over gets, 0.0 before the first get."""
        gets = self.hits + self.misses
        return self.hits / gets if gets else 0.0

    @property
    def memory_mb(self) -> float:
        """`memory_bytes` in units of 2**20 bytes."""
        return self.memory_bytes / 2**20


class BinarySemanticCache:
    """Responses found by the similarity of embeddings, the least recently used leaving first.

    A get encodes the embedding and scans all codes, exactly: the most similar entry is a hit if its
    similarity reaches the threshold. Put, delete, eviction and the look-up of an id are O(1).

    May be used by many threads. Gets run side by side; a put that returned is visible to every later get.

    Args:
        encoder: makes the codes, and must be the same for all the cache's life and for its files.
        max_entries: a further put evicts the least recently used entry; nothing is allocated beforehand.
        similarity_threshold: least similarity of a hit, 0.0 to 1.0.
        search: how `get` finds the nearest code; the result is the same. "scan" reads all codes.
            "multi-index" reads a small part of them, exactly, for about 100 bytes more an entry (at 256 bits)
            and 2 us more a put; it is built by the first gets, a step each, and pays from some 100,000
            entries and thresholds of 0.85 on. "auto" does so from 2**20 entries and a threshold of 0.85 on.
            `get_many` scans, as it reads the codes once for all.
        threads: most threads that one search may use, its own included, where it is large: from 524,288
            comparisons of 256 bits on, queries times entries. They end with the search. By default as many
            as the variable `BSC_THREADS` says, else one. The result is the same.

    Raises:
        InvalidTypeError: an argument has the wrong type.
        InvalidValueError: an argument is out of range.
    """

    def __init__(
        self,
        encoder: Encoder,
        max_entries: int = 100_000,
        similarity_threshold: float = 0.80,
        *,
        search: Literal["auto", "scan", "multi-index"] = "auto",
        threads: int | None = None,
    ) -> None:
        if not all(hasattr(encoder, name) for name in _ENCODER_NAMES):
            raise InvalidTypeError(f"expected an encoder such as RustBinaryEncoder, got {_kind(encoder)}")
        self._encoder = encoder
        self._encode = encoder.encode
        self._max_entries = _checked_max_entries(max_entries)
        self._threshold = _checked_threshold(similarity_threshold)
        # Weak, so that a cache that nobody holds is gone at once and not with the next cyclic collection.
        fit_responses = weakref.WeakMethod(self._fit_responses)
        hamming = HammingSimilarity(encoder.code_bits, threads=threads)
        substrings = _substrings_for(search, encoder.code_bits, self._max_entries, self._threshold)
        self._index = Index(
            hamming,
            self._max_entries,
            unique=True,
            scoped=False,
            # The multi-index reads single codes, which stand in sixteen places when they are sliced.
            sliced=substrings is None and prefers_slices(hamming),
            substrings=substrings,
            mended=lambda n, dead: (fit_responses() or _nothing)(n, dead),
        )
        self._lock = self._index.lock
        self._responses = ResponseColumn()
        self._hits = self._misses = self._evictions = 0

    @property
    def encoder(self) -> Encoder:
        """What makes the codes."""
        return self._encoder

    @property
    def max_entries(self) -> int:
        """Most entries the cache holds."""
        return self._max_entries

    @property
    def similarity_threshold(self) -> float:
        """Least similarity of a hit."""
        return self._threshold

    def __len__(self) -> int:
        return len(self._index)

    def __contains__(self, entry_id: object) -> bool:
        """Whether the entry with this id is in the cache."""
        if isinstance(entry_id, bool) or not isinstance(entry_id, int | np.integer):
            return False
        with self._lock:
            return self._index.row_of(int(entry_id)) >= 0

    def put(self, embedding: NDArray[Any], response: object) -> int:
        """Stores `response` under the code of `embedding`; returns the entry's id.

        A code that is present keeps its id, takes the new response and starts anew: created now, no accesses.

        Args:
            embedding: one embedding, `(embedding_dim,)`. Borrowed.
            response: any object; kept as it is, not copied.

        Raises:
            DimensionError: `embedding` is not one embedding of the encoder's dimension.
            InvalidTypeError: `embedding` is not an array of floats.
            InvalidValueError: `embedding` holds NaN or infinity.
        """
        return self._put(self._encode_one(embedding), response)

    def put_many(self, embeddings: NDArray[Any], responses: Iterable[object]) -> list[int]:
        """The same as `put` of each pair in order; returns the ids. All is checked before anything is stored.

        Other threads' calls may come in between.

        Args:
            embeddings: `(n, embedding_dim)`. Borrowed.
            responses: `n` objects.

        Raises:
            DimensionError: wrong shape, or not as many responses as embeddings; else as `put`.
        """
        codes, listed = self._encode_all(embeddings), list(responses)
        if len(listed) != len(codes):
            raise DimensionError(f"expected {len(codes)} responses, one an embedding, got {len(listed)}")
        return [self._put(code, response) for code, response in zip(codes, listed, strict=True)]

    def get(self, embedding: NDArray[Any]) -> CacheEntry | None:
        """The entry most similar to `embedding`, now the most recently used; `None` below the threshold.

        Among entries equally near, the same one each time. O(n), exact. Raises as `put`.
        """
        code = self._encode_one(embedding)
        self._refuse_reentry()
        with self._lock:
            found = self._index.nearest(code, self._threshold)
            if found is None:
                self._misses += 1
                return None
            return self._hit(*found)

    def get_many(self, embeddings: NDArray[Any]) -> list[CacheEntry | None]:
        """The same as `get` of each row of `embeddings`, in order. Raises as `put_many`.

        The codes are read once for all rows. What other threads write meanwhile may be seen by some of them
        and not by others.
        """
        codes = self._encode_all(embeddings)
        if not len(codes):
            return []
        self._refuse_reentry()
        with self._lock:
            rows, similarities = self._index.nearest_batch(codes, self._threshold)
            entries = [
                None if row < 0 else self._hit(row, similarity)
                for row, similarity in zip(rows.tolist(), similarities.tolist(), strict=True)
            ]
            self._misses += entries.count(None)
        return entries

    def delete(self, entry_id: int) -> bool:
        """Removes an entry; returns whether it was there. Its response is let go at once.

        Raises:
            InvalidTypeError: `entry_id` is not an integer.
        """
        if isinstance(entry_id, bool) or not isinstance(entry_id, int | np.integer):
            raise InvalidTypeError(f"expected the id of an entry, an int, got {_kind(entry_id)}")
        self._refuse_reentry()
        with self._lock:
            self._index.mend()
            row = self._index.row_of(int(entry_id))
            if row < 0:
                return False
            self._index.remove(row)
            dropped = self._responses.drop(row)
        del dropped
        return True

    def clear(self) -> None:
        """Removes all entries. The counters of `stats` go on; ids are not used again."""
        self._refuse_reentry()
        with self._lock:
            self._index.replace_all()
            dropped, self._responses = self._responses, ResponseColumn()
            self._index.clear()
        del dropped

    def stats(self) -> CacheStats:
        """Size and counters at one moment."""
        with self._lock:
            return CacheStats(
                size=len(self._index),
                max_size=self._max_entries,
                hits=self._hits,
                misses=self._misses,
                evictions=self._evictions,
                memory_bytes=self._index.nbytes,
            )

    def get_all_entries(self) -> list[CacheEntry]:
        """All entries, from least to most recently used; counts as no access."""
        self._refuse_reentry()
        with self._lock:
            self._index.mend()
            return [self._entry(row, 1.0) for row in self._index.order().tolist()]

    def save(self, path: str | PathLike[str], *, phase1: bool = False) -> None:
        """Writes the cache as it is now to `path`, whole or not at all.

        The file is readable by its owner alone (mode 0600): answers may be private. It does not name the
        embedder that the embeddings came from; the caller answers for that.

        Args:
            path: an `.npz` file; what was there is replaced.
            phase1: write the older format, for older readers.

        Raises:
            UnsavableResponseError: a response holds what is not str, bytes, number, None, list or dict.
            StoreError: the file could not be written.
        """
        from binary_semantic_cache.vector import archive  # half of the time in which the package is imported

        self._refuse_reentry()
        with self._lock:
            self._index.mend()
            columns, rows = self._index.columns, self._index.order()
            names = self._index.ids_of(rows)
            contents = archive.Contents(
                codes=columns.codes[rows],
                created_at=np.asarray(columns.created_at)[rows],
                last_accessed=np.asarray(columns.last_accessed)[rows],
                access_count=np.asarray(columns.access_count)[rows],
                responses=self._responses.select(rows),
            )
        write = archive.save_phase1 if phase1 else archive.save
        write(path, contents, self._encoder, names=names)

    def load(self, path: str | PathLike[str], *, mmap: bool = False, verify: bool = True) -> None:
        """Replaces the content by that of `path`; the cache is unchanged if that fails.

        A file with more than `max_entries` entries gives the most recently used of them. Entries get new
        ids; the counters of `stats` go on.

        Args:
            path: a file written by `save`, or by an older version.
            mmap: map the file copy-on-write instead of reading it; it must then not be changed in place.
            verify: check the checksums.

        Raises:
            FingerprintError: the file was made with another dimension, number of bits, seed or projection.
            CorruptFileError: the file is damaged or not an archive.
            FormatVersionError: the file was written in a format that this version does not read.
            StoreError: the file could not be read.
        """
        from binary_semantic_cache.vector import archive

        loaded = archive.load(path, self._encoder, mmap=mmap, verify=verify, max_entries=self._max_entries)
        columns = Columns(loaded.codes, loaded.created_at, loaded.last_accessed, loaded.access_count)
        responses = ResponseColumn(loaded.responses)
        self._refuse_reentry()
        with self._lock:
            self._index.replace_all()
            dropped, self._responses = self._responses, responses
            self._index.adopt(columns)
        del dropped

    def _encode_one(self, embedding: NDArray[Any]) -> NDArray[np.uint64]:
        code = self._encode(embedding)
        if code.ndim != 1:
            raise DimensionError(
                f"expected one embedding of shape ({self._encoder.embedding_dim},), got {embedding.shape}"
            )
        return code

    def _encode_all(self, embeddings: NDArray[Any]) -> NDArray[np.uint64]:
        codes = self._encode(embeddings)
        if codes.ndim != 2:
            raise DimensionError(
                f"expected embeddings of shape (n, {self._encoder.embedding_dim}), got {embeddings.shape}"
            )
        return codes

    def _put(self, code: NDArray[np.uint64], response: object) -> int:
        index = self._index
        self._refuse_reentry()
        with self._lock:
            duplicates = index.prepare()
            responses = self._responses
            # Dies when this returns, after the lock is let go: a finaliser may be anybody's code.
            displaced = [responses.drop(row) for row in duplicates]
            now, row = time(), index.find(code)
            if row >= 0:
                index.renew(row, now)
                displaced.append(responses.replace(row, response))
            else:
                row, evicted = index.add(code, now)
                if evicted >= 0:
                    self._evictions += 1
                    if evicted != row:
                        displaced.append(responses.drop(evicted))
                displaced.append(responses.replace(row, response))
                index.publish(row)
            return index.id_of(row)

    def _fit_responses(self, n: int, dead: NDArray[np.int32] | None) -> None:
        if dead is None:
            self._responses = ResponseColumn()
        else:
            self._responses.fit(n, dead)

    def _refuse_reentry(self) -> None:
        """Keeps a finaliser or signal handler, which may run in the middle of a change, from seeing it."""
        if self._lock._is_owned():  # type: ignore[attr-defined]
            raise ReentrantUseError(
                "expected no use of the cache from within its own work, got one by this thread"
            )

    def _hit(self, row: int, similarity: float) -> CacheEntry:
        self._hits += 1
        self._index.touch(row, time())
        return self._entry(row, similarity)

    def _entry(self, row: int, similarity: float) -> CacheEntry:
        columns = self._index.columns
        return CacheEntry(
            self._index.id_of(row),
            columns.codes.copy(row),
            self._responses[row],
            columns.created_at[row],
            columns.last_accessed[row],
            columns.access_count[row],
            similarity,
        )


def _checked_max_entries(max_entries: int) -> int:
    if isinstance(max_entries, bool) or not isinstance(max_entries, int | np.integer):
        raise InvalidTypeError(f"expected max_entries to be an int, got {_kind(max_entries)}")
    if not 1 <= max_entries <= _MOST_ENTRIES:
        raise InvalidValueError(f"expected max_entries from 1 to {_MOST_ENTRIES}, got {max_entries}")
    return operator.index(max_entries)


def _checked_threshold(threshold: float) -> float:
    if isinstance(threshold, bool) or not isinstance(threshold, Real):
        raise InvalidTypeError(f"expected similarity_threshold to be a number, got {_kind(threshold)}")
    if not 0.0 <= threshold <= 1.0:
        raise InvalidValueError(f"expected similarity_threshold from 0.0 to 1.0, got {threshold}")
    return float(threshold)


def _substrings_for(search: str, code_bits: int, max_entries: int, threshold: float) -> SubstringIndex | None:
    if search not in ("auto", "scan", "multi-index"):
        raise InvalidValueError(f"expected search to be auto, scan or multi-index, got {search!r}")
    is_possible = LEAST_BITS <= code_bits <= MOST_BITS
    if search == "multi-index":
        if not is_possible:
            raise InvalidValueError(
                f"expected codes of {LEAST_BITS} to {MOST_BITS} bits for a multi-index, got {code_bits} bits"
            )
        return SubstringIndex(code_bits)
    pays = max_entries >= AUTO_ROWS and threshold >= AUTO_THRESHOLD
    return (
        SubstringIndex(code_bits, least_rows=AUTO_ROWS) if search == "auto" and is_possible and pays else None
    )


def _nothing(_: int, __: NDArray[np.int32] | None) -> None: ...


def _kind(value: object) -> str:
    return type(value).__name__
