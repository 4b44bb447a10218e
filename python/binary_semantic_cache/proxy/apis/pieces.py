"""Texts cut into pieces of a few words, as a stream says them."""

import re
from collections.abc import Iterator

__all__ = ["pieces"]

# Up to four words with the space before each. A word of more than 40 characters (a URL, base64, Chinese) is
# cut, so that no piece is long; the bounds also keep the search linear.
_PIECE = re.compile(r"(?:\s{0,60}\S{1,40}){1,4}|\s{1,60}")


def pieces(text: str) -> Iterator[str]:
    """The text in pieces, made one by one; joined they are the text. None for an empty one."""
    return (match.group() for match in _PIECE.finditer(text))
