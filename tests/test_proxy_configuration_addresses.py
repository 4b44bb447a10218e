"""The upstreams and hosts that the proxy's configuration takes and refuses."""

import json

import pytest

from binary_semantic_cache.proxy.configuration.values import is_loopback
from proxy_configurations import KNOWN_KEY, problems, read


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


def test_port_0_may_be_asked_for_twice(tmp_path):
    assert read(tmp_path, "[server]\nport = 0\nadmin_port = 0").settings.server.port == 0
