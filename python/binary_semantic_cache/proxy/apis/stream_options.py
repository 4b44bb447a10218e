"""What a request says about how its answer should travel."""

from collections.abc import Mapping
from typing import Any

from binary_semantic_cache.errors import InvalidTypeError
from binary_semantic_cache.text.canonical import kind_of

__all__ = ["are_streamable", "check_travel", "wants_stream", "wants_usage"]

# `include_obfuscation` asks for padding, which says nothing and is left out of a played stream.
_KNOWN_OPTIONS = frozenset({"include_usage", "include_obfuscation"})


def check_travel(body: Mapping[str, Any]) -> None:
    """Refuses what another reader of the body might take for a wish to stream, or not to.

    Raises:
        InvalidTypeError: `stream` is neither a bool nor left out, or `stream_options` no mapping.
    """
    stream, options = body.get("stream"), body.get("stream_options")
    if stream is not None and not isinstance(stream, bool):
        raise InvalidTypeError(f"stream: expected true or false, got {kind_of(stream)}")
    if options is not None and not isinstance(options, Mapping):
        raise InvalidTypeError(f"stream_options: expected a mapping, got {kind_of(options)}")


def wants_stream(body: Mapping[str, Any]) -> bool:
    """Whether the reply is to be a stream."""
    return body.get("stream") is True


def wants_usage(body: Mapping[str, Any]) -> bool:
    """Whether a stream is to say how many tokens it cost."""
    options = body.get("stream_options")
    return isinstance(options, Mapping) and options.get("include_usage") is True


def are_streamable(body: Mapping[str, Any]) -> bool:
    """Whether the options of the stream are all known; others may promise what a played stream lacks."""
    options = body.get("stream_options")
    return not isinstance(options, Mapping) or all(
        key in _KNOWN_OPTIONS or not value for key, value in options.items()
    )
