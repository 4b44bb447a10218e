"""Configurations of the proxy: one with every key, and what reading one gives or refuses."""

import hashlib

import pytest

from binary_semantic_cache.errors import ConfigurationError
from binary_semantic_cache.proxy.configuration.reading import read_configuration

__all__ = ["DIGEST", "EVERYTHING", "KNOWN_KEY", "OTHER_DIGEST", "TOKEN", "problems", "read"]

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
