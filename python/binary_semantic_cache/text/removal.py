"""Taking answers back: what was wrong, what has changed, what belongs to somebody who leaves."""

from dataclasses import dataclass
from typing import Final

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.stores import Store
from binary_semantic_cache.text.canonical import JSON
from binary_semantic_cache.text.counters import Counters
from binary_semantic_cache.text.fingerprint import Fingerprinter
from binary_semantic_cache.text.lookup import NO_PAIR, Lookup
from binary_semantic_cache.text.mirror import Mirror
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.settings import tag_names, whole
from binary_semantic_cache.text.verdict import Hit

__all__ = ["ANY_SCOPE", "AnyScope", "Invalidated", "Removal"]


class AnyScope:
    """Stands for a scope that was not given; `None` is a scope like any other."""

    def __repr__(self) -> str:
        return "any"


ANY_SCOPE: Final = AnyScope()


@dataclass(frozen=True, slots=True)
class Invalidated:
    """What `invalidate` removed, or would remove."""

    entries: tuple[tuple[int, str], ...]
    """`(id, prompt)` of each."""
    dry_run: bool

    def __len__(self) -> int:
        return len(self.entries)


class Removal:
    """Removes entries from the store and folds that into the index at once.

    Args:
        store: where entries are kept.
        mirror: the index of it.
        lookup: finds what is near a prompt.
        fingerprinter: made with the secret of the store.
        counters: count reports.
        code_bits: bits of a code.
        most_entries: more are not looked at inside a radius.
    """

    def __init__(
        self,
        *,
        store: Store,
        mirror: Mirror,
        lookup: Lookup,
        fingerprinter: Fingerprinter,
        counters: Counters,
        code_bits: int,
        most_entries: int,
    ) -> None:
        self._store = store
        self._mirror = mirror
        self._lookup = lookup
        self._fingerprinter = fingerprinter
        self._counters = counters
        self._code_bits = code_bits
        self._most_entries = most_entries

    def report(self, hit: Hit | str) -> bool:
        """See `SemanticCache.report`."""
        hit_id = hit.id if isinstance(hit, Hit) else hit
        if not isinstance(hit_id, str):
            raise InvalidTypeError(f"expected a hit or its id, got {type(hit).__name__}")
        entry_id, pair = self._fingerprinter.parse_hit_id(hit_id)
        # First the pair: whatever happens after it, the two do not match again.
        if pair != NO_PAIR:
            self._store.forbid(pair)
        removed = self._store.delete([entry_id]) > 0
        self._mirror.sync()
        self._counters.add("reports")
        return removed

    def invalidate(
        self,
        tag: str | None,
        prompt: str | Request | None,
        scope: JSON | AnyScope,
        radius: int | None,
        *,
        dry_run: bool,
    ) -> Invalidated:
        """See `SemanticCache.invalidate`."""
        if tag is None and prompt is None and isinstance(scope, AnyScope):
            raise InvalidValueError("expected a tag, a prompt or a scope; clear() removes everything")
        if tag is not None:
            tag_names((tag,))
        if radius is not None and prompt is None:
            raise InvalidValueError("expected a prompt with a radius, got none")
        owner = None if isinstance(scope, AnyScope) else self._fingerprinter.of("?", scope).owner
        if prompt is None:
            found = dict(self._store.select(tag=tag, owner=owner))
        else:
            asked = self._lookup.asked(prompt, None if isinstance(scope, AnyScope) else scope)
            found = dict(self._store.select(tag=tag, key=asked.fingerprint.key))
            if radius is not None:
                bits = whole("radius", radius, 0, self._code_bits)
                near = self._lookup.near(asked, bits, self._most_entries)
                found |= {
                    stored.id: stored.entry.prompt
                    for stored in near
                    if tag is None or tag in stored.entry.tags
                }
        if not dry_run and found:
            self._store.delete(found)
            self._mirror.sync()
        return Invalidated(tuple(sorted(found.items())), dry_run)

    def clear(self, scope: JSON | AnyScope) -> int:
        """See `SemanticCache.clear`."""
        owner = None if isinstance(scope, AnyScope) else self._fingerprinter.of("?", scope).owner
        n = self._store.clear(owner)
        self._mirror.sync()
        return n
