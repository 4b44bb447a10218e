"""Trouble of the cache is not the client's: every question is answered, and nothing holds up the loop."""

import asyncio
import json
import sqlite3
import threading
from concurrent.futures import ThreadPoolExecutor

import pytest

from binary_semantic_cache.proxy import verdicts as verdicts_module
from binary_semantic_cache.proxy.apis.all import APIS
from binary_semantic_cache.proxy.settings import CacheSettings, LimitSettings
from binary_semantic_cache.proxy.steering import Steering
from binary_semantic_cache.proxy.verdicts import Verdicts
from binary_semantic_cache.text import deadline as deadline_module
from model_server import ModelServer
from proxy_server import chat_body, headers_of, serving
from torture import Words, make_cache

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
SOON = {"cache": {"timeout_seconds": 0.2}}


@pytest.fixture
def model():
    with ModelServer() as made:
        yield made


def post(http, question=QUESTION, **more):
    return http.post("/v1/chat/completions", json=chat_body(question, **more))


def answered(reply, question=QUESTION) -> bool:
    return f"«{question}»" in reply.json()["choices"][0]["message"]["content"]


class Troubled(Words):
    """An embedder that is told to fail or to hang."""

    bounded = False

    def __init__(self):
        super().__init__()
        self.fails = False
        self.goes_on = threading.Event()
        self.goes_on.set()

    def embed(self, texts):
        assert self.goes_on.wait(60)
        if self.fails:
            raise RuntimeError("no model")
        return super().embed(texts)


class Beating:
    """A task in the proxy's loop that counts how often it came round."""

    def __init__(self, proxy):
        self.proxy, self.beats = proxy, 0

    async def _beat(self):
        while True:
            self.beats += 1
            await asyncio.sleep(0.001)

    def __enter__(self):
        def start():
            self._task = asyncio.get_running_loop().create_task(self._beat())

        self.proxy.run(start)
        return self

    def __exit__(self, *_):
        self.proxy.run(self._task.cancel)


def test_a_dead_embedder_is_a_miss_that_says_so_and_exact_repeats_still_hit(model):
    embedder = Troubled()
    with make_cache(None, embedder=embedder) as cache, serving(model, cache) as proxy, proxy.http() as http:
        post(http)
        proxy.wait_until_quiet()
        embedder.fails = True
        assert headers_of(post(http))["cache"] == "exact"
        reply = post(http, NEAR)
        assert answered(reply, NEAR)
        assert headers_of(reply)["reason"] == "embedder_failed"
        embedder.fails = False
        proxy.wait_until_quiet()
        assert headers_of(post(http, NEAR, temperature=0.5))["reason"] == "no_candidate"


def test_while_the_embedder_hangs_every_question_is_answered_and_the_loop_goes_on(model):
    embedder = Troubled()
    with (
        make_cache(None, embedder=embedder, timeout_seconds=0.2) as cache,
        serving(model, cache, SOON) as proxy,
        proxy.http() as http,
        Beating(proxy) as heart,
    ):
        post(http)
        proxy.wait_until_quiet()
        embedder.goes_on.clear()
        questions = [f"{QUESTION} number {place}" for place in range(40)]
        before = heart.beats
        with ThreadPoolExecutor(20) as pool:
            replies = list(pool.map(lambda question: post(http, question), questions))
            passing = list(pool.map(lambda place: http.get(f"/v1/files/{place}"), range(20)))
        assert all(map(answered, replies, questions))
        assert {reply.status_code for reply in passing} == {200}
        assert heart.beats > before + 10
        assert {headers_of(reply)["reason"] for reply in replies} <= {"embedder_timeout", "cache_busy"}
        embedder.goes_on.set()
        proxy.wait_until_quiet()
        assert headers_of(post(http))["cache"] == "exact"


def test_a_locked_file_is_answered_by_the_upstream_and_works_again_when_it_is_free(model, tmp_path):
    path = tmp_path / "answers.db"
    with (
        make_cache(path, timeout_seconds=0.2) as cache,
        serving(model, cache, SOON) as proxy,
        proxy.http() as http,
        Beating(proxy) as heart,
    ):
        post(http)
        proxy.wait_until_quiet()
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        before = heart.beats
        replies = [
            (question, post(http, question)) for question in ("who wrote hamlet", "how far is the moon")
        ]
        assert all(answered(reply, question) for question, reply in replies)
        assert heart.beats > before
        assert headers_of(post(http))["cache"] == "exact"
        other.execute("ROLLBACK")
        other.close()
        proxy.wait_until_quiet()
        post(http, "who wrote faust")
        proxy.wait_until_quiet()
        assert headers_of(post(http, "who wrote faust"))["cache"] == "exact"


