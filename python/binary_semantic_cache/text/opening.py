"""What a `SemanticCache` is made of, from what its caller gave; optional parts come when needed."""

from os import PathLike, fspath

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.stores import Store
from binary_semantic_cache.text.decision import PairGuards, Verifier
from binary_semantic_cache.text.judge import Judge

__all__ = ["check_judge", "opened_embedder", "opened_store", "shipped_guards"]


def opened_store(path_or_store: str | PathLike[str] | Store | None) -> tuple[Store, bool]:
    """The store, and whether the cache is to close it."""
    if path_or_store is None:
        from binary_semantic_cache.stores.memory import MemoryStore

        return MemoryStore(), True
    if isinstance(path_or_store, str | PathLike):
        path = fspath(path_or_store)
        if not isinstance(path, str) or not path:
            raise InvalidValueError("expected the path of a file, got an empty one or bytes")
        if "://" in path:
            raise InvalidValueError(f"expected the path of a file, got {path.split('://')[0]}://...")
        from binary_semantic_cache.stores.sqlite import SQLiteStore

        return SQLiteStore(path), True
    if not hasattr(path_or_store, "put_many"):
        raise InvalidTypeError(f"expected a path, a store or None, got {type(path_or_store).__name__}")
    return path_or_store, False


def opened_embedder(embedder: Embedder | None) -> Embedder:
    """The embedder, the local one for `None`."""
    if embedder is None:
        from binary_semantic_cache.embedders.local import LocalEmbedder

        return LocalEmbedder()
    from binary_semantic_cache.embedders.function import as_embedder

    return as_embedder(embedder)


def shipped_guards() -> PairGuards:
    """The guards that come with the package."""
    from binary_semantic_cache.text.guards import Guards

    return Guards()


def check_judge(judge: Judge | None, embedder: Embedder, vectors: str, verifier: Verifier | None) -> None:
    """Makes sure that the judge, if there is one, can judge what the cache keeps.

    Raises:
        InvalidTypeError: it is no judge.
        InvalidValueError: it was trained with another embedder, no vectors are kept, or it leaves something
            to a verifier and there is none.
    """
    if judge is None:
        return
    if not isinstance(judge, Judge):
        raise InvalidTypeError(f"expected a Judge or None, got {type(judge).__name__}")
    if not embedder.fingerprint.startswith(judge.embedder) or embedder.dimension != judge.embedding_dim:
        raise InvalidValueError(
            f"expected an embedder whose fingerprint begins with {judge.embedder}, as this judge was trained "
            f"with, got {embedder.fingerprint}"
        )
    if vectors == "none":
        raise InvalidValueError("expected vectors to be kept for the judge, got vectors='none'")
    if judge.verify_between is not None and verifier is None:
        raise InvalidValueError(
            f"expected a verifier for what the judge leaves to it (verify_between={judge.verify_between}), "
            "got none"
        )
