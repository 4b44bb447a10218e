"""What the proxy's configuration refuses, with the place, the key and what was expected."""

import re

import pytest

from binary_semantic_cache.errors import ConfigurationError, MissingFileError
from binary_semantic_cache.proxy.configuration.keys import BOUNDS, KEYS
from binary_semantic_cache.proxy.configuration.reading import read_configuration
from proxy_configurations import DIGEST, KNOWN_KEY, problems


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
            "bsc.toml:1: prices: x: expected { input = NUMBER, output = NUMBER }, got [1, 2]",
        ),
        (
            "[prices]\nx = { input = -1, output = 2 }",
            "bsc.toml:1: prices: x: expected prices from 0 to 1e9, got -1",
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


@pytest.mark.parametrize("content", [b"[server\n", b"\xff\xfe", b"x = " + b"[" * 5000, b"x" * (5 * 2**20)])
def test_a_file_that_is_no_toml_is_one_error(tmp_path, content):
    path = tmp_path / "bsc.toml"
    path.write_bytes(content)
    with pytest.raises(ConfigurationError, match=re.escape(str(path))):
        read_configuration(path)


def test_a_file_that_is_missing_is_an_error_of_its_own(tmp_path):
    with pytest.raises(MissingFileError, match="no such file"):
        read_configuration(tmp_path / "bsc.toml")


def test_a_variable_whose_table_is_misspelt_is_told_and_other_variables_are_not(tmp_path):
    others = dict.fromkeys(
        ("BSC_CONFIG", "BSC_ISA", "BSC_THREADS", "BSC_MODEL_DIR", "BSC_HOME", "BSC_PATH"), "x"
    )
    misspelt = {"BSC_CASHE_PATH": "a.db", "BSC_SERVRE_PORT": "1"}
    assert problems(tmp_path, environment=others | misspelt) == [
        "BSC_CASHE_PATH: unknown variable; did you mean BSC_CACHE_PATH?",
        "BSC_SERVRE_PORT: unknown variable; did you mean BSC_SERVER_PORT?",
    ]


def test_a_verifier_that_is_not_on_this_machine_is_a_warning(tmp_path):
    def told(folder):
        read_in = read_configuration(options={"cache.verifier.folder": (str(folder), "--set")})
        return [warning for warning in read_in.warnings if warning.startswith("cache.verifier.folder")]

    assert told(tmp_path) == []
    missing = tmp_path / "none"
    assert told(missing) == [
        f"cache.verifier.folder: nothing is at {missing} on this machine; nothing is downloaded"
    ]
