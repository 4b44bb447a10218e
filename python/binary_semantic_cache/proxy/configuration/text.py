"""A configuration as TOML that reads back as the same, with secrets masked and each value's origin."""

import json
from collections.abc import Iterator
from typing import Any

from binary_semantic_cache.proxy.configuration.keys import KEYS, KNOWN, PRICES, TABLES, Key, value_of
from binary_semantic_cache.proxy.configuration.reading import Configuration
from binary_semantic_cache.proxy.configuration.values import MEMORY

__all__ = ["configuration_text"]


def configuration_text(configuration: Configuration) -> str:
    """TOML, one table after the other; a comment behind each value says where it came from."""
    return "\n".join(_lines(configuration)) + "\n"


def _lines(configuration: Configuration) -> Iterator[str]:
    for table in TABLES:
        yield f"[{table}]"
        for key in KEYS.values():
            if key.table == table and key.kind is not dict:
                yield _line(key, configuration)
        yield ""
    origin = configuration.origins.get(PRICES, "default")
    yield f"[prices]  # {origin}"
    for model, (input_price, output_price) in configuration.settings.cache.prices.items():
        yield f"{_string(model)} = {{ input = {input_price!r}, output = {output_price!r} }}"
    for known in configuration.settings.keys.known:
        yield f"\n[[keys.known]]  # {configuration.origins.get(KNOWN, 'default')}"
        yield f"name = {_string(known.name)}"
        yield f"sha256 = {_string(known.sha256)}"
        yield f"tenant = {_string(known.tenant)}"


def _line(key: Key, configuration: Configuration) -> str:
    value = value_of(configuration.settings, key)
    origin = configuration.origins.get(key.path, "default")
    if key.is_secret:
        if file := configuration.secret_files.get(f"{key.path}_file"):
            return f"{key.name}_file = {_string(file)}  # {origin}"
        return f'# {key.name} = "{"********" if value else ""}"  # {origin}'
    if value is None:
        return f"# {key.name} is not set  # {origin}"
    if key.path == "cache.path" and not value:
        value = MEMORY
    return f"{key.name} = {_shown(value)}  # {origin}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, str):
        return _string(value)
    if isinstance(value, tuple):
        return f"[{', '.join(_string(part) for part in value)}]"
    return repr(value)


def _string(text: str) -> str:
    # JSON writes what TOML reads, but for one control character.
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
