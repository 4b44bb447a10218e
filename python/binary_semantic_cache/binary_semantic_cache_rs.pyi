"""Types of the Rust extension. Arrays are borrowed, never copied, unless a docstring says so."""

from collections.abc import Mapping, Sequence
from typing import Any, ClassVar, final

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "HammingSimilarity",
    "MultiIndex",
    "RustBinaryEncoder",
    "TextGuards",
    "TextJudge",
    "TextModel",
    "available_isas",
    "cosines",
    "crc32",
    "slice_codes",
    "table_find",
    "table_insert",
    "table_remove",
    "unslice_code",
    "unslice_codes",
]

def available_isas() -> list[str]:
    """The instruction sets this machine can run, slowest first: of scalar, popcnt, avx2, avx512, neon."""

def crc32(data: NDArray[Any], value: int = 0) -> int:
    """The CRC-32 (as in zip) of a C-contiguous array's bytes, continued from `value`."""

def cosines(
    query: NDArray[np.float32], packed: Sequence[bytes], *, isa: str | None = None
) -> list[float | None]:
    """The cosine of `query`, of length 1, with each vector as `text.vectors` packs them.

    `None` for an empty one; nan for one of another length than the query or of no known format; 0 for one of
    length 0 or infinite. The same to the last bit on every machine and with every `isa` of `available_isas`.
    """

@final
class RustBinaryEncoder:
    def __new__(
        cls,
        embedding_dim: int,
        code_bits: int = 256,
        seed: int = 42,
        *,
        projection: NDArray[np.float32] | None = None,
        isa: str | None = None,
        threads: int | None = None,
    ) -> RustBinaryEncoder: ...
    @property
    def embedding_dim(self) -> int: ...
    @property
    def code_bits(self) -> int: ...
    @property
    def n_words(self) -> int: ...
    @property
    def seed(self) -> int | None: ...
    @property
    def projection_checksum(self) -> str: ...
    @property
    def threads(self) -> int: ...
    @property
    def isa(self) -> str: ...
    def encode(self, x: NDArray[Any]) -> NDArray[np.uint64]: ...
    def encode_batch(self, x: NDArray[Any]) -> NDArray[np.uint64]: ...

