"""Which headers travel: to the upstream by an allow-list, back all but those of one connection."""

from collections.abc import Iterable

__all__ = ["CREDENTIALS", "RETRYING", "SHAPING", "Headers", "requested", "returned", "value_of"]

Headers = list[tuple[bytes, bytes]]
"""As ASGI has them: names in lower case, in the order they came, repeats kept."""

CREDENTIALS = (b"authorization", b"x-api-key", b"api-key")
"""Where a caller's key stands: OpenAI, Anthropic, Azure."""

SHAPING = (
    b"anthropic-beta",
    b"anthropic-version",
    b"openai-beta",
    b"openai-organization",
    b"openai-project",
)
"""Headers that change what is answered, or who pays for it."""

RETRYING = (b"retry-after", b"retry-after-ms", b"x-should-retry")
"""Headers of a refusal by which clients know whether and when to ask again."""

# Of one connection, not of the message. Source: RFC 9110, section 7.6.1.
_HOP_BY_HOP = frozenset(
    (
        b"connection",
        b"keep-alive",
        b"proxy-authenticate",
        b"proxy-authorization",
        b"proxy-connection",
        b"te",
        b"trailer",
        b"transfer-encoding",
        b"upgrade",
    )
)
_SERVERS_OWN = frozenset((b"date", b"server"))
"""What the proxy's own server says of itself."""
_FORWARDED = frozenset(
    (
        *CREDENTIALS,
        *SHAPING,
        b"accept",
        b"accept-language",
        b"content-encoding",
        b"content-type",
        b"idempotency-key",
        b"traceparent",
        b"tracestate",
        b"user-agent",
        b"x-client-request-id",
    )
)
_FORWARDED_PREFIXES = (b"x-stainless-",)


def value_of(headers: Iterable[tuple[bytes, bytes]], name: bytes) -> bytes | None:
    """The value of a header; repeats are joined by commas, as RFC 9110 has it."""
    found = [value for key, value in headers if key == name]
    return b", ".join(found) if found else None


def requested(
    headers: Iterable[tuple[bytes, bytes]], further: frozenset[bytes], *, encodings: bool
) -> Headers:
    """The headers of a request that go to the upstream.

    Args:
        headers: what came.
        further: names that the configuration adds to the list.
        encodings: whether the reply may be compressed as the caller accepts; else it is asked for plain, so
            that it can be read on its way.
    """
    kept = [
        (name, value)
        for name, value in headers
        if name in _FORWARDED
        or name.startswith(_FORWARDED_PREFIXES)
        or (name in further and name not in _HOP_BY_HOP)
        or (encodings and name == b"accept-encoding")
    ]
    if not encodings:
        kept.append((b"accept-encoding", b"identity"))
    return kept


def returned(headers: Iterable[tuple[bytes, bytes]]) -> Headers:
    """The headers of the upstream's reply that go to the caller who asked it."""
    listed = [(name.lower(), value) for name, value in headers]
    connection = value_of(listed, b"connection") or b""
    named = {token.strip().lower() for token in connection.split(b",")}
    return [
        (name, value)
        for name, value in listed
        if name not in _HOP_BY_HOP
        and name not in _SERVERS_OWN
        and name not in named
        and not name.startswith(b"x-bsc-")
    ]
