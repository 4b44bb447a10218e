"""Your own way from text to vector as an embedder."""

from collections.abc import Callable, Sequence
from inspect import getattr_static
from typing import Any

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.embedders.arguments import check_count, check_name
from binary_semantic_cache.embedders.texts import checked_texts
from binary_semantic_cache.embedders.vectors import checked_vectors
from binary_semantic_cache.errors import EmbedderError, InvalidTypeError

__all__ = ["FunctionEmbedder", "as_embedder"]

_MEMBERS = ("dimension", "fingerprint", "max_tokens", "embed")


class FunctionEmbedder:
    """Embeds texts by a function of yours, and checks what it gives.

    Vectors are passed on as they are, not scaled. As safe for threads as the function is.
    """

    def __init__(
        self,
        function: Callable[[list[str]], Any],
        dimension: int,
        fingerprint: str,
        *,
        max_tokens: int | None = None,
    ) -> None:
        """Calls nothing.

        Args:
            function: takes a list of one or more texts; gives an array or a list of lists, one row a text.
                A row must depend on its own text alone.
            dimension: length of a row.
            fingerprint: names the model and its version. Change it whenever the function's vectors change:
                a cache has no other way to know.
            max_tokens: longest text that is embedded whole; `None` when there is no limit.

        Raises:
            InvalidTypeError: `function` cannot be called, or another argument has the wrong type.
            InvalidValueError: `dimension` or `max_tokens` is below 1, or `fingerprint` is empty.
        """
        if not callable(function):
            raise InvalidTypeError(f"expected a function, got {type(function).__name__}")
        check_count("dimension", dimension)
        check_name("fingerprint", fingerprint)
        if max_tokens is not None:
            check_count("max_tokens", max_tokens)
        self._function = function
        self._dimension = dimension
        self._fingerprint = fingerprint
        self._max_tokens = max_tokens

    @property
    def dimension(self) -> int:
        """Length of one embedding, as given."""
        return self._dimension

    @property
    def fingerprint(self) -> str:
        """The fingerprint, as given."""
        return self._fingerprint

    @property
    def max_tokens(self) -> int | None:
        """The longest text that is embedded whole, as given."""
        return self._max_tokens

    def embed(self, texts: Sequence[str]) -> NDArray[np.float32]:
        """The embeddings of `texts`, shape `(len(texts), dimension)`, float32, a copy of the function's.

        The function is not called for no texts.

        Raises:
            InvalidTypeError: `texts` is one string, or one of its items is no string.
            InvalidValueError: a text is not Unicode.
            EmbedderError: the function failed, or gave something other than finite rows of that shape.
        """
        items = checked_texts(texts)
        if not items:
            return np.empty((0, self._dimension), dtype=np.float32)
        rows = len(items)
        try:
            answer = self._function(items)
        except Exception as exc:  # the function is the caller's: it may raise anything
            raise EmbedderError(f"the function of {self._fingerprint} raised {type(exc).__name__}") from exc
        return checked_vectors(answer, rows, self._dimension)


def as_embedder(candidate: object) -> Embedder:
    """`candidate` itself, if it has what an `Embedder` has.

    Looks at its class alone: reading `dimension` could ask a server.

    Raises:
        InvalidTypeError: it is no embedder; the message says what is missing and what to do.
    """
    name = getattr(candidate, "__name__", type(candidate).__name__)
    missing = [member for member in _MEMBERS if not _has(candidate, member)]
    if isinstance(candidate, type):
        if not missing:
            raise InvalidTypeError(
                f"expected an embedder, got the class {name}; make an instance: {name}(...)"
            )
    elif not missing:
        return candidate  # type: ignore[return-value]
    elif callable(candidate) and len(missing) == len(_MEMBERS):
        raise InvalidTypeError(
            f"expected an embedder, got the function {name}; wrap it, FunctionEmbedder({name}, dimension, "
            "fingerprint): a cache needs the length of its vectors, and a name that changes with them"
        )
    raise InvalidTypeError(
        f"expected an embedder, got {type(candidate).__name__} without {', '.join(missing)}"
    )


def _has(candidate: object, member: str) -> bool:
    try:
        getattr_static(candidate, member)
    except AttributeError:
        return False
    return True
