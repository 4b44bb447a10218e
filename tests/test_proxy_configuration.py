"""The proxy's configuration: files, variables, options; what is refused and in which words."""

import hashlib
import json
import re
import tomllib
from dataclasses import replace

import pytest

from binary_semantic_cache.errors import ConfigurationError, MissingFileError
from binary_semantic_cache.proxy.configuration.keys import (
    BOUNDS,
    KEYS,
    KNOWN,
    PRICES,
    SECRET_FILES,
    value_of,
)
from binary_semantic_cache.proxy.configuration.reading import read_configuration
from binary_semantic_cache.proxy.configuration.text import configuration_text
from binary_semantic_cache.proxy.configuration.values import is_loopback
from binary_semantic_cache.proxy.settings import KnownKey, ProxySettings

DIGEST = hashlib.sha256(b"a key").hexdigest()
OTHER_DIGEST = hashlib.sha256(b"another key").hexdigest()
KNOWN_KEY = f'[[keys.known]]\nname = "ann"\nsha256 = "{DIGEST}"\n'
TOKEN = "t0ken-of-the-admin-canary"

EVERYTHING = f"""
[server]
host = "localhost"
port = 9000
workers = 3
shutdown_seconds = 5
drain_seconds = 1.5
admin_host = "::1"
admin_port = 9001

[upstream]
openai = "http://127.0.0.1:11434/v1/"
anthropic = "https://llm.example.com/anthropic"
allow_http = true
connect_seconds = 1
read_seconds = 20.5
max_connections = 10
forward_headers = ["X-Team", "x-team", "x-region"]

[cache]
path = "a b\\u007f.db"
mode = "shadow"
semantic = false
embedder = "local:float32"
threshold = 0.9
judge = true
max_entries = 10
max_bytes = 1000000
eviction = "cost"
ttl_seconds = 3600
sliding_ttl = true
timeout_seconds = 0.5
max_response_bytes = 1000
tool_calls = true
exact_only = ["action"]
finish_abandoned = true

[cache.budget]
max_wrong = 0.01
classes = "tenant"
sample = 0.5
judge = "my.judges:agrees"
per_minute = 10
confidence = 0.99

[cache.learned]
budget = 0.02
promise = "requests"
judge = "my.judges:Judge.agrees"
per_minute = 20
confidence = 0.9
audit = 0

[cache.verifier]
folder = "models/nli"
file_name = "onnx/model_quint8_avx2.onnx"
label = "entailment"
least_probability = 0.7
both_ways = false
doubt_from = 0.3
doubt_to = 0.9

[prices]
"gpt-5.2 \\"x\\"" = {{ input = 1.25, output = 10 }}

[steering]
enabled = false
modes = ["default", "bypass"]
min_threshold = 0.8
max_ttl_seconds = 60
response_headers = false

[keys]
accept = "configured"
trust_seconds = 0

{KNOWN_KEY}
[[keys.known]]
name = "bob"
sha256 = "{OTHER_DIGEST.upper()}"
tenant = "ann"

[limits]
max_body_bytes = 1
max_prompt_chars = 2
max_concurrent = 3

[log]
format = "json"
level = "debug"

[tracing]
enabled = true
endpoint = "http://127.0.0.1:4318"
service_name = "proxy"
"""


def read(tmp_path, text="", environment=None, **options):
    """The configuration of a file with `text`; options as `server__port="1"`."""
    path = tmp_path / "bsc.toml"
    path.write_text(text)
    given = {key.replace("__", "."): (value, f"--{key}") for key, value in options.items()}
    return read_configuration(path, environment=environment or {}, options=given)


def problems(tmp_path, text="", environment=None, **options):
    with pytest.raises(ConfigurationError) as caught:
        read(tmp_path, text, environment, **options)
    return [problem.replace(f"{tmp_path}/", "") for problem in caught.value.problems]


# What is read


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


# Secrets


