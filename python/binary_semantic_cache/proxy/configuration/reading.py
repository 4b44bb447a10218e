"""The proxy's configuration: a TOML file, then environment variables, then options; the later one wins.

A file holds no secret: `server.admin_token_file = "PATH"` names a file that does, and
`BSC_SERVER_ADMIN_TOKEN` is one; so is it with each secret. Everything wrong is told at once.
"""

import difflib
import os
import re
import tomllib
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from binary_semantic_cache.errors import (
    ConfigurationError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
    StoreError,
)
from binary_semantic_cache.proxy.configuration.keys import (
    KEYS,
    KNOWN,
    PRICES,
    SECRET_FILES,
    TABLES,
    Key,
    settings_from,
)
from binary_semantic_cache.proxy.configuration.rules import conflicts, warnings
from binary_semantic_cache.proxy.configuration.values import (
    from_text,
    from_toml,
    known_keys,
    prices,
    secret,
)
from binary_semantic_cache.proxy.settings import ProxySettings

__all__ = ["Configuration", "read_configuration"]

_MOST_FILE_BYTES = 4 * 2**20
_MOST_SECRET_BYTES = 16 * 2**10
_WRONG = (InvalidTypeError, InvalidValueError)
_PREFIXES = tuple(f"BSC_{table.upper()}_" for table in TABLES if "." not in table)
_ALIKE = 0.88
"""From which ratio of `difflib` on two names are one of them misspelt."""


@dataclass(frozen=True, slots=True)
class Configuration:
    """Settings, and where each came from."""

    settings: ProxySettings
    origins: Mapping[str, str]
    """By key, for what is no default: `bsc.toml`, `BSC_SERVER_PORT`, `--port`."""
    secret_files: Mapping[str, str] = field(default_factory=dict)
    """Paths of the files that secrets were read from, by `server.admin_token_file` and the like."""

    @property
    def warnings(self) -> tuple[str, ...]:
        """What is allowed, but hardly meant."""
        return warnings(self.settings)


def read_configuration(
    path: str | os.PathLike[str] | None = None,
    *,
    environment: Mapping[str, str] | None = None,
    options: Mapping[str, tuple[str, str]] | None = None,
) -> Configuration:
    """The effective configuration.

    Args:
        path: of a TOML file; `None` for none.
        environment: variables; those that are empty count as not set.
        options: `(value, how the option is called)` by key, from a command line.

    Raises:
        MissingFileError, StoreError: the file is not there or cannot be read.
        ConfigurationError: something in it, or in a variable or option, is wrong; it tells all that is.
    """
    reading = _Reading()
    if path is not None:
        reading.take_file(Path(path))
    reading.take_environment(environment or {})
    for key_path, (text, option) in (options or {}).items():
        reading.take_text(key_path, text, option)
    reading.read_secrets()
    settings = settings_from(reading.values)
    # A rule about several keys is worth telling only where each of them is right.
    problems = reading.problems or list(conflicts(settings))
    if problems:
        raise ConfigurationError(*problems)
    return Configuration(settings, reading.origins, reading.secret_files)


