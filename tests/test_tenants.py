"""A million operations of two tenants in threads, event loops and processes: none reads another's answer."""

import asyncio
import multiprocessing
import random
import threading

import numpy as np
import pytest

from binary_semantic_cache.text.fingerprint import Fingerprinter
from binary_semantic_cache.text.mirror import Mirror, Neighbours
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache
from words import NoGuards, WordEmbedder

TENANTS = ("alpha", "beta")
WORDS = "how do i reset the password of my account when it was locked by the system last night"
PROMPTS = [
    " ".join([*WORDS.split(" ")[:n], extra]).strip()
    for n in range(6, 17)
    for extra in ("please", "now", "again", "", "today")
]
MADE = dict(zip(PROMPTS, WordEmbedder().embed(PROMPTS), strict=True))


class Remembering:
    """The embeddings of the prompts, made once: a million operations embed hundreds of thousands of times."""

    bounded, max_tokens, dimension, fingerprint = True, 64, 64, "remembering"

    def embed(self, texts):
        return np.array([MADE[text] for text in texts])


def make(path=None) -> SemanticCache:
    return SemanticCache(
        path,
        embedder=Remembering(),
        guards=NoGuards(),
        policy=Policy(exact_only=()),
        threshold=0.9,
        max_entries=80,
    )


class Tenant:
    """Asks and answers as one tenant, and counts what it is served."""

    def __init__(self, name: str, seed: int):
        self.name = name
        self.random = random.Random(seed)
        self.operations = self.leaks = 0
        self.hits = {"exact": 0, "semantic": 0}

    def next(self):
        """The next operation: its name and the prompt."""
        self.operations += 1
        chance = self.random.random()
        name = (
            "lookup"
            if chance < 0.9
            else "compute"
            if chance < 0.95
            else "put"
            if chance < 0.997
            else "forget"
        )
        return name, self.random.choice(PROMPTS)

    def answer(self, prompt: str) -> str:
        return f"{self.name}: {prompt}"

    def see(self, verdict) -> None:
        if verdict:
            self.hits[verdict.kind] += 1
            self.read(verdict.response)

    def read(self, answer: str) -> None:
        self.leaks += not answer.startswith(f"{self.name}:")

    def act(self, cache) -> None:
        name, prompt = self.next()
        if name == "lookup":
            self.see(cache.lookup(prompt, scope=self.name))
        elif name == "compute":
            self.read(cache.get_or_compute(prompt, self.answer, scope=self.name))
        elif name == "put":
            cache.put(prompt, self.answer(prompt), scope=self.name, tags=[self.name])
        else:
            cache.invalidate(tag=self.name, scope=self.name)

    async def aact(self, cache) -> None:
        name, prompt = self.next()
        if name == "lookup":
            self.see(await cache.alookup(prompt, scope=self.name))
        elif name == "compute":
            self.read(await cache.aget_or_compute(prompt, self.answer, scope=self.name))
        else:
            await cache.aput(prompt, self.answer(prompt), scope=self.name)


def in_threads(cache, n_operations: int, n_threads: int = 4) -> list[Tenant]:
    tenants = [Tenant(TENANTS[i % 2], seed=i) for i in range(n_threads)]

    def work(tenant):
        for _ in range(n_operations // n_threads):
            tenant.act(cache)

    threads = [threading.Thread(target=work, args=(tenant,)) for tenant in tenants]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return tenants


def in_a_loop(cache, n_operations: int, n_tasks: int = 8) -> list[Tenant]:
    tenants = [Tenant(TENANTS[i % 2], seed=100 + i) for i in range(n_tasks)]

    async def work(tenant):
        for _ in range(n_operations // n_tasks):
            await tenant.aact(cache)

    async def main():
        await asyncio.gather(*map(work, tenants))

    asyncio.run(main())
    return tenants


def process(path, name: str, seed: int, n_operations: int, queue) -> None:
    tenant = Tenant(name, seed)
    with make(path) as cache:
        for _ in range(n_operations):
            tenant.act(cache)
    queue.put((tenant.operations, tenant.leaks, tenant.hits))


def in_processes(path, n_operations: int, n_processes: int = 2) -> list[Tenant]:
    context = multiprocessing.get_context("spawn")
    queue = context.Queue()
    workers = [
        context.Process(
            target=process, args=(path, TENANTS[i % 2], 200 + i, n_operations // n_processes, queue)
        )
        for i in range(n_processes)
    ]
    for worker in workers:
        worker.start()
    tenants = []
    for _ in workers:
        tenant = Tenant("done", 0)
        tenant.operations, tenant.leaks, tenant.hits = queue.get(timeout=900)
        tenants.append(tenant)
    for worker in workers:
        worker.join(60)
    return tenants


def total(tenants: list[Tenant]) -> tuple[int, int]:
    """Operations and leaks; there is no result without hits of both kinds for everybody."""
    assert all(tenant.hits["exact"] and tenant.hits["semantic"] for tenant in tenants)
    return sum(tenant.operations for tenant in tenants), sum(tenant.leaks for tenant in tenants)


@pytest.mark.timeout(1800)
def test_a_million_operations_read_nothing_of_another_tenant(tmp_path):
    with make() as cache:
        in_memory = total(in_threads(cache, 850_000))
    with make() as cache:
        awaited = total(in_a_loop(cache, 80_000))
    shared = total(in_processes(tmp_path / "c.db", 70_000))
    assert in_memory[0] + awaited[0] + shared[0] == 1_000_000
    assert (in_memory[1], awaited[1], shared[1]) == (0, 0, 0)


@pytest.fixture
def without_scope(monkeypatch):
    """Takes the tenant out of every fingerprint: the defect that the test above must see."""
    whole = Fingerprinter.of
    monkeypatch.setattr(Fingerprinter, "of", lambda self, request, scope=None: whole(self, request))


@pytest.mark.parametrize("run", [in_threads, in_a_loop])
def test_without_the_scope_the_same_test_sees_leaks(run, without_scope):
    with make() as cache:
        assert total(run(cache, 4_000))[1] > 100


def test_a_search_that_forgot_the_scope_would_still_be_stopped_by_the_store(monkeypatch):
    """The body is checked against the scope once more: two defects are needed for a leak."""
    whole = Mirror.within

    def everywhere(self, scope, code, radius, limit):
        found = [whole(self, any_scope, code, radius, limit) for any_scope in list(self._scopes)]
        found = [one for one in found if one.ids]
        if not found:
            return whole(self, scope, code, radius, limit)
        ids, distances = ([x for one in found for x in one[i]] for i in (0, 1))
        return Neighbours(ids, distances, b"".join(one.codes for one in found), more=False)

    monkeypatch.setattr(Mirror, "within", everywhere)
    with make() as cache:
        assert total(in_threads(cache, 20_000))[1] == 0
