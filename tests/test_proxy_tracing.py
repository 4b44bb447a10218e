"""Traces: spans out of records, with the conventions' names, to a real receiver."""

import subprocess
import sys
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter
from opentelemetry.semconv._incubating.attributes import gen_ai_attributes, http_attributes
from opentelemetry.trace import SpanKind, StatusCode

from binary_semantic_cache.proxy.settings import TracingSettings
from binary_semantic_cache.proxy.watching.tracing import Tracing
from binary_semantic_cache.stores import Saving
from watched import chat, record

TRACE, PARENT = "0af7651916cd43dd8448eb211c80319c", "b7ad6b7169203331"


def spans_of(*records):
    exporter = InMemorySpanExporter()
    tracing = Tracing(TracingSettings(service_name="a-proxy"), exporter=exporter)
    for one in records:
        tracing.watch(one)
    assert tracing.flush()
    tracing.close()
    return exporter.get_finished_spans()


def by_name(*records):
    return {span.name: span for span in spans_of(*records)}


def test_a_miss_has_a_span_with_one_for_the_lookup_and_one_for_the_upstream():
    told = record(total_seconds=1.0, lookup_seconds=0.25, upstream_seconds=0.5)
    spans = by_name(told)
    server, lookup, upstream = (spans[n] for n in ("POST /v1/chat/completions", "bsc lookup", "chat m-1"))
    assert [server.kind, lookup.kind, upstream.kind] == [SpanKind.SERVER, SpanKind.INTERNAL, SpanKind.CLIENT]
    assert server.parent is None
    assert lookup.parent.span_id == upstream.parent.span_id == server.context.span_id
    began = round(1e9 * told.began_at)
    assert (server.start_time, server.end_time) == (began, began + 1_000_000_000)
    assert (lookup.start_time, lookup.end_time) == (began, began + 250_000_000)
    assert (upstream.start_time, upstream.end_time) == (began + 250_000_000, began + 750_000_000)
    assert server.resource.attributes["service.name"] == "a-proxy"


def test_a_hit_has_no_span_of_an_upstream_and_says_what_it_saved():
    spans = by_name(record(outcome="semantic", saved=Saving(12, 30, 0.002, 0.8)))
    assert set(spans) == {"POST /v1/chat/completions", "bsc lookup"}
    attributes = spans["POST /v1/chat/completions"].attributes
    assert attributes["bsc.outcome"] == "semantic"
    assert attributes["bsc.similarity"] == 0.94
    assert attributes["bsc.saved.output_tokens"] == 30
    assert attributes["bsc.saved.cost"] == 0.002


def test_attributes_have_the_names_of_the_semantic_conventions():
    attributes = by_name(record(stream=True))["POST /v1/chat/completions"].attributes
    assert attributes[gen_ai_attributes.GEN_AI_OPERATION_NAME] == "chat"
    assert attributes[gen_ai_attributes.GEN_AI_PROVIDER_NAME] == "openai"
    assert attributes[gen_ai_attributes.GEN_AI_REQUEST_MODEL] == "m-1"
    assert attributes[gen_ai_attributes.GEN_AI_REQUEST_STREAM] is True
    assert attributes[http_attributes.HTTP_REQUEST_METHOD] == "POST"
    assert attributes[http_attributes.HTTP_ROUTE] == "/v1/chat/completions"
    assert attributes[http_attributes.HTTP_RESPONSE_STATUS_CODE] == 200
    known = {
        v
        for module in (gen_ai_attributes, http_attributes)
        for v in vars(module).values()
        if isinstance(v, str)
    }
    assert {name for name in attributes if name.startswith(("gen_ai.", "http."))} <= known


@pytest.mark.parametrize(
    ("api", "operation", "provider"),
    [
        ("anthropic.messages", "chat", "anthropic"),
        ("openai.embeddings", "embeddings", "openai"),
        ("other", None, None),
    ],
)
def test_operation_and_provider_follow_the_api(api, operation, provider):
    attributes = by_name(record(api=api))["POST /v1/chat/completions"].attributes
    assert attributes.get("gen_ai.operation.name") == operation
    assert attributes.get("gen_ai.provider.name") == provider


def test_a_trace_that_the_caller_began_goes_on():
    told = record(traceparent=f"00-{TRACE}-{PARENT}-01", tracestate="vendor=1")
    server = by_name(told)["POST /v1/chat/completions"]
    assert f"{server.context.trace_id:032x}" == TRACE
    assert f"{server.parent.span_id:016x}" == PARENT
    assert server.context.trace_state.get("vendor") == "1"


def test_a_trace_that_the_caller_does_not_sample_is_not_sent():
    assert spans_of(record(traceparent=f"00-{TRACE}-{PARENT}-00")) == ()


@pytest.mark.parametrize("header", ["", "nonsense", "00-0-0-01", "00-" + "0" * 32 + "-" + "0" * 16 + "-01"])
def test_a_traceparent_that_is_none_begins_a_new_trace(header):
    assert by_name(record(traceparent=header))["POST /v1/chat/completions"].parent is None


def test_a_server_error_is_one_in_the_span_too():
    server = by_name(record(status=502))["POST /v1/chat/completions"]
    assert server.status.status_code is StatusCode.ERROR
    assert server.attributes["error.type"] == "502"


def test_no_content_is_in_a_span():
    told = record(request=chat("CANARY-1"), prompt="CANARY-2", scope="CANARY-3", outcome="semantic")
    assert "CANARY" not in "".join(span.to_json() for span in spans_of(told))


def test_a_record_that_cannot_be_traced_fails_nobody(caplog):
    assert spans_of(record(began_at="canary")) == ()
    assert "not traced" in caplog.text
    assert "canary" not in caplog.text


@pytest.mark.parametrize("path", ["", "/", "/v1/traces"])
def test_spans_arrive_at_a_receiver_of_otlp_over_http(path, monkeypatch):
    monkeypatch.setenv("NO_PROXY", "*")
    received, arrived = [], threading.Event()

    class Receiver(BaseHTTPRequestHandler):
        def do_POST(self):
            sent = self.rfile.read(int(self.headers["content-length"]))
            received.append((self.path, ExportTraceServiceRequest.FromString(sent)))
            self.send_response(200)
            self.send_header("content-length", "0")
            self.end_headers()
            arrived.set()

        def log_message(self, *_):
            """Keeps the test's output clean."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.01,))
        thread.start()
        tracing = Tracing(TracingSettings(endpoint=f"http://127.0.0.1:{server.server_port}{path}"))
        tracing.watch(record())
        tracing.close()
        assert arrived.wait(30)
        server.shutdown()
        thread.join()
    asked, sent = received[0]
    assert asked == "/v1/traces"
    spans = [
        span for resource in sent.resource_spans for scope in resource.scope_spans for span in scope.spans
    ]
    assert sorted(span.name for span in spans) == ["POST /v1/chat/completions", "bsc lookup", "chat m-1"]


def test_without_opentelemetry_the_error_names_the_extra():
    program = """
import sys
sys.modules["opentelemetry"] = None
from binary_semantic_cache.errors import MissingExtraError
from binary_semantic_cache.proxy.settings import TracingSettings
from binary_semantic_cache.proxy.watching.tracing import Tracing
try:
    Tracing(TracingSettings())
except MissingExtraError as exc:
    print(exc)
"""
    told = subprocess.run([sys.executable, "-c", program], check=True, capture_output=True, text=True).stdout
    assert told == "opentelemetry is not installed; `pip install 'binary-semantic-cache[otel]'`\n"