class _Reading:
    def __init__(self) -> None:
        self.values: dict[str, Any] = {}
        self.origins: dict[str, str] = {}
        self.problems: list[str] = []
        self.secret_files: dict[str, str] = {}

    # The file

    def take_file(self, path: Path) -> None:
        text = _text_of(path)
        try:
            content = tomllib.loads(text)
        except (tomllib.TOMLDecodeError, RecursionError) as exc:
            raise ConfigurationError(f"{path}: no TOML ({exc})") from exc
        for table, entries in content.items():
            where = f"{path}{_line(text, '', table)}"
            if table == "prices":
                self._keep(PRICES, where, lambda entries=entries: prices(entries))
            elif table not in TABLES or "." in table:
                self.problems.append(f"{where}: unknown table [{table}]{_nearest_table(table)}")
            else:
                self._take_table(table, entries, where, lambda *key: f"{path}{_line(text, *key)}")

    def _take_table(self, table: str, entries: Any, where: str, place: Callable[[str, str], str]) -> None:
        if not isinstance(entries, Mapping):
            self.problems.append(f"{where}: expected a table [{table}], got a value")
            return
        for name, value in entries.items():
            if f"{table}.{name}" in TABLES:
                self._take_table(f"{table}.{name}", value, place(table, name), place)
            else:
                self._take_entry(table, name, value, place(table, name))

    def _take_entry(self, table: str, name: str, value: Any, where: str) -> None:
        path = f"{table}.{name}"
        key = KEYS.get(path) or SECRET_FILES.get(path)
        if key is None or path == PRICES:
            self.problems.append(f"{where}: unknown key {path}{_nearest(table, name)}")
        elif key.is_secret:
            self.problems.append(
                f"{where}: {path}: a secret does not belong into this file; name a file that holds it, "
                f"{key.name}_file, or set {key.variable}"
            )
        elif path == KNOWN:
            self._keep(path, where, lambda: known_keys(value))
        else:
            self._keep(path, where, lambda: from_toml(key, value))

    # Variables and options

    def take_environment(self, environment: Mapping[str, str]) -> None:
        by_variable = {key.variable: key for key in _all_keys() if key.variable}
        for variable, text in environment.items():
            if key := by_variable.get(variable):
                if text:
                    self._take_one(key, text, variable)
            elif variable.startswith("BSC_"):
                is_ours = variable.startswith(_PREFIXES)
                # Other variables may begin so too; what is a letter away from one of these is hardly meant.
                near = difflib.get_close_matches(variable, by_variable, 1, *(() if is_ours else (_ALIKE,)))
                hint = f"; did you mean {near[0]}?" if near else ""
                if is_ours or near:
                    self.problems.append(f"{variable}: unknown variable{hint}")

    def take_text(self, path: str, text: str, option: str) -> None:
        key = KEYS.get(path) or SECRET_FILES.get(path)
        if key is None or key.kind is dict:
            table, _, name = path.rpartition(".")
            self.problems.append(f"{option}: unknown key {path}{_nearest(table, name)}")
        elif key.is_secret:
            # Every user of a machine can read the command lines of its processes.
            self.problems.append(f"{option}: a secret does not belong on a command line; set {key.variable}")
        else:
            self._take_one(key, text, option)

    def _take_one(self, key: Key, text: str, origin: str) -> None:
        self._keep(key.path, origin, lambda: secret(text) if key.is_secret else from_text(key, text))

    def _keep(self, path: str, origin: str, value: Any) -> None:
        try:
            self.values[path] = value()
            self.origins[path] = origin
        except _WRONG as exc:
            named = "prices" if path == PRICES else path
            said = f"{origin}: " if origin in (_variable(path), "") else f"{origin}: {named}: "
            self.problems.append(f"{said}{exc}")

    # Secrets

    def read_secrets(self) -> None:
        for file_path in SECRET_FILES:
            name, path = self.values.get(file_path), file_path.removesuffix("_file")
            if not name:
                continue
            origin = self.origins[file_path]
            if path in self.values:
                if origin.startswith("BSC_"):
                    self.problems.append(
                        f"expected one of {self.origins[path]} and {origin}, got both; unset one of them"
                    )
                continue
            self.secret_files[file_path] = name
            try:
                text = _text_of(Path(name), _MOST_SECRET_BYTES)
            except (StoreError, ConfigurationError) as exc:
                self.problems.append(f"{origin}: {file_path}: {exc}")
            else:
                self._keep(path, origin, lambda text=text: secret(text))


def _text_of(path: Path, most_bytes: int = _MOST_FILE_BYTES) -> str:
    try:
        with path.open("rb") as file:
            content = file.read(most_bytes + 1)
        if len(content) > most_bytes:
            raise ConfigurationError(f"{path}: expected at most {most_bytes:,} bytes, got more")
        return content.decode("utf-8-sig")
    except FileNotFoundError as exc:
        raise MissingFileError(f"{path}: no such file") from exc
    except OSError as exc:
        raise StoreError(f"{path}: could not be read ({exc.strerror or exc})") from exc
    except UnicodeDecodeError as exc:
        raise ConfigurationError(f"{path}: expected UTF-8, got other bytes") from exc


def _all_keys() -> Iterator[Key]:
    yield from KEYS.values()
    yield from SECRET_FILES.values()


def _variable(path: str) -> str:
    key = KEYS.get(path) or SECRET_FILES.get(path)
    return key.variable if key else ""


def _nearest(table: str, name: str) -> str:
    """The key that was probably meant: of the same table first, then the same name in another."""
    keys = [key for key in _all_keys() if key.path != PRICES]
    here = {key.name: key.path for key in keys if key.table == table}
    here |= {inner.rpartition(".")[2]: f"[{inner}]" for inner in TABLES if inner.startswith(f"{table}.")}
    near = difflib.get_close_matches(name, here, 1)
    if near:
        return f"; did you mean {here[near[0]]}?"
    if (table, name) == ("cache", "prices"):
        return "; prices are a table of their own, [prices]"
    elsewhere = [key.path for key in keys if key.name == name] or difflib.get_close_matches(
        f"{table}.{name}", [key.path for key in keys], 1
    )
    return f"; did you mean {elsewhere[0]}?" if elsewhere else ""


def _nearest_table(table: str) -> str:
    near = difflib.get_close_matches(table, [*TABLES, "prices"], 1)
    if near:
        return f"; did you mean [{near[0]}]?"
    key = next((key for key in _all_keys() if key.name == table), None)
    return f"; {table} belongs into [{key.table}]" if key else ""


def _line(text: str, table: str, name: str) -> str:
    """`:7`, the line of a key in a file; empty where the file writes it in a way not looked for here."""
    here = ""
    for number, line in enumerate(text.splitlines(), 1):
        if head := re.match(r"\s*\[\[?\s*([\w.\"-]+)\s*\]", line):
            here = head[1]
            if here in (name if not table else f"{table}.{name}", f"{table}.{name}"):
                return f":{number}"
        elif assigned := re.match(r"\s*([\w.\"-]+)\s*=", line):
            written = assigned[1].replace('"', "")
            if f"{here}.{written}".lstrip(".") == f"{table}.{name}".lstrip("."):
                return f":{number}"
    return ""
