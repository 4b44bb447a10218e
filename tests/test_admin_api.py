"""The admin API over a real cache: what it tells, what it changes, what it refuses, what it writes down."""

import json
import logging

import httpx
import pytest

from binary_semantic_cache import LearnedPolicy
from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.proxy.settings import CacheSettings, ProxySettings
from binary_semantic_cache.stores.memory import MemoryStore
from binary_semantic_cache.stores.sqlite import SQLiteStore
from watched import TOKEN, Watched, asking, chat, record, serving, told

GIT = "How do I undo the last commit in git?"
GIT_TOO = "How can I undo the last commit in git?"
FRANCE = "What is the capital of France?"
SPAIN = "What is the capital of Spain?"


@pytest.fixture(params=["memory", "sqlite"])
def watched(request, tmp_path):
    store = MemoryStore() if request.param == "memory" else SQLiteStore(tmp_path / "cache.db")
    made = Watched(store=store, settings=ProxySettings(cache=CacheSettings(prices={"m-1": (3.0, 15.0)})))
    made.put(GIT, tags=["git", "docs"])
    made.put(FRANCE, tags=["docs"])
    made.put(GIT, tenant="globex")
    yield made
    store.close()


@pytest.fixture
def client(watched):
    with asking(watched.app) as made:
        yield made


def refused(answer):
    assert 400 <= answer.status_code < 600
    return answer.json()["error"]["type"]


def prompts(watched):
    return sorted(prompt for _, prompt in watched.cache.store.select())


# Looking


def test_the_summary_tells_figures_of_the_window_and_since_the_start(watched, client):
    watched.ask(GIT)
    watched.ask(GIT_TOO)
    watched.ask(SPAIN)
    summary = told(client.get("/api/summary?minutes=15"))
    window = summary["window"]
    assert window["outcomes"] == {"exact": 1, "semantic": 1, "miss": 1, "bypass": 0}
    assert window["hit_rate"] == pytest.approx(2 / 3)
    assert window["saved"]["tokens"] == 84
    assert window["saved"]["seconds"] == 3.0
    assert window["saved"]["cost"] == pytest.approx(2 * (12 * 3 + 30 * 15) / 1e6)
    assert window["misses"] == {"guard": 1}
    assert window["vetoes"]
    assert window["latency_seconds"]["miss"]["p50"] == pytest.approx(0.75, rel=0.03)
    assert summary["since_start"] == window
    assert sum(point["miss"] for point in summary["series"]) == 1
    assert len(summary["series"]) == 15
    assert summary["cache"]["entries"] == 3
    assert summary["has_prices"] is True


def test_a_store_that_is_down_is_told_and_the_rest_of_the_summary_stands(watched, client, monkeypatch):
    def down():
        raise StoreError("no such store")

    monkeypatch.setattr(watched.cache, "stats", down)
    assert told(client.get("/api/summary"))["cache"] is None


def test_other_minutes_are_refused(client):
    for minutes in ("61", "-1", "x", "", "９", "9" * 5000):
        assert refused(client.get("/api/summary", params={"minutes": minutes})) == "out_of_range"


def test_recent_requests_are_told_with_their_content_newest_first(watched, client):
    watched.ask(GIT)
    watched.ask(GIT_TOO, stream=True)
    newest, oldest = told(client.get("/api/recent"))["requests"]
    assert (newest["outcome"], oldest["outcome"]) == ("semantic", "exact")
    assert (newest["text"], newest["prompt"]) == (GIT_TOO, GIT)
    assert newest["can_explain"]
    assert newest["saved"] == {"tokens": 42, "cost": pytest.approx(0.000486), "seconds": 1.5}
    assert told(client.get("/api/recent?limit=1"))["requests"] == [newest]
    assert told(client.get(f"/api/recent?before={newest['id']}"))["requests"] == [oldest]
    assert told(client.get("/api/recent?outcome=exact"))["requests"] == [oldest]
    assert refused(client.get("/api/recent?outcome=hit")) == "out_of_range"
    assert refused(client.get("/api/recent?limit=501")) == "out_of_range"


