"""An embedder by one word, for command lines and configuration files."""

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError

__all__ = ["FORMS", "embedder_from"]

FORMS = (
    "local",
    "local:int8",
    "local:float32",
    "openai:MODEL",
    "ollama:MODEL",
    "sentence-transformers:NAME_OR_PATH",
    "fastembed:NAME",
)


def embedder_from(spec: str) -> Embedder:
    """The embedder that `spec` names, with defaults for all else.

    Args:
        spec: one of `FORMS`, such as "local" or "openai:text-embedding-3-small". What follows the first colon
            is the model's name, colons of its own included.

    Raises:
        InvalidTypeError: `spec` is no string.
        InvalidValueError: `spec` has none of the forms; the message lists them.
        EmbedderError: the embedder could not be made; see its class.
    """
    if not isinstance(spec, str):
        raise InvalidTypeError(f"expected an embedder's name, got {type(spec).__name__}")
    kind, _, model = spec.partition(":")
    # Imports stay in the branches: each module is read only where its embedder is asked for.
    if spec in ("local", "local:int8", "local:float32"):
        from binary_semantic_cache.embedders.local import LocalEmbedder

        return LocalEmbedder(precision="float32" if model == "float32" else "int8" if model else None)
    if kind == "openai" and model:
        from binary_semantic_cache.embedders.openai import OpenAIEmbedder

        return OpenAIEmbedder(model)
    if kind == "ollama" and model:
        from binary_semantic_cache.embedders.ollama import OllamaEmbedder

        return OllamaEmbedder(model)
    if kind == "sentence-transformers" and model:
        from binary_semantic_cache.embedders.sentence_transformers import SentenceTransformersEmbedder

        return SentenceTransformersEmbedder(model)
    if kind == "fastembed" and model:
        from binary_semantic_cache.embedders.fastembed import FastEmbedEmbedder

        return FastEmbedEmbedder(model)
    raise InvalidValueError(f"expected one of {', '.join(FORMS)}, got {spec!r}")