@final
class HammingSimilarity:
    def __new__(
        cls, code_bits: int = 256, *, isa: str | None = None, threads: int | None = None
    ) -> HammingSimilarity: ...
    @property
    def code_bits(self) -> int: ...
    @property
    def n_words(self) -> int: ...
    @property
    def threads(self) -> int: ...
    @property
    def isa(self) -> str: ...
    @property
    def prefers_slices(self) -> bool:
        """Whether a scan of sliced codes is known to be quicker here than one of codes row after row."""

    def find_nearest(
        self,
        query: NDArray[np.uint64],
        codes: NDArray[np.uint64],
        threshold: float,
        *,
        live: NDArray[np.uint8] | None = None,
        rows: NDArray[np.int32] | None = None,
        scope: tuple[NDArray[np.int32], int] | None = None,
        heads: NDArray[np.uint16] | None = None,
        tails: NDArray[np.uint16] | None = None,
    ) -> tuple[int, float] | None: ...
    def find_within(
        self,
        query: NDArray[np.uint64],
        codes: NDArray[np.uint64],
        threshold: float,
        limit: int,
        *,
        live: NDArray[np.uint8] | None = None,
        rows: NDArray[np.int32] | None = None,
        scope: tuple[NDArray[np.int32], int] | None = None,
        heads: NDArray[np.uint16] | None = None,
        tails: NDArray[np.uint16] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.uint32]]: ...
    def find_nearest_batch(
        self,
        queries: NDArray[np.uint64],
        codes: NDArray[np.uint64],
        threshold: float,
        *,
        live: NDArray[np.uint8] | None = None,
        rows: NDArray[np.int32] | None = None,
        scope: tuple[NDArray[np.int32], int] | None = None,
        heads: NDArray[np.uint16] | None = None,
        tails: NDArray[np.uint16] | None = None,
    ) -> tuple[NDArray[np.int64], NDArray[np.float64]]:
        """`(indices, similarities)` of length m; a query without a hit has index -1 and similarity nan."""

    def batch_similarity(self, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> NDArray[np.float32]: ...
    def distance(self, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> int: ...
    def similarity(self, a: NDArray[np.uint64], b: NDArray[np.uint64]) -> float: ...

@final
class MultiIndex:
    """Rows by the substrings of their codes: `HammingSimilarity.find_nearest` for a million codes and more.

    Holds row numbers in native memory, about 100 bytes a row at 256 bits; the codes stay in the caller's
    array. Searches run side by side and beside one writer. What was inserted under one code is removed under
    the same code.
    """

    def __new__(
        cls, code_bits: int = 256, expected_rows: int = 1_000_000, *, isa: str | None = None
    ) -> MultiIndex: ...
    @property
    def code_bits(self) -> int: ...
    @property
    def n_words(self) -> int: ...
    @property
    def n_substrings(self) -> int: ...
    @property
    def nbytes(self) -> int: ...
    @property
    def searches(self) -> tuple[int, int]:
        """Searches so far: `(answered, scanned)`, by the index alone and by a scan."""

    def __len__(self) -> int: ...
    def insert(self, rows: NDArray[np.int32], codes: NDArray[np.uint64]) -> None:
        """Enters `rows` under the codes that stand there in `codes`; a row may be in once."""

    def remove(self, row: int, codes: NDArray[np.uint64]) -> bool:
        """Takes `row` out, its code still standing in `codes`; whether it was there, as far as is known."""

    def find_nearest(
        self,
        query: NDArray[np.uint64],
        codes: NDArray[np.uint64],
        threshold: float,
        *,
        live: NDArray[np.uint8] | None = None,
    ) -> tuple[int, float] | None:
        """What `HammingSimilarity.find_nearest` gives, provided that every live row was inserted."""

@final
class TextGuards:
    """Does a stored prompt ask what a new one asks? `binary_semantic_cache.text.guards` wraps this."""

    names: ClassVar[tuple[str, ...]]
    """All guards, in the order in which they are asked."""
    table_names: ClassVar[tuple[str, ...]]
    """The tables that can be given; those that are not are empty."""

    def __new__(
        cls, lexicon: bytes, tables: Mapping[str, Sequence[str]], *, disabled: Sequence[str] = ()
    ) -> TextGuards: ...
    def check(self, prompt: str, candidates: Sequence[str]) -> list[list[tuple[str, str]]]:
        """For each candidate, every veto as (guard, detail)."""

@final
class TextJudge:
    """How likely is it that two prompts have one answer? `binary_semantic_cache.text.judge` wraps this."""

    feature_names: ClassVar[tuple[str, ...]]
    """The names of the features, in order."""

    def __new__(cls, guards: TextGuards, model: str) -> TextJudge: ...
    @property
    def embedding_dim(self) -> int:
        """Numbers of an embedding."""

    def features(
        self,
        prompt: str,
        embedding: NDArray[np.float32],
        candidates: Sequence[str],
        packed: Sequence[bytes],
    ) -> NDArray[np.float32]:
        """The features of the prompt with each candidate, a row each; nan where there is no vector."""

    def score(
        self,
        prompt: str,
        embedding: NDArray[np.float32],
        candidates: Sequence[str],
        packed: Sequence[bytes],
    ) -> list[float | None]:
        """For each candidate, the probability that its answer answers the prompt; `None` without a vector."""

def slice_codes(codes: NDArray[np.uint64], heads: NDArray[np.uint16], tails: NDArray[np.uint16]) -> None:
    """Cuts `(32 n, 4)` codes of 256 bits into `heads` `(n, 9, 32)` and `tails` `(n, 7, 32)`, both written.

    Bits 16 s to 16 s + 15 of row i are `heads[i // 32, s, i % 32]`, from s = 9 on
    `tails[i // 32, s - 9, i % 32]`. A search over them reads little more than the heads.
    """

def unslice_code(heads: NDArray[np.uint16], tails: NDArray[np.uint16], row: int) -> NDArray[np.uint64]:
    """The code of one row, `(4,)`, out of what `slice_codes` made; a copy."""

def unslice_codes(
    heads: NDArray[np.uint16], tails: NDArray[np.uint16], rows: NDArray[np.int32]
) -> NDArray[np.uint64]:
    """The codes of `rows`, `(n, 4)`, out of what `slice_codes` made; a copy."""

def table_find(
    table: NDArray[np.int32],
    codes: NDArray[np.uint64],
    code: NDArray[np.uint64],
    key: int,
    heads: NDArray[np.uint16] | None = None,
    tails: NDArray[np.uint16] | None = None,
) -> int:
    """The row whose code equals `code`, or -1.

    `table` is an open-addressing hash table of rows, -1 where empty, longer than the number of rows in it.
    `key` is a per-table random number, so that nobody can prepare codes that collide. `heads` and `tails`
    hold the rows that come before those of `codes`, as in a search.
    """

def table_insert(
    table: NDArray[np.int32],
    codes: NDArray[np.uint64],
    rows: NDArray[np.int32],
    key: int,
    heads: NDArray[np.uint16] | None = None,
    tails: NDArray[np.uint16] | None = None,
) -> None:
    """Enters `rows` in order, but those whose code is there already; InvalidValueError when it is full."""

def table_remove(
    table: NDArray[np.int32],
    codes: NDArray[np.uint64],
    row: int,
    key: int,
    heads: NDArray[np.uint16] | None = None,
    tails: NDArray[np.uint16] | None = None,
) -> bool:
    """Takes `row` out, if it is there; its code must still stand in `codes`."""

@final
class TextModel:
    available_isas: ClassVar[tuple[str, ...]]
    def __new__(cls, network: bytes, tokenizer: bytes, *, isa: str | None = None) -> TextModel: ...
    @property
    def isa(self) -> str: ...
    def token_ids(self, text: str) -> list[int]: ...
    def embed(self, texts: Sequence[str], *, threads: int = 1) -> NDArray[np.float32]: ...
    def encode(
        self, texts: Sequence[str], encoder: RustBinaryEncoder, *, threads: int = 1
    ) -> tuple[NDArray[np.float32], NDArray[np.uint64]]: ...
