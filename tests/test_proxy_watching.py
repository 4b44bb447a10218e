"""What a real proxy tells of real requests and what the admin makes of it: from a reply to the page."""

import io
import json
from contextlib import ExitStack
from dataclasses import dataclass

import httpx
import pytest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from binary_semantic_cache.proxy.admin import create_admin_app
from binary_semantic_cache.proxy.settings import ProxySettings, TracingSettings
from binary_semantic_cache.proxy.watching.access_log import AccessLog
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.proxy.watching.recents import Recents
from binary_semantic_cache.proxy.watching.tracing import Tracing
from binary_semantic_cache.text.semantic import SemanticCache
from model_server import ModelServer
from proxy_server import chat_body
from proxy_server import serving as proxying
from watched import TOKEN, serving
from words import WordEmbedder

TRACE = "0af7651916cd43dd8448eb211c80319c"
ASKED = "What is the canary song of the golden bird?"
ASKED_TOO = "What is the canary song of a golden bird?"
KEY = "sk-canary-secret"


@dataclass
class Told:
    """All that was told after three requests: a miss, an exact hit and a semantic one, as a stream."""

    cache: SemanticCache
    admin: httpx.Client
    log: list[dict]
    spans: list
    metrics: str


@pytest.fixture
def told():
    with ExitStack() as stack:
        cache = stack.enter_context(SemanticCache(embedder=WordEmbedder(), threshold=0.7, timeout_seconds=20))
        upstream = stack.enter_context(ModelServer(keys={KEY: "somebody"}))
        proxy = stack.enter_context(proxying(upstream, cache))
        with proxy.http(KEY) as client:
            for text, more in ((ASKED, {}), (ASKED, {}), (ASKED_TOO, {"stream": True})):
                reply = client.post(
                    "/v1/chat/completions",
                    json=chat_body(text, **more),
                    headers={"traceparent": f"00-{TRACE}-b7ad6b7169203331-01"},
                )
                assert reply.status_code == 200
                proxy.wait_until_quiet()
        proxy.record(of=3)
        stream, exporter = io.StringIO(), InMemorySpanExporter()
        log, tracing = AccessLog(stream, form="json"), Tracing(TracingSettings(), exporter=exporter)
        recents, metrics = Recents(), Metrics(cache, labels=("model", "tenant"))
        for record in proxy.records:
            for watcher in (log, tracing, recents, metrics):
                watcher.watch(record)
        log.close()
        tracing.close()
        app = create_admin_app(
            cache=cache, settings=ProxySettings(), recents=recents, metrics=metrics, token=TOKEN
        )
        url = stack.enter_context(serving(app))
        headers = {"authorization": f"Bearer {TOKEN}"}
        yield Told(
            cache,
            stack.enter_context(httpx.Client(base_url=url, headers=headers, trust_env=False)),
            [json.loads(line) for line in stream.getvalue().splitlines()],
            list(exporter.get_finished_spans()),
            metrics.exposition()[0].decode(),
        )


def test_every_watcher_tells_of_the_same_three_requests(told):
    assert [line["outcome"] for line in told.log] == ["miss", "exact", "semantic"]
    servers = [span for span in told.spans if span.name == "POST /v1/chat/completions"]
    assert [span.attributes["bsc.outcome"] for span in servers] == ["miss", "exact", "semantic"]
    assert {f"{span.context.trace_id:032x}" for span in told.spans} == {TRACE}
    assert told.metrics.count("bsc_requests_total{") == 3
    recent = told.admin.get("/api/recent").json()["requests"]
    assert [request["outcome"] for request in recent] == ["semantic", "exact", "miss"]
    assert told.admin.get("/api/summary").json()["window"]["hit_rate"] == pytest.approx(2 / 3)


def test_times_and_bytes_are_those_of_the_request(told):
    miss, _, stream = told.log
    assert 0 < miss["lookup_ms"] < miss["total_ms"]
    assert 0 < miss["upstream_ms"] <= miss["total_ms"]
    assert miss["first_byte_ms"] <= miss["total_ms"]
    assert miss["request_bytes"] > len(ASKED)
    assert miss["response_bytes"] > 100
    assert stream["stream"] is True


def test_neither_content_nor_keys_are_in_log_traces_and_metrics(told):
    everything = json.dumps(told.log) + "".join(span.to_json() for span in told.spans) + told.metrics
    assert "canary" not in everything
    shown = told.admin.get("/api/recent").text + told.admin.get("/api/summary").text
    assert ASKED in shown
    assert KEY not in shown


def test_the_admin_explains_reports_and_removes_what_the_proxy_served(told):
    semantic, exact, miss = told.admin.get("/api/recent").json()["requests"]
    for request, kind in ((semantic, "semantic"), (exact, "exact"), (miss, "exact")):
        explained = told.admin.post("/api/explain", json={"recent": request["id"]}).json()
        assert explained["verdict"]["hit"] == kind
    tenant = semantic["tenant"]
    assert told.admin.post("/api/invalidate", json={"tenant": tenant}).json()["count"] == 1
    assert told.admin.post("/api/invalidate", json={"recent": miss["id"]}).json()["count"] == 1
    assert told.admin.post("/api/report", json={"hit_id": semantic["hit_id"]}).json() == {"removed": True}
    assert len(told.cache) == 0