def test_numbers_and_characters_that_json_cannot_say_do_not_break_the_list(watched, client):
    watched.recents.watch(
        record(similarity=float("nan"), total_seconds=float("inf"), model="\ud800", path="/\udcff")
    )
    (one,) = told(client.get("/api/recent"))["requests"]
    assert one["similarity"] is None
    assert one["total_seconds"] is None


def test_entries_are_listed_by_what_they_were_good_for_as_long_as_they_are_there(watched, client):
    for text in (GIT, GIT, GIT_TOO, FRANCE):
        watched.ask(text)
    first, second = told(client.get("/api/entries?by=hits"))["entries"]
    assert (first["prompt"], first["hits"], second["prompt"], second["hits"]) == (GIT, 3, FRANCE, 1)
    assert first["n_bytes"] > len(GIT)
    assert first["saved"]["seconds"] == 4.5
    assert [e["id"] for e in told(client.get("/api/entries?by=recent&limit=1"))["entries"]] == [second["id"]]
    watched.cache.store.delete([first["id"]])
    assert [e["id"] for e in told(client.get("/api/entries"))["entries"]] == [second["id"]]
    assert refused(client.get("/api/entries?by=name")) == "out_of_range"


def test_explaining_a_recent_request_tells_candidates_and_what_was_held_against_them(watched, client):
    watched.ask(SPAIN)
    explained = told(client.post("/api/explain", json={"recent": 1}))
    assert explained["text"] == SPAIN
    assert explained["verdict"]["hit"] is None
    assert explained["verdict"]["reason"] == "guard"
    assert explained["candidates"][0]["prompt"] == FRANCE
    assert explained["candidates"][0]["vetoes"]
    # That of the judge, where there is one.
    assert explained["candidates"][0]["probability"] is None
    assert explained["threshold"] == 0.7


def test_a_recent_request_can_be_explained_as_if_it_asked_something_else(watched, client):
    watched.ask(SPAIN)
    explained = told(client.post("/api/explain", json={"recent": 1, "prompt": GIT_TOO}))
    assert explained["verdict"]["hit"] == "semantic"


def test_explaining_tells_what_the_learned_policy_makes_of_the_entry(watched, client):
    watched.ask(GIT_TOO)
    assert told(client.post("/api/explain", json={"recent": 1}))["learned"] is None
    learning = Watched(learned=LearnedPolicy(0.01))
    learning.put(GIT)
    learning.ask(GIT_TOO)
    with asking(learning.app) as asked:
        explained = told(asked.post("/api/explain", json={"recent": 1}))
    assert explained["verdict"]["reason"] == "learning"
    assert explained["learned"].endswith("0.990 needed: asked anew")


def test_explaining_counts_as_no_request(watched, client):
    watched.ask(SPAIN)
    before = watched.cache.stats()
    told(client.post("/api/explain", json={"recent": 1}))
    assert watched.cache.stats() == before


def test_a_bare_prompt_of_a_scope_is_explained_as_library_users_ask_it(watched, client):
    watched.cache.put("a bare prompt of words", "an answer", scope=["team", 1])
    body = {"prompt": "a bare prompt of words", "scope": ["team", 1]}
    assert told(client.post("/api/explain", json=body))["verdict"]["hit"] == "exact"
    assert told(client.post("/api/explain", json={**body, "scope": "else"}))["verdict"]["hit"] is None


def test_what_cannot_be_explained_says_why(watched, client):
    watched.recents.watch(record())
    assert refused(client.post("/api/explain", json={"recent": 1})) == "no_content"
    assert refused(client.post("/api/explain", json={"recent": 99})) == "not_found"
    assert refused(client.post("/api/explain", json={"recent": "1"})) == "not_found"
    assert refused(client.post("/api/explain", json={})) == "malformed"
    assert refused(client.post("/api/explain", json={"prompt": 5})) == "malformed"
    lone = client.post(
        "/api/explain", content=b'{"prompt": "\\ud800"}', headers={"content-type": "application/json"}
    )
    assert refused(lone) == "invalid"


