"""Fingerprints: keyed digests that say who may share an answer and what was asked, without telling either.

The key is the store's own secret. Without it nobody can tell from a stored digest which question or tenant it
stands for by trying candidates, and nobody can make two questions collide.

Every digest is a keyed BLAKE2b of its own personality, over parts of fixed length followed by at most one of
variable length, so that no two different inputs are the same bytes. Source: RFC 7693 and the BLAKE2 paper,
section 2.8, for keys and personalities.
"""

import hmac
from hashlib import blake2b
from typing import NamedTuple
from unicodedata import normalize

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.text.canonical import JSON, encode, kind_of, utf8
from binary_semantic_cache.text.request import Request

__all__ = ["Fingerprint", "Fingerprinter"]

_DIGEST_BYTES = 16
_MAC_BYTES = 8
_ID_BYTES = 8
_LEAST_KEY_BYTES = 16
_MOST_KEY_BYTES = blake2b.MAX_KEY_SIZE

_HIT_PREFIX = "hit_"
# Tenants seen lately. Emptied when full: that costs a busy server one digest a tenant, and needs no links.
_MOST_SCOPES = 1024
_LONGEST_SCOPE = 256
_PROMPT_CONTEXT = Request.from_prompt("?").context


class Fingerprint(NamedTuple):
    """What a cache needs to know of a request."""

    scope: bytes
    """16 bytes: the request's context, the caller's scope, and whether meaning may match."""
    key: bytes
    """16 bytes: `scope` and the text, normalised to NFC. Equal for exact repeats."""
    owner: bytes
    """16 bytes: the caller's scope alone, for deleting all that is theirs."""
    text: str
    """What is matched by meaning: the text without outer whitespace."""