def test_secrets_come_from_variables_and_from_files_that_keys_and_variables_name(tmp_path):
    (tmp_path / "openai").write_text("sk-one\n")
    (tmp_path / "anthropic").write_text("sk-two")
    text = (
        f'[upstream]\nopenai_api_key_file = "{tmp_path}/openai"\n[keys]\naccept = "configured"\n{KNOWN_KEY}'
    )
    environment = {
        "BSC_SERVER_ADMIN_TOKEN": TOKEN,
        "BSC_UPSTREAM_ANTHROPIC_API_KEY_FILE": f"{tmp_path}/anthropic",
    }
    settings = read(tmp_path, text, environment).settings
    assert settings.server.admin_token == TOKEN
    assert settings.upstream.openai_api_key == "sk-one"
    assert settings.upstream.anthropic_api_key == "sk-two"


def test_a_secrets_variable_wins_over_a_file_that_the_configuration_names(tmp_path):
    (tmp_path / "token").write_text("x" * 20)
    text = f'[server]\nadmin_token_file = "{tmp_path}/token"'
    assert read(tmp_path, text).settings.server.admin_token == "x" * 20
    assert read(tmp_path, text, {"BSC_SERVER_ADMIN_TOKEN": TOKEN}).settings.server.admin_token == TOKEN


def test_a_secret_given_by_two_variables_is_refused(tmp_path):
    both = {"BSC_SERVER_ADMIN_TOKEN": TOKEN, "BSC_SERVER_ADMIN_TOKEN_FILE": "x"}
    assert problems(tmp_path, "", both) == [
        "expected one of BSC_SERVER_ADMIN_TOKEN and BSC_SERVER_ADMIN_TOKEN_FILE, got both; unset one of them"
    ]


def test_a_secret_in_a_file_or_on_a_command_line_is_refused_and_not_shown(tmp_path):
    found = problems(tmp_path, '[upstream]\nopenai_api_key = "sk-canary"', server__admin_token="sk-canary")
    assert len(found) == 2
    assert "bsc.toml:2: upstream.openai_api_key: a secret does not belong into this file" in found[0]
    assert "set BSC_SERVER_ADMIN_TOKEN" in found[1]
    assert "canary" not in "".join(found)


@pytest.mark.parametrize("text", [" ", "two words-canary", "schl\u00fcssel-canary", "x" * 5000])
def test_a_secret_that_is_not_one_word_is_refused_and_not_shown(tmp_path, text):
    (found,) = problems(tmp_path, "", {"BSC_SERVER_ADMIN_TOKEN": text})
    assert found.startswith("BSC_SERVER_ADMIN_TOKEN: expected ")
    assert "canary" not in found


def test_a_secrets_file_that_is_missing_is_told_with_the_key(tmp_path):
    (found,) = problems(tmp_path, '[server]\nadmin_token_file = "nowhere"')
    assert found == "bsc.toml:2: server.admin_token_file: nowhere: no such file"


def test_no_secret_is_in_the_repr_of_the_settings():
    environment = {"BSC_SERVER_ADMIN_TOKEN": TOKEN}
    assert TOKEN not in repr(read_configuration(environment=environment))


