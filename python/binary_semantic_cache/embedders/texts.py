"""What an embedder accepts: a sequence of strings, each of them Unicode."""

from collections.abc import Sequence

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError

__all__ = ["checked_texts"]


def checked_texts(texts: Sequence[str]) -> list[str]:
    """The items of `texts` as a list, once each is known to be Unicode text.

    Messages give positions, never the texts: they end up in logs.

    Raises:
        InvalidTypeError: `texts` is one string or no sequence, or one of its items is no string.
        InvalidValueError: a text has a lone surrogate, so it has no UTF-8 form.
    """
    if isinstance(texts, str):
        raise InvalidTypeError("expected a sequence of strings, got one string; write embed([text])")
    try:
        items = list(texts)
    except TypeError as exc:
        raise InvalidTypeError(f"expected a sequence of strings, got {type(texts).__name__}") from exc
    for position, text in enumerate(items):
        if not isinstance(text, str):
            raise InvalidTypeError(f"expected a string at position {position}, got {type(text).__name__}")
        if not _is_unicode(text):
            raise InvalidValueError(
                f"expected Unicode text, got a string with a lone surrogate at position {position}"
            )
    return items


def _is_unicode(text: str) -> bool:
    # A `raise` inside the handler would chain the UnicodeEncodeError, which holds the text.
    try:
        text.encode("utf-8")
    except UnicodeEncodeError:
        return False
    return True
