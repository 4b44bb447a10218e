"""The connections of the embedders behind a server: redirects, proxies, threads, forks, closing."""

import os
import subprocess
import sys
import threading

import numpy as np
import pytest

from binary_semantic_cache.embedders.ollama import OllamaEmbedder
from binary_semantic_cache.errors import EmbedderError
from embedding_server import EmbeddingServer, redirect
from http_embedders import expected

pytestmark = pytest.mark.usefixtures("no_environment")


def test_a_redirect_is_not_followed(embedder, server):
    with EmbeddingServer() as elsewhere:
        server.will(redirect(f"{elsewhere.url}/v1/embeddings"))
        with pytest.raises(EmbedderError, match="307 Temporary Redirect; redirects are not followed"):
            embedder.embed(["a"])
        assert elsewhere.asked == []


def test_a_proxy_of_the_environment_is_not_asked_for_this_machine(server, monkeypatch):
    with EmbeddingServer() as proxy:
        for name in ("HTTP_PROXY", "http_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy.url)
        monkeypatch.delenv("NO_PROXY", raising=False)
        monkeypatch.delenv("no_proxy", raising=False)
        with OllamaEmbedder("nomic-embed-text", base_url=server.url) as made:
            assert made.embed(["a"]).shape == (1, 8)
        with (
            OllamaEmbedder("m", base_url="http://elsewhere.invalid", max_retries=0) as made,
            pytest.raises(EmbedderError, match="404"),
        ):
            made.embed(["a"])
        assert [asked.path for asked in proxy.asked] == ["http://elsewhere.invalid/api/embed"]


def test_a_closed_embedder_says_so(embedder):
    embedder.embed(["a"])
    embedder.close()
    embedder.close()
    with pytest.raises(EmbedderError, match="the embedder is closed"):
        embedder.embed(["a"])


def test_requests_share_a_connection(ollama, server):
    ollama.embed(["a", "b", "c"])
    assert len({asked.connection for asked in server.asked}) == 1


def test_threads_that_share_an_embedder_get_their_own_vectors(embedder):
    found: dict[int, np.ndarray] = {}
    start = threading.Barrier(8)

    def embed(number: int) -> None:
        start.wait()
        found[number] = embedder.embed([f"text {number} {part}" for part in range(6)])

    threads = [threading.Thread(target=embed, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        wanted = expected([f"text {number} {part}" for part in range(6)])
        np.testing.assert_allclose(found[number], wanted, atol=1e-7)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
def test_a_forked_process_uses_connections_of_its_own(server):
    program = f"""
import os
from binary_semantic_cache.embedders.ollama import OllamaEmbedder
embedder = OllamaEmbedder("nomic-embed-text", base_url={server.url!r})
embedder.embed(["before"])
child = os.fork()
embedder.embed(["child" if child == 0 else "parent"])
if child == 0:
    embedder.close()
    os._exit(0)
assert os.waitpid(child, 0)[1] == 0
embedder.embed(["after"])
embedder.close()
"""
    subprocess.run([sys.executable, "-W", "error", "-c", program], check=True, timeout=60)
    connection = {asked.body["input"][0]: asked.connection for asked in server.asked}
    assert connection["before"] == connection["parent"] == connection["after"]
    assert connection["child"] != connection["before"]