# What is refused


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("[server]\nprot = 1", "bsc.toml:2: unknown key server.prot; did you mean server.port?"),
        ("[cache]\nport = 1", "bsc.toml:2: unknown key cache.port; did you mean server.port?"),
        ("server.prot = 1", "bsc.toml:1: unknown key server.prot; did you mean server.port?"),
        ("[server]\nzzzzzz = 1", "bsc.toml:2: unknown key server.zzzzzz"),
        ("[sever]\nport = 1", "bsc.toml:1: unknown table [sever]; did you mean [server]?"),
        ("port = 1", "bsc.toml:1: unknown table [port]; port belongs into [server]"),
        ("[cache.prices]", "bsc.toml:1: unknown key cache.prices; prices are a table of their own, [prices]"),
        (
            "[cache.budgt]\nmax_wrong = 0.1",
            "bsc.toml:1: unknown key cache.budgt; did you mean [cache.budget]?",
        ),
        (
            "[cache.budget]\nmax_wrng = 0.1",
            "bsc.toml:2: unknown key cache.budget.max_wrng; did you mean cache.budget.max_wrong?",
        ),
        (
            "[cache]\npromise = 'hits'",
            "bsc.toml:2: unknown key cache.promise; did you mean cache.learned.promise?",
        ),
        ("[cache]\nbudget = 0.1", "bsc.toml:2: expected a table [cache.budget], got a value"),
        (
            "['cache.budget']\nsample = 1",
            "bsc.toml: unknown table [cache.budget]; did you mean [cache.budget]?",
        ),
        (
            "[cache]\nbudget.max_wrong = 2",
            "bsc.toml:2: cache.budget.max_wrong: expected above 0, to 0.99, got 2.0",
        ),
        ("[learned]\nbudget = 0.1", "bsc.toml:1: unknown table [learned]; did you mean [cache.learned]?"),
        (
            "[cache.budget]\njudge = 'best'",
            "bsc.toml:2: cache.budget.judge: expected same_answer, or module:function, got 'best'",
        ),
        ("server = 1", "bsc.toml:1: expected a table [server], got a value"),
        ('[server]\nport = "1"', "bsc.toml:2: server.port: expected whole number, 0 to 65,535, got '1'"),
        ("[server]\nport = true", "bsc.toml:2: server.port: expected whole number, 0 to 65,535, got True"),
        ("[server]\nport = 1.0", "bsc.toml:2: server.port: expected whole number, 0 to 65,535, got 1.0"),
        ("[server]\nport = 65536", "bsc.toml:2: server.port: expected 0 to 65,535, got 65536"),
        ("[cache]\nthreshold = nan", "bsc.toml:2: cache.threshold: expected -1 to 1, got nan"),
        (
            "[cache]\nttl_seconds = 0",
            "bsc.toml:2: cache.ttl_seconds: expected above 0, to 1,000,000,000, got 0.0",
        ),
        ("[cache]\nmode = 'of'", "bsc.toml:2: cache.mode: expected on, shadow, off, got 'of'"),
        ("[cache]\neviction = 'x'", "bsc.toml:2: cache.eviction: expected lru, lfu, cost, got 'x'"),
        (
            "[cache]\npath = ''",
            "bsc.toml:2: cache.path: expected the path of a file, or \":memory:\", got ''",
        ),
        (
            "[cache]\nexact_only = 'action'",
            "bsc.toml:2: cache.exact_only: expected a list of text, got 'action'",
        ),
        ("[log]\nlevel = 'loud'", "bsc.toml:2: log.level: expected debug, info, warning, error, got 'loud'"),
        ("[keys]\nknown = 1", "bsc.toml:2: keys.known: expected tables, [[keys.known]], got 1"),
        (
            "[[keys.known]]\nname = 'a'",
            "bsc.toml:1: keys.known: 1: expected a sha256 of 64 hex digits; bsc serve --hash-key makes it",
        ),
        (
            f"[[keys.known]]\nsha256 = '{DIGEST}'",
            "bsc.toml:1: keys.known: 1: expected a name of 1 to 64 characters, got None",
        ),
        (
            f"{KNOWN_KEY}key = 'x'",
            "bsc.toml:1: keys.known: 1: expected name, sha256 and tenant, got 'key'",
        ),
        (KNOWN_KEY * 2, "bsc.toml:1: keys.known: expected another name for each key, got 'ann' twice"),
        (
            "[prices]\nx = [1, 2]",
            "bsc.toml:1: cache.prices: x: expected { input = NUMBER, output = NUMBER }, got [1, 2]",
        ),
        (
            "[prices]\nx = { input = -1, output = 2 }",
            "bsc.toml:1: cache.prices: x: expected prices from 0 to 1e9, got -1",
        ),
        (
            "[upstream]\nforward_headers = ['Cookie']",
            "bsc.toml:2: upstream.forward_headers: expected headers that may be forwarded, got cookie",
        ),
    ],
)
def test_what_is_wrong_is_told_with_place_key_and_expectation(tmp_path, text, problem):
    assert problems(tmp_path, text) == [problem]