def test_a_full_disk_keeps_nothing_and_hurts_nobody(model, tmp_path, caplog, monkeypatch):
    # Writes that failed are left for a while; the wait is no matter of this test.
    monkeypatch.setattr(deadline_module, "_COOL_DOWN_SECONDS", 0.0)
    with make_cache(tmp_path / "answers.db") as cache, serving(model, cache) as proxy, proxy.http() as http:
        post(http)
        proxy.wait_until_quiet()
        file = cache.store._file
        with file.lock, file.reading() as db:
            (pages,) = db.execute("PRAGMA page_count").fetchone()
            db.execute(f"PRAGMA max_page_count = {pages}").fetchone()
        for place in range(5):
            told = len(proxy.records)
            assert post(http, f"a long story, number {place}", model="trial-long").status_code == 200
            record = proxy.record(of=told + 1)
        assert record.stored == "store_failed"
        assert "an answer could not be stored: StoreError (SQLITE_FULL)" in caplog.messages
        assert headers_of(post(http))["cache"] == "exact"
        with file.lock, file.reading() as db:
            db.execute("PRAGMA max_page_count = 1000000").fetchone()
        proxy.wait_until_quiet()
        post(http, "who wrote hamlet")
        proxy.wait_until_quiet()
        assert headers_of(post(http, "who wrote hamlet"))["cache"] == "exact"


@pytest.mark.parametrize("column", ["payload", "prompt", "kind", "vector"])
def test_a_damaged_answer_is_never_served(model, tmp_path, column):
    path = tmp_path / "answers.db"
    with make_cache(path) as cache, serving(model, cache) as proxy, proxy.http() as http:
        post(http)
        proxy.wait_until_quiet()
        other = sqlite3.connect(path)
        with other:
            other.execute(f"UPDATE body SET {column} = substr({column}, 1, length({column}) - 3) || 'zzz'")
        other.close()
        http.headers["x-bsc-mode"] = "no-store"
        for question in (NEAR, QUESTION):
            reply = post(http, question)
            assert answered(reply, question)
            assert headers_of(reply)["cache"] == "miss"


def test_a_file_that_is_gone_under_the_proxy_hurts_nobody(model, tmp_path):
    path = tmp_path / "answers.db"
    with make_cache(path) as cache, serving(model, cache) as proxy, proxy.http() as http:
        post(http)
        proxy.wait_until_quiet()
        for file in tmp_path.iterdir():
            file.unlink()
        for question in ("who wrote hamlet", "how far is the moon", QUESTION):
            assert answered(post(http, question), question)


def test_a_cache_that_raises_what_it_must_not_is_a_miss(model, monkeypatch):
    with make_cache(None) as cache, serving(model, cache) as proxy, proxy.http() as http:

        def broken(*_, **__):
            raise ZeroDivisionError

        monkeypatch.setattr(cache, "lookup", broken)
        monkeypatch.setattr(cache, "put", broken)
        post(http)
        reply = post(http)
        assert answered(reply)
        assert headers_of(reply)["reason"] == "failed"
        assert proxy.record(of=2).stored == ""


def test_a_crowd_that_comes_at_once_after_a_pause_is_not_taken_for_one_that_stands_still(monkeypatch):
    now = [0.0]
    monkeypatch.setattr(verdicts_module, "monotonic", lambda: now[0])

    async def reasons(verdicts):
        api, body = APIS["/v1/chat/completions"], json.dumps(chat_body(QUESTION)).encode()

        async def one():
            return await verdicts.of(api, body, {}, "alice", Steering(), looks=True)

        await one()
        now[0] += 60.0
        return {asked.reason for asked in await asyncio.gather(*(one() for _ in range(300)))}

    with make_cache(None) as cache:
        verdicts = Verdicts(cache, CacheSettings(), LimitSettings())
        assert asyncio.run(reasons(verdicts)) == {""}
        verdicts.close()
