"""docs/configuration.md says of each key of the proxy what the code says, and its examples are right."""

import json
import re
from dataclasses import fields
from pathlib import Path

import pytest

from binary_semantic_cache.proxy.configuration.keys import KEYS, KNOWN, PRICES, SECRET_FILES
from binary_semantic_cache.proxy.configuration.reading import read_configuration
from binary_semantic_cache.proxy.settings import ProxySettings

ROOT = Path(__file__).parents[1]


def documented():
    """The rows of the tables in docs/configuration.md, by key."""
    text = (ROOT / "docs" / "configuration.md").read_text()
    rows = re.findall(r"^\| `([\w.]+)` \| (.*?) \| (.*?) \| (.*?) \| (.*?) \|$", text, re.MULTILINE)
    return {key: (expected, default, variable, meaning) for key, expected, default, variable, meaning in rows}


def row_of(key):
    default = key.default
    if key.is_optional or (key.kind is str and not default):
        shown = "none"
    elif key.kind is tuple:
        shown = f"`{json.dumps(list(default))}`"
    else:
        shown = f"`{json.dumps(default)}`"
    kind = key.expected + (", or none" if key.is_optional else "")
    return kind, shown, f"`{key.variable}`"


@pytest.mark.parametrize("path", [path for path in [*KEYS, *SECRET_FILES] if path not in (KNOWN, PRICES)])
def test_every_key_is_documented_with_type_default_and_variable(path):
    key = KEYS.get(path) or SECRET_FILES[path]
    assert path in documented(), f"| `{path}` | {' | '.join(row_of(key))} | ... |"
    expected, default, variable, meaning = documented()[path]
    assert (expected, default, variable) == row_of(key)
    assert len(meaning) > 20


def test_nothing_is_documented_that_is_not_there():
    assert set(documented()) <= set(KEYS) | set(SECRET_FILES)


def test_the_files_in_documentation_and_examples_are_right(tmp_path):
    path = tmp_path / "bsc.toml"
    text = (ROOT / "docs" / "configuration.md").read_text()
    examples = re.findall(r"```toml\n(.*?)```", text, re.DOTALL)
    assert examples
    for example in [*examples, (ROOT / "examples" / "bsc.toml").read_text()]:
        path.write_text(example)
        read_configuration(path)


def test_every_table_of_the_settings_is_a_dataclass_of_defaults():
    assert all(field.default_factory() is not None for field in fields(ProxySettings))
