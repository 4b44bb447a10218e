"""A cache with some answers in it, what the proxy tells of requests to it, and the admin's port over both."""

import asyncio
import threading
from contextlib import contextmanager
from dataclasses import dataclass, field
from time import time

import httpx
import uvicorn

from binary_semantic_cache.proxy.admin import create_admin_app
from binary_semantic_cache.proxy.observe import Record
from binary_semantic_cache.proxy.settings import ProxySettings
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.proxy.watching.recents import Recents
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import Hit
from words import WordEmbedder

__all__ = ["TOKEN", "Watched", "answer_to", "asking", "chat", "record", "served", "serving", "told"]

TOKEN = "a-token-of-enough-characters"


def chat(text: str, model: str = "m-1") -> Request:
    """A chat request of one user turn."""
    return Request.from_openai_chat({"model": model, "messages": [{"role": "user", "content": text}]})


def answer_to(text: str) -> dict:
    """The body of a reply."""
    message = {"role": "assistant", "content": f"An answer to: {text}"}
    return {
        "id": "chatcmpl-1",
        "object": "chat.completion",
        "model": "m-1",
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 12, "completion_tokens": 30, "total_tokens": 42},
    }


def record(**changes) -> Record:
    """A miss that was answered by the upstream, but for `changes`."""
    plain = {
        "began_at": 1_790_000_000.125,
        "api": "openai.chat",
        "method": "POST",
        "path": "/v1/chat/completions",
        "status": 200,
        "outcome": "miss",
        "reason": "no_candidate",
        "tenant": "acme",
        "model": "m-1",
        "total_seconds": 0.75,
        "first_byte_seconds": 0.2,
        "lookup_seconds": 0.003,
        "upstream_seconds": 0.7,
        "stored": "stored",
        "request_bytes": 120,
        "response_bytes": 900,
    }
    if changes.get("outcome") in ("exact", "semantic"):
        plain |= {
            "reason": "", "stored": "", "upstream_seconds": None, "similarity": 0.94, "entry_id": 1,
            "hit_id": "hit_00", "age_seconds": 60.0, "saved": Saving(12, 30, 0.0021, 0.8),
            "total_seconds": 0.004, "first_byte_seconds": 0.0035, "lookup_seconds": 0.003,
        }  # fmt: skip
    return Record(**(plain | changes))


def served(cache: SemanticCache, text: str, *, tenant: str = "acme", **changes) -> Record:
    """What the proxy would tell of this question, asked of the cache now."""
    request = chat(text)
    verdict = cache.lookup(request, scope=tenant)
    told = {"began_at": time(), "request": request, "scope": tenant, "tenant": tenant}
    if isinstance(verdict, Hit):
        told |= {
            "outcome": verdict.kind, "similarity": verdict.similarity, "entry_id": verdict.entry_id,
            "hit_id": verdict.id, "age_seconds": verdict.age_seconds, "saved": verdict.saved,
            "prompt": verdict.prompt,
        }  # fmt: skip
    else:
        nearest = verdict.nearest
        told |= {
            "outcome": "miss",
            "reason": verdict.reason.value,
            "detail": verdict.detail,
            "similarity": None if nearest is None else nearest.similarity,
            "guards": () if nearest is None else tuple(veto.guard for veto in nearest.vetoes),
        }
    return record(**(told | changes))


@dataclass
class Watched:
    """Everything behind an admin's port."""

    store: object = None
    settings: ProxySettings = field(default_factory=ProxySettings)
    ready: object = None
    budget: object = None
    learned: object = None

    def __post_init__(self) -> None:
        self.cache = SemanticCache(
            self.store,
            embedder=WordEmbedder(),
            threshold=0.7,
            prices={"m-1": (3.0, 15.0)},
            budget=self.budget,
            learned=self.learned,
        )
        self.recents = Recents()
        self.metrics = Metrics(self.cache)
        self.app = create_admin_app(
            cache=self.cache,
            settings=self.settings,
            recents=self.recents,
            metrics=self.metrics,
            token=TOKEN,
            ready=self.ready,
        )

    def put(self, text: str, *, tenant: str = "acme", tags=()) -> int:
        return self.cache.put(chat(text), answer_to(text), scope=tenant, tags=list(tags), took_seconds=1.5)

    def ask(self, text: str, **changes) -> Record:
        """A question whose record all watchers get."""
        told = served(self.cache, text, **changes)
        self.recents.watch(told)
        self.metrics.watch(told)
        return told


@contextmanager
def serving(app):
    """The URL of `app` on a free port of loopback, served by uvicorn in a thread."""
    server = uvicorn.Server(
        uvicorn.Config(app, host="127.0.0.1", port=0, log_level="warning", lifespan="off")
    )
    thread = threading.Thread(target=asyncio.run, args=(server.serve(),), daemon=True)
    listening = threading.Event()
    startup = server.startup

    async def told_startup(*given, **named):
        await startup(*given, **named)
        listening.set()

    server.startup = told_startup
    thread.start()
    assert listening.wait(30)
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        thread.join(30)


@contextmanager
def asking(app):
    """A client of the admin's port, with its token."""
    headers = {"authorization": f"Bearer {TOKEN}"}
    with serving(app) as url, httpx.Client(base_url=url, headers=headers, trust_env=False) as made:
        yield made


def told(answer, status=200):
    """The body of an answer that has this status."""
    assert answer.status_code == status, answer.text
    return answer.json()