def test_all_that_is_wrong_is_told_at_once(tmp_path):
    found = problems(
        tmp_path, "[server]\nprot = 1\nhost = ''\n", {"BSC_CACHE_TLL_SECONDS": "1"}, log__format="xml"
    )
    assert [problem.split(":")[0] for problem in found] == [
        "bsc.toml",
        "bsc.toml",
        "BSC_CACHE_TLL_SECONDS",
        "--log__format",
    ]
    assert found[2].endswith("did you mean BSC_CACHE_TTL_SECONDS?")


@pytest.mark.parametrize("path", sorted(BOUNDS))
def test_numbers_out_of_their_bounds_are_refused(path):
    bounds, key = BOUNDS[path], KEYS[path]
    for value in (bounds.least - (0 if bounds.is_open else 1), bounds.greatest * 2 + 1):
        text = str(int(value)) if key.kind is int else str(float(value))
        with pytest.raises(ConfigurationError, match=re.escape(f"{key.variable}: expected {bounds}")):
            read_configuration(environment={key.variable: text})


def test_every_number_has_bounds():
    assert {path for path, key in KEYS.items() if key.kind in (int, float)} == set(BOUNDS)


@pytest.mark.parametrize(
    "url",
    [
        "",
        "api.openai.com/v1",
        "ftp://x.example/v1",
        "file:///etc/passwd",
        "http://",
        "https:///v1",
        "https://user:pass-canary@x.example/v1",
        "https://user-canary@x.example",
        "https://x.example/v1?key=canary",
        "https://x.example/v1#canary",
        "https://x.example/v1?",
        "https://x.example:0/v1",
        "https://x.example:99999/v1",
        "https://x.example:port/v1",
        "https://x example/v1",
        "https://x.example/v1/../admin",
        "https://x.example//v1",
        "https://x.example/%\n/v1",
        "https://x.example\\@y.example/v1",
        "https://[::1/v1",
        "https://-x.example/v1",
        "https://\u0435xample.com/v1",
        "javascript:alert(1)",
        "HTTPS//x",
    ],
)
def test_a_hostile_or_mistaken_upstream_is_refused_and_shows_no_password(tmp_path, url):
    (found,) = problems(tmp_path, f"[upstream]\nopenai = {json.dumps(url)}")
    assert found.startswith("bsc.toml:2: upstream.openai: expected ")
    if "@" in url:
        assert "canary" not in found


@pytest.mark.parametrize(
    "url",
    ["https://api.openai.com/v1", "http://127.0.0.1:8000", "http://[::1]:1/v1/", "http://localhost/a/b"],
)
def test_an_ordinary_upstream_is_taken(tmp_path, url):
    found = read(tmp_path, f"[upstream]\nopenai = {json.dumps(url)}")
    assert found.settings.upstream.openai == url.rstrip("/")


@pytest.mark.parametrize(
    "url", ["http://10.0.0.1/v1", "http://llm.example.com", "http://127.1/v1", "http://0.0.0.0"]
)
def test_plain_http_off_this_machine_must_be_allowed(tmp_path, url):
    (found,) = problems(tmp_path, f"[upstream]\nopenai = {json.dumps(url)}")
    assert "set upstream.allow_http = true" in found
    allowed = read(tmp_path, f"[upstream]\nopenai = {json.dumps(url)}\nallow_http = true")
    assert any("in the clear" in warning for warning in allowed.warnings)


def test_anthropics_upstream_is_without_v1(tmp_path):
    (found,) = problems(tmp_path, '[upstream]\nanthropic = "https://api.anthropic.com/v1"')
    assert "without /v1" in found