class Fingerprinter:
    """Makes fingerprints with one secret key.

    May be used by many threads.

    Args:
        key: 16 to 64 random bytes, the same for all the life of a store.

    Raises:
        InvalidTypeError: `key` is not bytes.
        InvalidValueError: `key` is too short or too long.
    """

    def __init__(self, key: bytes) -> None:
        if not isinstance(key, bytes):
            raise InvalidTypeError(f"expected a key of bytes, got {kind_of(key)}")
        if not _LEAST_KEY_BYTES <= len(key) <= _MOST_KEY_BYTES:
            raise InvalidValueError(
                f"expected a key of {_LEAST_KEY_BYTES} to {_MOST_KEY_BYTES} bytes, got {len(key)}"
            )
        # Copying a hasher that has read its key is three times as fast as keying a new one.
        self._owner = blake2b(key=key, digest_size=_DIGEST_BYTES, person=b"bsc owner")
        self._scope = blake2b(key=key, digest_size=_DIGEST_BYTES, person=b"bsc scope")
        self._key = blake2b(key=key, digest_size=_DIGEST_BYTES, person=b"bsc key")
        self._pair = blake2b(key=key, digest_size=_DIGEST_BYTES, person=b"bsc pair")
        self._hit = blake2b(key=key, digest_size=_MAC_BYTES, person=b"bsc hit")
        self._name = blake2b(key=key, digest_size=_DIGEST_BYTES, person=b"bsc name")
        self._prompts: dict[str | None, tuple[bytes, bytes]] = {}

    def of(self, request: Request | str, scope: JSON = None) -> Fingerprint:
        """The fingerprint of a request; a string is `Request.from_prompt` of it.

        Args:
            request: what is asked.
            scope: who may share the answer: a tenant, a user, a mapping of several. Any JSON-like value.

        Raises:
            InvalidTypeError: `request` is neither, or `scope` is not JSON-like.
            InvalidValueError: the prompt or the scope holds what JSON cannot say.
        """
        if type(request) is str:
            text = request.strip()
            if not text:
                return self.of(Request.from_prompt(request), scope)
            # Only strings are looked up: as keys of a dict, 1, 1.0 and True are one.
            known = self._prompts.get(scope) if type(scope) is str or scope is None else None
            owner, digest = known or self._prompt_scope(scope)
        elif isinstance(request, str):  # of a class of its own, NumPy's for one
            return self.of(str(request), scope)
        elif isinstance(request, Request):
            text = request.text
            owner = _digest(self._owner, encode(scope, "scope"))
            meaning = b"m" if request.exact_only is None else b"x"
            digest = _digest(self._scope, owner + meaning + request.context)
        else:
            raise InvalidTypeError(f"expected a string or a Request, got {kind_of(request)}")
        raw = utf8(text if text.isascii() else normalize("NFC", text))
        if raw is None:
            raise InvalidValueError("text: a string holds a lone surrogate")
        return Fingerprint(digest, _digest(self._key, digest + raw), owner, text)

    def fits(self, key: bytes, scope: bytes, text: str) -> bool:
        """Whether `key` is the key of a fingerprint with this scope and this text."""
        raw = utf8(text if text.isascii() else normalize("NFC", text))
        return raw is not None and _digest(self._key, scope + raw) == key

    def pair(self, key_a: bytes, key_b: bytes) -> bytes:
        """16 bytes that stand for two keys in either order: a pair that must never match.

        Raises:
            InvalidValueError: one is not the key of a fingerprint.
        """
        for key in (key_a, key_b):
            _check_key(key)
        return _digest(self._pair, min(key_a, key_b) + max(key_a, key_b))

    def pseudonym(self, name: bytes) -> str:
        """32 hex digits that stand for `name`, and tell it to nobody who has not the key."""
        return _digest(self._name, name).hex()

    def hit_id(self, entry_id: int, query_key: bytes) -> str:
        """Names a hit, so that it can be reported: which entry answered which question.

        Args:
            entry_id: the entry's id, 0 or more, below 2**63.
            query_key: `key` of the question's fingerprint.

        Raises:
            InvalidValueError: one of them cannot be named.
        """
        _check_key(query_key)
        if isinstance(entry_id, bool) or not isinstance(entry_id, int) or not 0 <= entry_id < 2**63:
            raise InvalidValueError("expected an entry's id, an int of 0 or more and below 2**63")
        named = entry_id.to_bytes(_ID_BYTES) + query_key
        return _HIT_PREFIX + (named + _digest(self._hit, named)).hex()

    def parse_hit_id(self, hit_id: str) -> tuple[int, bytes]:
        """The entry's id and the question's key that `hit_id` named.

        Raises:
            InvalidValueError: it was mistyped, forged, or made with another key.
        """
        raw = _hex_bytes(hit_id.removeprefix(_HIT_PREFIX)) if isinstance(hit_id, str) else b""
        named, mac = raw[:-_MAC_BYTES], raw[-_MAC_BYTES:]
        genuine = hmac.compare_digest(mac, _digest(self._hit, named))
        # One spelling a hit: what differs in case or prefix was typed by hand.
        if not genuine or len(named) != _ID_BYTES + _DIGEST_BYTES or hit_id != _HIT_PREFIX + raw.hex():
            raise InvalidValueError("expected the id of a hit as this cache gave it out")
        return int.from_bytes(named[:_ID_BYTES]), named[_ID_BYTES:]

    def _prompt_scope(self, scope: JSON) -> tuple[bytes, bytes]:
        """Digests of the caller's scope and of a bare prompt's scope under it."""
        owner = _digest(self._owner, encode(scope, "scope"))
        made = owner, _digest(self._scope, owner + b"m" + _PROMPT_CONTEXT)
        if scope is None or (type(scope) is str and len(scope) <= _LONGEST_SCOPE):
            if len(self._prompts) >= _MOST_SCOPES:
                self._prompts.clear()
            self._prompts[scope] = made
        return made


def _digest(keyed: blake2b, data: bytes) -> bytes:
    hasher = keyed.copy()
    hasher.update(data)
    return hasher.digest()


def _check_key(key: object) -> None:
    if not isinstance(key, bytes) or len(key) != _DIGEST_BYTES:
        raise InvalidValueError(f"expected the key of a fingerprint, {_DIGEST_BYTES} bytes")


def _hex_bytes(text: str) -> bytes:
    try:
        return bytes.fromhex(text)
    except ValueError:
        return b""
