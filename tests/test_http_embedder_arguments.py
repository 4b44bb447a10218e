"""What OpenAIEmbedder and OllamaEmbedder are made of: arguments, environment, extras. No server is asked."""

import math
import subprocess
import sys
import traceback
from pathlib import Path

import pytest

from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from binary_semantic_cache.errors import EmbedderError, InvalidTypeError, InvalidValueError

KEY = "sk-canary-7f3a"


@pytest.fixture(autouse=True)
def _clean_environment(monkeypatch):
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


def test_openai_knows_the_dimensions_of_its_own_models_and_of_shortened_ones():
    made = [
        OpenAIEmbedder(api_key=KEY),
        OpenAIEmbedder("text-embedding-3-large", api_key=KEY),
        OpenAIEmbedder(api_key=KEY, dimensions=256),
    ]
    assert [one.dimension for one in made] == [1536, 3072, 256]
    assert len({one.fingerprint for one in made}) == 3


@pytest.mark.parametrize(
    ("value", "url"),
    [
        ("", "http://127.0.0.1:11434"),
        ("box", "http://box:11434"),
        ("Box:8080", "http://box:8080"),
        (":8080", "http://127.0.0.1:8080"),
        ("0.0.0.0", "http://127.0.0.1:11434"),
        ("0.0.0.0:99", "http://127.0.0.1:99"),
        ("[::]:99", "http://[::1]:99"),
        ("::1", "http://[::1]:11434"),
        ("http://box", "http://box:80"),
        ("https://box/sub/", "https://box:443/sub"),
        ("'http://box:1'", "http://box:1"),
    ],
)
def test_ollama_host_is_read_as_ollama_reads_it(monkeypatch, value, url):
    monkeypatch.setenv("OLLAMA_HOST", value)
    assert OllamaEmbedder("m")._service._base_url == url


@pytest.mark.parametrize("value", ["ftp://box", "http://u:canary@box", "http://box:port", "b x"])
def test_an_unusable_ollama_host_is_refused(monkeypatch, value):
    monkeypatch.setenv("OLLAMA_HOST", value)
    with pytest.raises(InvalidValueError) as caught:
        OllamaEmbedder("m")
    assert "canary" not in str(caught.value)


def test_an_unusable_proxy_of_the_environment_is_an_error_that_does_not_show_it(monkeypatch):
    monkeypatch.setenv("ALL_PROXY", "gopher://user:canary@proxy")
    with (
        OllamaEmbedder("m", base_url="http://elsewhere.invalid") as made,
        pytest.raises(EmbedderError, match="no HTTP client could be made: ValueError") as caught,
    ):
        made.embed(["a"])
    assert "user:" not in "".join(traceback.format_exception(caught.value))


@pytest.mark.parametrize("key", ["", "line\nbreak canary", "späce canary", "tab\tcanary", "a canary"])
def test_a_key_that_cannot_be_a_header_is_refused_and_not_shown(key):
    with pytest.raises(InvalidValueError, match="expected a key of printable ASCII") as caught:
        OpenAIEmbedder(api_key=key)
    assert "canary" not in "".join(traceback.format_exception(caught.value)).replace(__file__, "")


@pytest.mark.parametrize(
    "base_url",
    [
        "",
        "host/v1",
        "ftp://host",
        "http://",
        "http://user:canary@host/v1",
        "http://host/v1?key=canary",
        "http://host/v1#canary",
        "http://host:99999/v1",
        "http://ho st/v1",
        "http://[::1/v1",
        "http://hö.st",
        "http://host/\nv1",
    ],
)
def test_an_address_that_is_no_plain_url_is_refused_and_not_shown(base_url):
    with pytest.raises(InvalidValueError, match="expected base_url") as caught:
        OpenAIEmbedder("m", base_url=base_url, api_key=KEY)
    assert "canary" not in str(caught.value)


@pytest.mark.parametrize(
    ("options", "error"),
    [
        ({"model": ""}, InvalidValueError),
        ({"model": 3}, InvalidTypeError),
        ({"base_url": 3}, InvalidTypeError),
        ({"api_key": 3}, InvalidTypeError),
        ({"dimensions": 0}, InvalidValueError),
        ({"dimensions": 2.0}, InvalidTypeError),
        ({"batch_size": 0}, InvalidValueError),
        ({"batch_size": 2049}, InvalidValueError),
        ({"batch_size": None}, InvalidTypeError),
        ({"max_tokens": True}, InvalidTypeError),
        ({"timeout_seconds": 0}, InvalidValueError),
        ({"timeout_seconds": math.inf}, InvalidValueError),
        ({"timeout_seconds": "3"}, InvalidTypeError),
        ({"deadline_seconds": -1}, InvalidValueError),
        ({"max_retries": -1}, InvalidValueError),
        ({"max_retries": 1.0}, InvalidTypeError),
    ],
)
def test_an_odd_argument_is_refused(options, error):
    with pytest.raises(error):
        OpenAIEmbedder(**{"api_key": KEY, **options})


def test_a_missing_extra_names_the_command_that_installs_it():
    program = """
import sys
sys.modules["httpx"] = None
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from binary_semantic_cache.errors import MissingExtraError
try:
    OpenAIEmbedder(api_key="k")
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "httpx is not installed; install the extra `http`: pip install httpx\n"


def test_importing_every_embedder_imports_no_extra_and_reads_and_opens_nothing():
    import binary_semantic_cache.embedders as package

    (folder,) = package.__path__
    names = sorted(path.stem for path in Path(folder).glob("*.py") if path.stem != "model_convert")
    program = f"""
import sys, numpy, os, threading, importlib
events, read = [], []
real = os.environ.__class__.__getitem__
def watch(self, key):
    read.append(key)
    return real(self, key)
os.environ.__class__.__getitem__ = watch
sys.addaudithook(lambda event, args: events.append(event))
for name in {names!r}:
    importlib.import_module("binary_semantic_cache.embedders." + name)
assert threading.active_count() == 1
print(sorted({{event for event in events if event.startswith(("socket", "subprocess", "urllib"))}}))
print(sorted({{key for key in read if key.startswith(("OPENAI", "OLLAMA", "BSC", "HTTP", "http", "HF_"))}}))
heavy = {{"httpx", "torch", "sentence_transformers", "fastembed", "onnxruntime", "tokenizers"}}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n[]\n[]\n"