@pytest.mark.parametrize(
    "host", ["0.0.0.0", "::", "192.168.1.5", "::ffff:127.0.0.1", "build.example.com", "127.1"]
)
def test_no_host_but_the_loopback_without_configured_keys(tmp_path, host):
    (found,) = problems(tmp_path, "", server__host=host)
    assert "expected a loopback address without configured keys" in found
    assert "--hash-key" in found
    # Keys that are listed but need not be used close nothing.
    assert len(problems(tmp_path, KNOWN_KEY, server__host=host)) == 1
    settings = read(tmp_path, f'[keys]\naccept = "configured"\n{KNOWN_KEY}', server__host=host).settings
    assert settings.server.host == host


@pytest.mark.parametrize("host", ["127.0.0.1", "127.9.9.9", "::1", "localhost", "LocalHost"])
def test_the_loopback_needs_no_keys(host):
    assert is_loopback(host)


@pytest.mark.parametrize("host", ["", "a b", "http://x", "[::1]", "-x", "x-", "a..b", "x/y", "1.2.3.4:80"])
def test_what_is_no_host_is_refused(tmp_path, host):
    (found,) = problems(tmp_path, f"[server]\nhost = {json.dumps(host)}")
    assert "expected a host's name or address" in found


@pytest.mark.parametrize(
    ("text", "environment", "problem"),
    [
        ("[server]\nport = 8081", {}, "server.admin_port: expected another port"),
        (
            "[server]\nworkers = 2\n[cache]\npath = ':memory:'",
            {},
            "cache.path: expected a file with 2 workers",
        ),
        ("[server]\nadmin_host = '0.0.0.0'", {}, "server.admin_host: expected a loopback address"),
        (
            "",
            {"BSC_SERVER_ADMIN_TOKEN": "short"},
            "server.admin_token: expected 16 characters or more, got 5",
        ),
        ("[keys]\naccept = 'configured'", {}, "keys.accept: expected [[keys.known]]"),
        ("", {"BSC_UPSTREAM_OPENAI_API_KEY": "sk"}, "upstream.openai_api_key: expected keys.accept"),
        ("[cache.budget]\nsample = 0.5", {}, "cache.budget.sample: expected cache.budget.max_wrong with it"),
        ("[cache.learned]\naudit = 0", {}, "cache.learned.audit: expected cache.learned.budget with it"),
        (
            "[cache.verifier]\nlabel = 'same'",
            {},
            "cache.verifier.label: expected cache.verifier.folder with it",
        ),
        (
            "[cache.verifier]\nfolder = 'x'\nlabel = 'same'\nrefusal_label = 'other'",
            {},
            "cache.verifier.label: expected it or cache.verifier.refusal_label, got both",
        ),
        (
            "[cache.verifier]\nfolder = 'x'\ndoubt_from = 0.9\ndoubt_to = 0.5",
            {},
            "cache.verifier.doubt_from: expected at most cache.verifier.doubt_to, 0.5, got 0.9",
        ),
        ("[cache]\njudge = true\nembedder = 'ollama:x'", {}, "cache.judge: expected the local embedder"),
    ],
)
def test_settings_that_do_not_go_together_are_refused(tmp_path, text, environment, problem):
    (found,) = problems(tmp_path, text, environment)
    assert found.startswith(problem)


def test_port_0_may_be_asked_for_twice(tmp_path):
    assert read(tmp_path, "[server]\nport = 0\nadmin_port = 0").settings.server.port == 0


@pytest.mark.parametrize("content", [b"[server\n", b"\xff\xfe", b"x = " + b"[" * 5000, b"x" * (5 * 2**20)])
def test_a_file_that_is_no_toml_is_one_error(tmp_path, content):
    path = tmp_path / "bsc.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        read_configuration(path)


def test_a_file_that_is_missing_is_an_error_of_its_own(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        read_configuration(tmp_path / "bsc.toml")


# What is printed


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
