"""Moving a durable cache to another embedder."""

import json
from collections.abc import Callable, Iterator
from dataclasses import dataclass

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.coding import Coder
from binary_semantic_cache.text.identity import identity
from binary_semantic_cache.text.vectors import VectorFormat, pack

__all__ = ["Reembedded", "reembed"]

_BATCH = 64


@dataclass(frozen=True, slots=True)
class Reembedded:
    """What was done."""

    entries: int
    """All entries of the store."""
    searchable: int
    """Those that meaning can find now."""
    before: str | None
    """The fingerprint of the embedder before; `None` for a store that nobody had filled."""
    after: str


def reembed(
    store: SQLiteStore,
    embedder: Embedder,
    *,
    vectors: VectorFormat = "int8",
    progress: Callable[[int], object] = lambda n: None,
) -> Reembedded:
    """Embeds every prompt anew; the store changes at the end, all at once, and stays as it is on any failure.

    Entries that were answered by exact matches only stay so, and so do from now on those too long for the
    embedder. Width of codes and seed stay. Whoever has the store open must open it again to match by meaning.

    Args:
        store: not opened; entries that others put meanwhile keep their exact matches alone.
        embedder: the new one.
        vectors: how embeddings are kept for re-scoring.
        progress: called with the number of entries done since the last call.

    Raises:
        EmbedderError: the embedder failed.
        StoreError: the store failed.
    """
    written = store.fingerprint()
    before = {} if written is None else json.loads(written)
    encoder = RustBinaryEncoder(embedder.dimension, before.get("code_bits", 256), before.get("seed", 42))
    coder = Coder(embedder, encoder)

    def chunks() -> Iterator[list[tuple[int, bytes, bytes]]]:
        for rows in store.prompts():
            for at in range(0, len(rows), _BATCH):
                some = rows[at : at + _BATCH]
                wanted = [(entry_id, prompt) for entry_id, prompt, code in some if code]
                coded = coder.code_many([prompt for _, prompt in wanted])
                yield [
                    (entry_id, made.code, pack(made.embedding, vectors))
                    for (entry_id, _), made in zip(wanted, coded, strict=True)
                    if made is not None
                ]
                progress(len(some))

    after = identity(embedder.fingerprint, encoder)
    if written is None:
        store.open(after)
        searchable = 0
    else:
        searchable = store.reembed(after, chunks())
    return Reembedded(store.stats().entries, searchable, before.get("embedder"), embedder.fingerprint)
