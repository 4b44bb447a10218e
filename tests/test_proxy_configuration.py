"""The proxy's configuration as it is read from files, variables and options, and as it is printed."""

import tomllib
from dataclasses import replace

import pytest

from binary_semantic_cache.proxy.configuration.keys import KEYS, KNOWN, PRICES, SECRET_FILES, value_of
from binary_semantic_cache.proxy.configuration.reading import read_configuration
from binary_semantic_cache.proxy.configuration.text import configuration_text
from binary_semantic_cache.proxy.settings import KnownKey, ProxySettings
from proxy_configurations import DIGEST, EVERYTHING, KNOWN_KEY, OTHER_DIGEST, TOKEN, read


def test_nothing_configured_gives_the_defaults():
    assert read_configuration().settings == ProxySettings()
    assert read_configuration().origins == {}


def test_every_key_of_a_file_arrives(tmp_path):
    settings = read(tmp_path, EVERYTHING).settings
    assert settings.server.workers == 3
    assert settings.server.drain_seconds == 1.5
    assert settings.upstream.openai == "http://127.0.0.1:11434/v1"
    assert settings.upstream.forward_headers == ("x-team", "x-region")
    assert settings.cache.path == "a b\x7f.db"
    assert settings.cache.prices == {'gpt-5.2 "x"': (1.25, 10.0)}
    assert settings.keys.known == (
        KnownKey(name="ann", sha256=DIGEST, tenant="ann"),
        KnownKey(name="bob", sha256=OTHER_DIGEST, tenant="ann"),
    )
    assert settings.cache.budget.max_wrong == 0.01
    assert settings.cache.learned.promise == "requests"
    same = [key for key in KEYS.values() if value_of(settings, key) == value_of(ProxySettings(), key)]
    written = EVERYTHING.replace("\n", " ")
    assert [key.path for key in same if f" {key.name} =" in written] == []


def test_variables_win_over_the_file_and_options_over_both(tmp_path):
    text = "[server]\nport = 1001\nadmin_port = 1002\nworkers = 2"
    environment = {"BSC_SERVER_PORT": "1003", "BSC_SERVER_ADMIN_PORT": "1004", "PATH": "x"}
    read_in = read(tmp_path, text, environment, server__port="1005")
    server = read_in.settings.server
    assert (server.port, server.admin_port, server.workers) == (1005, 1004, 2)
    assert read_in.origins["server.port"] == "--server__port"
    assert read_in.origins["server.admin_port"] == "BSC_SERVER_ADMIN_PORT"
    assert read_in.origins["server.workers"].endswith("bsc.toml:4")


@pytest.mark.parametrize(
    ("variable", "text", "value"),
    [
        ("BSC_CACHE_SEMANTIC", "false", False),
        ("BSC_CACHE_SEMANTIC", "TRUE", True),
        ("BSC_CACHE_THRESHOLD", "0.85", 0.85),
        ("BSC_CACHE_THRESHOLD", "none", None),
        ("BSC_CACHE_TTL_SECONDS", "60", 60.0),
        ("BSC_CACHE_EXACT_ONLY", "action, personal", ("action", "personal")),
        ("BSC_CACHE_PATH", ":memory:", ""),
        ("BSC_CACHE_BUDGET_MAX_WRONG", "0.01", 0.01),
        ("BSC_CACHE_BUDGET_MAX_WRONG", "none", None),
        ("BSC_STEERING_MODES", "exact", ("exact",)),
        ("BSC_CACHE_EXACT_ONLY", "none", ()),
        ("BSC_STEERING_MODES", "none", ()),
        ("BSC_UPSTREAM_OPENAI", "http://localhost:1/v1", "http://localhost:1/v1"),
    ],
)
def test_a_variable_says_what_a_file_would(variable, text, value):
    read_in = read_configuration(environment={variable: text})
    key = next(key for key in KEYS.values() if key.variable == variable)
    found = value_of(read_in.settings, key)
    assert found == value
    assert type(found) is type(value)


def test_an_empty_variable_counts_as_not_set():
    assert read_configuration(environment={"BSC_SERVER_PORT": ""}).settings == ProxySettings()


def test_each_key_has_a_variable_of_its_own_that_is_read():
    variables = [key.variable for key in [*KEYS.values(), *SECRET_FILES.values()] if key.variable]
    assert len(set(variables)) == len(variables)
    for path, key in KEYS.items():
        if path in (PRICES, KNOWN) or key.default is None or key.is_secret:
            continue
        default = ",".join(key.default) if key.kind is tuple else str(key.default)
        text = (
            default.lower() if key.kind is bool else default or (":memory:" if path == "cache.path" else "")
        )
        origins = read_configuration(environment={key.variable: text}).origins
        assert origins == ({path: key.variable} if text else {})


@pytest.mark.parametrize("text", ["", EVERYTHING, f'[server]\nhost = "::1"\n{KNOWN_KEY}'])
def test_the_printed_configuration_reads_back_as_the_same(tmp_path, text):
    first = read(tmp_path, text)
    printed = configuration_text(first)
    assert read(tmp_path, printed).settings == first.settings
    assert tomllib.loads(printed)


def test_the_printed_configuration_says_where_each_value_came_from(tmp_path):
    (tmp_path / "token").write_text(TOKEN)
    text = f'[server]\nworkers = 2\nadmin_token_file = "{tmp_path}/token"\n'
    text += f'[keys]\naccept = "configured"\n{KNOWN_KEY}'
    environment = {"BSC_UPSTREAM_OPENAI_API_KEY": "sk-canary", "BSC_LOG_LEVEL": "error"}
    read_in = read(tmp_path, text, environment, server__port="1")
    printed = configuration_text(read_in)
    lines = printed.splitlines()
    assert "port = 1  # --server__port" in lines
    assert f"workers = 2  # {tmp_path}/bsc.toml:2" in lines
    assert 'level = "error"  # BSC_LOG_LEVEL' in lines
    assert 'host = "127.0.0.1"  # default' in lines
    assert '# openai_api_key = "********"  # BSC_UPSTREAM_OPENAI_API_KEY' in lines
    assert f'admin_token_file = "{tmp_path}/token"  # {tmp_path}/bsc.toml:3' in lines
    assert TOKEN not in printed
    assert "canary" not in printed
    again = read(tmp_path, printed).settings
    assert replace(again, upstream=read_in.settings.upstream) == read_in.settings