def test_metrics_are_those_of_the_proxy(watched, client):
    watched.ask(GIT)
    answer = client.get("/metrics")
    assert 'bsc_requests_total{api="openai.chat",outcome="exact",status_class="2xx"} 1.0' in answer.text
    assert answer.headers["content-type"].startswith("text/plain")


def test_readiness_says_why_not(watched, client, monkeypatch):
    assert told(client.get("/readyz")) == {"status": "ready"}

    def down():
        raise StoreError("a path that is nobody's business")

    monkeypatch.setattr(watched.cache.store, "stats", down)
    assert told(client.get("/readyz"), 503) == {"status": "store: StoreError"}
    assert told(client.get("/healthz")) == {"status": "alive"}


def test_readiness_is_what_the_proxy_says_where_it_does():
    watched = Watched(ready=lambda: "draining")
    with serving(watched.app) as url:
        assert told(httpx.get(f"{url}/readyz", trust_env=False), 503) == {"status": "draining"}


# Changing


def test_a_reported_hit_loses_its_entry_and_its_prompts_never_match_again(watched, client):
    hit = watched.ask(GIT_TOO)
    assert told(client.post("/api/report", json={"hit_id": hit.hit_id})) == {"removed": True}
    assert told(client.post("/api/report", json={"hit_id": hit.hit_id})) == {"removed": False}
    watched.put(GIT)
    assert watched.ask(GIT_TOO).reason == "reported"
    assert watched.ask(GIT).outcome == "exact"


def test_what_is_no_hit_cannot_be_reported(watched, client):
    for body in ({}, {"hit_id": 5}, {"hit_id": "hit_00"}, {"hit_id": "hit_zz"}):
        assert refused(client.post("/api/report", json=body)) in ("malformed", "invalid")
    assert len(watched.cache) == 3


def test_invalidating_only_says_what_would_go_unless_told_to(watched, client):
    would = told(client.post("/api/invalidate", json={"tag": "docs"}))
    assert (would["dry_run"], would["count"]) == (True, 2)
    assert sorted(entry["prompt"] for entry in would["entries"]) == sorted([GIT, FRANCE])
    assert len(watched.cache) == 3
    gone = told(client.post("/api/invalidate", json={"tag": "docs", "dry_run": False}))
    assert (gone["dry_run"], gone["count"]) == (False, 2)
    assert prompts(watched) == [GIT]
    assert watched.ask(FRANCE).outcome == "miss"


def test_by_tenant_the_answers_of_that_tenant_go(watched, client):
    watched.ask(GIT, tenant="globex")
    assert told(client.post("/api/invalidate", json={"tenant": "globex", "dry_run": False}))["count"] == 1
    assert prompts(watched) == sorted([GIT, FRANCE])
    assert refused(client.post("/api/invalidate", json={"tenant": "nobody"})) == "not_found"


def test_by_scope_the_answers_of_that_scope_go(watched, client):
    assert told(client.post("/api/invalidate", json={"scope": "globex", "dry_run": False}))["count"] == 1
    assert told(client.post("/api/invalidate", json={"scope": None}))["count"] == 0
    assert len(watched.cache) == 2


def test_by_recent_request_the_answer_to_it_goes_and_with_a_radius_its_neighbours(watched, client):
    watched.ask(GIT_TOO)
    assert told(client.post("/api/invalidate", json={"recent": 1}))["count"] == 0
    assert told(client.post("/api/invalidate", json={"recent": 1, "radius": 100}))["count"] == 1
    told(client.post("/api/invalidate", json={"recent": 1, "radius": 100, "dry_run": False}))
    assert prompts(watched) == sorted([FRANCE, GIT])


