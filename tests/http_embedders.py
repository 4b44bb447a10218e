"""OpenAIEmbedder and OllamaEmbedder at a real server on loopback, as fixtures for the files about them."""

import numpy as np
import pytest

from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.embedders.openai import OpenAIEmbedder
from embedding_server import EmbeddingServer, vector_of

__all__ = [
    "KEY",
    "TEXT",
    "TEXTS",
    "embedder",
    "expected",
    "naps",
    "no_environment",
    "ollama",
    "openai",
    "server",
]

KEY = "sk-canary-7f3a"
TEXT = "canary: the merger closes on Friday"
TEXTS = ["How do I undo a commit?", "Grüße aus Köln, 42 %", "日本語", "one more", "and the last"]


@pytest.fixture
def no_environment(monkeypatch):
    """Nothing of the environment names a key, an address or a proxy."""
    for name in ("OPENAI_API_KEY", "OPENAI_BASE_URL", "OLLAMA_HOST", "HTTP_PROXY", "http_proxy", "ALL_PROXY"):
        monkeypatch.delenv(name, raising=False)


@pytest.fixture
def server():
    with EmbeddingServer() as running:
        yield running


@pytest.fixture
def naps() -> list[float]:
    """The pauses that were asked for, none of which was made."""
    return []


@pytest.fixture
def openai(server, naps):
    with OpenAIEmbedder("some-model", base_url=f"{server.url}/v1", api_key=KEY, sleep=naps.append) as made:
        yield made


@pytest.fixture
def ollama(server, naps):
    with OllamaEmbedder("nomic-embed-text", base_url=server.url, sleep=naps.append) as made:
        yield made


@pytest.fixture(params=["openai", "ollama"])
def embedder(request):
    return request.getfixturevalue(request.param)


def expected(texts: list[str], dimension: int = 8) -> np.ndarray:
    vectors = np.array([vector_of(text, dimension) for text in texts], dtype=np.float64)
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)
