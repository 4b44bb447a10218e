"""Settings on their way to a worker: over a socket, as JSON with its length in front."""

import json
import socket
from dataclasses import asdict
from typing import Any

from binary_semantic_cache.proxy.configuration.keys import KEYS, KNOWN, PRICES, settings_from
from binary_semantic_cache.proxy.settings import KnownKey, ProxySettings

__all__ = ["packed_settings", "read_settings"]

_LENGTH_BYTES = 8


def packed_settings(settings: ProxySettings) -> bytes:
    """What `read_settings` reads."""
    content = json.dumps(asdict(settings)).encode()
    return len(content).to_bytes(_LENGTH_BYTES, "big") + content


def read_settings(end: socket.socket) -> ProxySettings:
    """The settings that came over `end`, which blocks.

    Raises:
        EOFError: the other side is gone.
    """
    length = int.from_bytes(_read(end, _LENGTH_BYTES), "big")
    tables = json.loads(_read(end, length))
    return settings_from({path: _value(path, _at(tables, path)) for path in KEYS})


def _read(end: socket.socket, length: int) -> bytes:
    content = bytearray()
    while len(content) < length:
        part = end.recv(min(length - len(content), 65_536))
        if not part:
            raise EOFError(f"expected {length} bytes of settings, got {len(content)}")
        content += part
    return bytes(content)


def _at(tables: Any, path: str) -> Any:
    for name in path.split("."):
        tables = tables[name]
    return tables


def _value(path: str, value: Any) -> Any:
    if path == PRICES:
        return {model: tuple(price) for model, price in value.items()}
    if path == KNOWN:
        return tuple(KnownKey(**key) for key in value)
    return tuple(value) if isinstance(value, list) else value
