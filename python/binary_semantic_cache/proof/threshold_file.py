"""The threshold in a configuration's TOML: one value is changed, every other character stays.

A parser that keeps comments would be one more dependency for one number. Instead the line is found by simple
means, and the result is parsed and compared: where the simple means would do anything but set the one value,
nothing is written.
"""

import os
import re
import tomllib
from pathlib import Path
from typing import Any

from binary_semantic_cache.errors import ConfigurationError, StoreError
from binary_semantic_cache.vector.archive.atomic import replacing

__all__ = ["with_threshold", "write_threshold"]

_TABLE = re.compile(r"^[ \t]*\[[ \t]*(?:cache|\"cache\"|'cache')[ \t]*\][ \t]*(?:#.*)?$")
_ANY_TABLE = re.compile(r"^[ \t]*\[")
_KEY = re.compile(r"^([ \t]*threshold[ \t]*=[ \t]*)([^ \t#]+)(.*)$")


def write_threshold(path: Path, threshold: float) -> None:
    """Sets `threshold` of the table `cache`; makes the file if there is none.

    The file is replaced whole and keeps its permissions.

    Raises:
        ConfigurationError: the file is no TOML, or written in a way that one line cannot change.
        StoreError: it could not be read or written.
    """
    path = path.resolve()
    try:
        # As bytes: line ends stay as they are.
        old = path.read_bytes().decode("utf-8") if path.exists() else ""
        mode = path.stat().st_mode & 0o7777 if path.exists() else None
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path}: expected TOML in UTF-8: {exc}") from exc
    except OSError as exc:
        raise StoreError(f"{path}: {exc.strerror or exc}") from exc
    new = with_threshold(old, threshold, str(path))
    with replacing(path) as file:
        if mode is not None and hasattr(os, "fchmod"):
            os.fchmod(file.fileno(), mode)
        file.write(new.encode())


def with_threshold(text: str, threshold: float, name: str = "configuration") -> str:
    """The text with `threshold` set in its table `cache`.

    Args:
        text: TOML.
        threshold: the value.
        name: what to call the text in an error.

    Raises:
        ConfigurationError: as `write_threshold`.
    """
    wanted = _parsed(text, name)
    cache = wanted.setdefault("cache", {})
    if not isinstance(cache, dict):
        raise ConfigurationError(f"{name}: cache: expected a table, got {type(cache).__name__}")
    cache["threshold"] = threshold
    new = _edited(text, repr(threshold))
    try:
        same = tomllib.loads(new) == wanted
    except tomllib.TOMLDecodeError:
        same = False
    if not same:
        raise ConfigurationError(
            f"{name}: the threshold stands where one line cannot set it; "
            f"set threshold = {threshold!r} of [cache] by hand"
        )
    return new


def _edited(text: str, value: str) -> str:
    lines = text.splitlines(keepends=True)
    end = "\r\n" if lines and lines[0].endswith("\r\n") else "\n"
    head = next((i for i, line in enumerate(lines) if _TABLE.match(line.rstrip("\r\n"))), None)
    if head is None:
        if lines and not lines[-1].endswith("\n"):
            lines[-1] += end
        gap = [end] if lines and lines[-1].strip() else []
        return "".join([*lines, *gap, f"[cache]{end}", f"threshold = {value}{end}"])
    for i in range(head + 1, len(lines)):
        if _ANY_TABLE.match(lines[i]):
            break
        if found := _KEY.match(lines[i].rstrip("\r\n")):
            line_end = lines[i][len(lines[i].rstrip("\r\n")) :]
            lines[i] = found[1] + value + found[3] + line_end
            return "".join(lines)
    if not lines[head].endswith("\n"):
        lines[head] += end
    lines.insert(head + 1, f"threshold = {value}{end}")
    return "".join(lines)


def _parsed(text: str, name: str) -> dict[str, Any]:
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as exc:
        raise ConfigurationError(f"{name}: expected TOML: {exc}") from exc
