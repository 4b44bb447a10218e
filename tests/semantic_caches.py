"""Semantic caches for tests: an embedder of words, no guards, no policy classes."""

from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import Miss, MissReason, Veto
from words import NoGuards, WordEmbedder

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
FAR = "how many legs does a spider have"
NO_CLASSES = Policy(exact_only=())


def make(store=None, **changes) -> SemanticCache:
    """A cache in `store`; keywords change its settings."""
    settings = {"embedder": WordEmbedder(), "guards": NoGuards(), "policy": NO_CLASSES, "threshold": 0.8}
    return SemanticCache(store, **(settings | changes))


def reason(verdict) -> MissReason:
    """Why `verdict`, a miss, is one."""
    assert isinstance(verdict, Miss)
    return verdict.reason


def chat(text: str, **changes) -> Request:
    """A body of the chat API that asks `text`; keywords change it."""
    body = {"model": "m", "temperature": 0, "messages": [{"role": "user", "content": text}]}
    return Request.from_openai_chat(body | changes)


class Objecting:
    """Guards that object to some candidates."""

    def check(self, prompt, candidates):
        return [[Veto("numbers", "1 against 2")] if "city" in text else [] for text in candidates]