def test_by_prompt_the_answer_of_a_library_user_goes(watched, client):
    watched.cache.put("a bare prompt of words", "an answer", scope="team")
    body = {"prompt": "a bare prompt of words", "scope": "team", "dry_run": False}
    assert told(client.post("/api/invalidate", json=body))["count"] == 1


def test_by_ids_those_that_are_there_go(watched, client):
    ids = [entry_id for entry_id, _ in watched.cache.store.select(tag="docs")]
    would = told(client.post("/api/invalidate", json={"entries": [*ids, 999]}))
    assert [entry["id"] for entry in would["entries"]] == ids
    told(client.post("/api/invalidate", json={"entries": [*ids, 999], "dry_run": False}))
    assert prompts(watched) == [GIT]
    assert watched.ask(GIT_TOO).outcome == "miss"


def test_nothing_goes_if_another_number_would_than_was_seen(watched, client):
    body = {"tag": "docs", "dry_run": False}
    assert refused(client.post("/api/invalidate", json={**body, "expected": 1})) == "changed"
    assert len(watched.cache) == 3
    assert told(client.post("/api/invalidate", json={**body, "expected": 2}))["count"] == 2


UNCLEAR = [
    {}, {"dry_run": False}, {"tag": ""}, {"tag": 5}, {"tag": "a", "tenant": "b"},
    {"tag": "a", "dry_run": "no"},
    {"tag": "a", "dry_run": None}, {"tag": "a", "radius": 5}, {"entries": []}, {"entries": "1"},
    {"entries": [True]}, {"entries": [0]}, {"entries": [1.5]}, {"entries": [1], "scope": "a"},
    {"tenant": "a", "scope": "a"}, {"prompt": 5}, {"prompt": GIT, "radius": 9999},
    {"prompt": GIT, "radius": "a"},
    {"tag": "docs", "dryrun": True}, [], "tag", 5,
]  # fmt: skip


def test_an_invalidation_that_is_not_clear_removes_nothing(watched, client):
    answers = {json.dumps(body): client.post("/api/invalidate", json=body).status_code for body in UNCLEAR}
    assert set(answers.values()) == {400}, answers
    assert len(watched.cache) == 3


def test_clearing_wants_to_be_confirmed_in_words(watched, client):
    for body in ({}, {"confirm": True}, {"confirm": "yes"}, {"tenant": "acme", "confirm": "everything"}):
        assert refused(client.post("/api/clear", json=body)) == "not_confirmed"
    assert len(watched.cache) == 3
    assert told(client.post("/api/clear", json={"confirm": "everything"})) == {"removed": 3}
    assert len(watched.cache) == 0


def test_clearing_a_tenant_leaves_the_others(watched, client):
    watched.ask(GIT, tenant="globex")
    assert told(client.post("/api/clear", json={"tenant": "globex", "confirm": "globex"})) == {"removed": 1}
    assert len(watched.cache) == 2
    assert refused(client.post("/api/clear", json={"tenant": "nobody", "confirm": "nobody"})) == "not_found"


def test_a_body_that_is_not_json_of_a_reasonable_size_is_refused(client):
    for content, content_type, kind in (
        (b'{"tag": "docs"}', "text/plain", "content_type"),
        (b"tag=docs", "application/x-www-form-urlencoded", "content_type"),
        (b'{"tag": ', "application/json", "malformed"),
        (b"\xff", "application/json", "malformed"),
        (b"[" * 100_000, "application/json", "malformed"),
        (b'{"tag": "' + b"x" * 2**20 + b'"}', "application/json", "too_large"),
    ):
        answer = client.post("/api/invalidate", content=content, headers={"content-type": content_type})
        assert refused(answer) == kind


def test_a_cache_that_fails_is_a_503_without_its_words(watched, client, monkeypatch):
    def down(owner):
        raise StoreError("/secret/path of the store")

    monkeypatch.setattr(watched.cache.store, "clear", down)
    answer = client.post("/api/clear", json={"confirm": "everything"})
    assert answer.status_code == 503
    assert "secret" not in answer.text


