"""Whether what a store gave is what it was asked for: a store may be wrong, damaged or somebody else's.

An entry whose scope, text and key do not belong together, that has expired, or that is another than the one
asked for counts as not there. What cannot be seen here is an answer in another entry's place that changed
nothing else; that is for the store to see.
"""

import logging

from binary_semantic_cache.stores import Entry, Stored, servable
from binary_semantic_cache.text.fingerprint import Fingerprint, Fingerprinter

__all__ = ["Credence"]

_logger = logging.getLogger(__name__)


class Credence:
    """Checks entries against what was asked.

    Args:
        fingerprinter: made with the secret of the store.
    """

    __slots__ = ("_fits",)

    def __init__(self, fingerprinter: Fingerprinter) -> None:
        self._fits = fingerprinter.fits

    def exact(self, stored: Stored | None, asked: Fingerprint, now: float) -> Stored | None:
        """`stored` if it is the entry of the very request."""
        given = (
            isinstance(stored, Stored)
            and stored.entry.key == asked.key
            and stored.entry.scope == asked.scope
            # Where it is the text that was asked, the key was made of it: no need to make it again.
            and (
                servable(stored.entry, now)
                if stored.entry.prompt == asked.text
                else self._is_sound(stored.entry, now)
            )
        )
        return _noted(stored, given)

    def near(
        self, stored: Stored | None, entry_id: int, scope: bytes, code: bytes, vector: bytes, now: float
    ) -> Stored | None:
        """`stored` if it is the entry of this id, with the scope, code and vector by which it was found."""
        given = (
            isinstance(stored, Stored)
            and stored.id == entry_id
            and stored.entry.scope == scope
            and stored.entry.code == code
            and stored.entry.vector == vector
            and self._is_sound(stored.entry, now)
        )
        return _noted(stored, given)

    def _is_sound(self, entry: Entry, now: float) -> bool:
        return servable(entry, now) and self._fits(entry.key, entry.scope, entry.prompt)


def _noted(stored: Stored | None, given: bool) -> Stored | None:
    if stored is not None and not given:
        _logger.warning("the store gave an entry that was not asked for")
    return stored if given else None
