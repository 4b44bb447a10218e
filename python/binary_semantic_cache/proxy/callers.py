"""Whose request it is, and whether its key is known to be good.

A hit is an answer without asking the upstream, so the upstream's check of the key must be made up for: a key
is good if the configuration lists it, or if the upstream accepted it a short while ago. Keys themselves are
never kept: what is remembered of one is a keyed digest.
"""

import secrets
import threading
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from hashlib import blake2b, sha256
from time import monotonic

from binary_semantic_cache.proxy.apis import Provider
from binary_semantic_cache.proxy.headers import CREDENTIALS, Headers
from binary_semantic_cache.proxy.settings import KeySettings

__all__ = ["Caller", "Callers"]

_MOST_ACCEPTED = 100_000
_SHOWN_DIGITS = 12


@dataclass(frozen=True, slots=True)
class Caller:
    """Who asks."""

    principal: bytes
    """Stands for the credentials in this process."""
    scope: str
    """The tenant, as the cache's `scope`: who has the same may share answers."""
    name: str
    """The tenant's, for logs: as configured, or a few digits of a keyed digest."""
    is_configured: bool


class Callers:
    """Tells callers apart and remembers whom the upstream accepted. May be used by many threads.

    Args:
        settings: `[keys]`.
        pseudonym: a keyed digest that all processes of this cache agree on, as `SemanticCache.pseudonym`.
        now: seconds that only grow.
        further: headers that are forwarded besides. One of them may be a credential of the upstream's own, so
            trust in a caller is trust in their values. They do not say whose an answer is: with each answer
            it is looked at whether they are equal.
    """

    def __init__(
        self,
        settings: KeySettings,
        pseudonym: Callable[[bytes], str],
        now: Callable[[], float] = monotonic,
        further: frozenset[bytes] = frozenset(),
    ) -> None:
        self._further = further
        self._settings = settings
        self._pseudonym = pseudonym
        self._now = now
        self._secret = secrets.token_bytes(32)
        self._configured = {bytes.fromhex(key.sha256): key for key in settings.known}
        self._accepted: OrderedDict[tuple[Provider, bytes], float] = OrderedDict()
        self._lock = threading.Lock()

    def of(self, headers: Headers) -> Caller:
        """The caller of a request. All its credentials count: if one is another, so is the caller."""
        given = [(name, value.strip()) for name, value in headers if name in CREDENTIALS]
        keys = {_bare(name, value) for name, value in given}
        if len(keys) == 1:
            known = self._configured.get(sha256(next(iter(keys))).digest())
            if known is not None:
                return Caller(
                    self._digest(known.sha256.encode()), f"tenant:{known.tenant}", known.tenant, True
                )
        raw = _joined(given)
        stands_for = self._pseudonym(raw)
        others = [(name, value) for name, value in headers if name in self._further]
        # A digest between the two, so that they can be divided in one way only.
        principal = self._digest(self._digest(raw) + _joined(others)) if others else self._digest(raw)
        return Caller(principal, f"key:{stands_for}", stands_for[:_SHOWN_DIGITS], False)

    def is_known(self, caller: Caller, provider: Provider) -> bool:
        """Whether the caller may be served what the upstream did not just answer to them."""
        if caller.is_configured:
            return True
        until = self._accepted.get((provider, caller.principal))
        return until is not None and self._now() < until

    def accepted(self, caller: Caller, provider: Provider) -> None:
        """Says that the upstream answered this caller."""
        with self._lock:
            self._accepted[provider, caller.principal] = self._now() + self._settings.trust_seconds
            self._accepted.move_to_end((provider, caller.principal))
            if len(self._accepted) > _MOST_ACCEPTED:
                self._accepted.popitem(last=False)

    def rejected(self, caller: Caller, provider: Provider) -> None:
        """Says that the upstream turned this caller's key down."""
        with self._lock:
            self._accepted.pop((provider, caller.principal), None)

    def _digest(self, raw: bytes) -> bytes:
        return blake2b(raw, key=self._secret, digest_size=16).digest()


def _joined(given: Headers) -> bytes:
    return b"".join(b"%b %d:%b" % (name, len(value), value) for name, value in sorted(given))


def _bare(name: bytes, value: bytes) -> bytes:
    """The key in a header's value."""
    scheme, _, rest = value.partition(b" ")
    return rest.strip() if name == b"authorization" and scheme.lower() == b"bearer" else value