def test_a_defect_is_a_500_by_class_and_its_words_reach_neither_reply_nor_log(
    watched, client, monkeypatch, caplog
):
    def broken(*_, **__):
        raise RuntimeError("CANARY")

    monkeypatch.setattr(watched.cache, "explain", broken)
    watched.ask(SPAIN)
    answer = client.post("/api/explain", json={"recent": 1})
    assert answer.status_code == 500
    assert "CANARY" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text


# The audit


def test_every_change_is_written_down_with_who_what_and_how_many_and_no_content(watched, client, caplog):
    caplog.set_level(logging.INFO, logger="binary_semantic_cache.proxy.admin.audit")
    hit = watched.ask(GIT_TOO)
    told(client.post("/api/report", json={"hit_id": hit.hit_id}))
    told(client.post("/api/invalidate", json={"tag": "docs", "dry_run": False}))
    told(client.post("/api/invalidate", json={"recent": 1, "radius": 90, "dry_run": False}))
    told(client.post("/api/clear", json={"confirm": "everything"}))
    changes = told(client.get("/api/audit"))["changes"]
    assert [(c["who"], c["action"], c["target"], c["outcome"]) for c in reversed(changes)] == [
        ("bearer", "report", "hit", "1 removed"),
        ("bearer", "invalidate", "tag:docs", "1 removed"),
        ("bearer", "invalidate", "prompt", "0 removed"),
        ("bearer", "clear", "everything", "1 removed"),
    ]
    lines = [r.getMessage() for r in caplog.records if r.name.endswith("admin.audit")]
    assert len(lines) == 4
    assert 'who=bearer action=invalidate target="tag:docs" outcome="1 removed"' in lines[1]
    assert "commit" not in "".join(lines) + json.dumps(changes)


def test_a_dry_run_is_no_change(watched, client):
    told(client.post("/api/invalidate", json={"tag": "docs"}))
    assert told(client.get("/api/audit"))["changes"] == []


def test_a_change_that_failed_is_written_down_too(watched, client, monkeypatch):
    def down(*_):
        raise StoreError("gone")

    monkeypatch.setattr(watched.cache.store, "clear", down)
    client.post("/api/clear", json={"confirm": "everything"})
    (change,) = told(client.get("/api/audit"))["changes"]
    assert change["outcome"] == "failed: StoreError"


def test_what_a_target_is_called_makes_no_line_of_its_own(client, caplog):
    caplog.set_level(logging.INFO, logger="binary_semantic_cache.proxy.admin.audit")
    told(client.post("/api/invalidate", json={"tag": 'a\n audit who="x"' + "y" * 500, "dry_run": False}))
    (line,) = [r.getMessage() for r in caplog.records if r.name.endswith("admin.audit")]
    assert "\n" not in line
    assert len(line) < 300


def test_logins_are_written_down_under_a_pseudonym(watched):
    with serving(watched.app) as url, httpx.Client(base_url=url, trust_env=False) as client:
        client.post("/login", data={"token": "wrong"})
        client.post("/login", data={"token": TOKEN})
        cookie = dict(client.cookies)["bsc_admin"]
        refused_one, admitted = reversed(told(client.get("/api/audit"))["changes"])
    assert (refused_one["who"], refused_one["outcome"]) == ("nobody", "refused")
    assert admitted["who"].startswith("session:")
    assert cookie[:8] not in json.dumps(admitted)


def test_requests_of_another_tenant_are_explained_in_that_tenants_scope(watched, client):
    watched.ask(FRANCE, tenant="globex")
    explained = told(client.post("/api/explain", json={"recent": 1}))
    assert FRANCE not in [candidate["prompt"] for candidate in explained["candidates"]]
    assert explained["verdict"]["hit"] is None
    assert watched.cache.lookup(chat(FRANCE), scope="acme")
