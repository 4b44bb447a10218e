"""OpenTelemetry: a span for each request, with one below it for the lookup and one for the upstream.

Spans are made when a request has ended, out of its `Record`; where one starts is worked out from its times:
the lookup at the request's head, the upstream where the lookup ended. They hold no content. Attributes are
those of OpenTelemetry's semantic conventions for HTTP servers and for generative AI clients (as
`opentelemetry-semantic-conventions` 0.66b2 lists them), and `bsc.` ones beside.

Needs the extra `otel`. No global tracer is set: whoever embeds the proxy keeps their own.
"""

import logging
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit, urlunsplit

from binary_semantic_cache import __version__
from binary_semantic_cache.errors import MissingExtraError
from binary_semantic_cache.proxy.observe import Record
from binary_semantic_cache.proxy.settings import TracingSettings

try:
    from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
    from opentelemetry.sdk.resources import Resource
    from opentelemetry.sdk.trace import TracerProvider
    from opentelemetry.sdk.trace.export import BatchSpanProcessor
    from opentelemetry.trace import SpanKind, StatusCode, set_span_in_context
    from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

    _missing = None
except ImportError as exc:
    _missing = exc

if TYPE_CHECKING:
    from opentelemetry.sdk.trace.export import SpanExporter

__all__ = ["Tracing"]

_logger = logging.getLogger(__name__)

_TRACES_PATH = "/v1/traces"
_OPERATIONS = {
    "openai.chat": "chat",
    "openai.responses": "chat",
    "openai.completion": "text_completion",
    "openai.completions": "text_completion",
    "openai.embeddings": "embeddings",
    "anthropic.messages": "chat",
}


class Tracing:
    """Makes spans of requests; a `Watcher` by its method `watch`.

    Args:
        settings: where spans go and under which service.
        exporter: takes the spans instead of what `settings` says.

    Raises:
        MissingExtraError: OpenTelemetry is not installed.
    """

    def __init__(self, settings: TracingSettings, *, exporter: "SpanExporter | None" = None) -> None:
        if _missing is not None:
            raise MissingExtraError(
                "opentelemetry is not installed; `pip install 'binary-semantic-cache[otel]'`"
            ) from _missing
        # Without an endpoint the exporter reads OTEL_EXPORTER_OTLP_ENDPOINT and its kin.
        endpoint = _traces_endpoint(settings.endpoint) if settings.endpoint else None
        resource = Resource.create({"service.name": settings.service_name, "service.version": __version__})
        self._provider = TracerProvider(resource=resource, shutdown_on_exit=False)
        self._provider.add_span_processor(
            BatchSpanProcessor(OTLPSpanExporter(endpoint=endpoint) if exporter is None else exporter)
        )
        self._tracer = self._provider.get_tracer("binary_semantic_cache.proxy", __version__)
        self._propagator = TraceContextTextMapPropagator()

    def watch(self, record: Record) -> None:
        """Makes the spans of one request; never raises. They are sent by a thread, in batches."""
        try:
            self._make(record)
        except Exception as exc:  # the request was answered: what is told of it may not fail it
            _logger.warning("a request was not traced: %s", type(exc).__name__)

    def flush(self, timeout_seconds: float = 10.0) -> bool:
        """Sends what waits; returns whether all went out in time."""
        return bool(self._provider.force_flush(round(1000 * timeout_seconds)))

    def close(self) -> None:
        """Sends what waits and stops."""
        self._provider.shutdown()

    def _make(self, record: Record) -> None:
        carrier = {"traceparent": record.traceparent, "tracestate": record.tracestate}
        context = self._propagator.extract({name: value for name, value in carrier.items() if value})
        # Durations in whole nanoseconds: seconds since the epoch have no room for them.
        began = _nanoseconds(record.began_at)
        span = self._tracer.start_span(
            f"{record.method} {record.path}",
            context,
            kind=SpanKind.SERVER,
            attributes=_request_attributes(record),
            start_time=began,
        )
        if record.status >= 500:
            span.set_status(StatusCode.ERROR)
        below = set_span_in_context(span, context)
        ended = began + _nanoseconds(record.total_seconds)
        looked_up = min(began + _nanoseconds(record.lookup_seconds), ended)
        if record.lookup_seconds > 0:
            lookup = self._tracer.start_span(
                "bsc lookup", below, attributes=_lookup_attributes(record), start_time=began
            )
            lookup.end(looked_up)
        if record.upstream_seconds is not None:
            operation = _OPERATIONS.get(record.api, "")
            upstream = self._tracer.start_span(
                f"{operation or record.method} {record.model}".rstrip(),
                below,
                kind=SpanKind.CLIENT,
                attributes=_model_attributes(record),
                start_time=looked_up,
            )
            # An answer that is read to its end for the cache alone ends after the reply did.
            upstream.end(looked_up + _nanoseconds(record.upstream_seconds))
        span.end(ended)


def _traces_endpoint(endpoint: str) -> str:
    """The URL of the traces below a collector's, as OTEL_EXPORTER_OTLP_ENDPOINT means it."""
    parts = urlsplit(endpoint)
    path = parts.path.rstrip("/")
    return urlunsplit(parts._replace(path=path if path.endswith(_TRACES_PATH) else path + _TRACES_PATH))


def _nanoseconds(seconds: float) -> int:
    return round(1e9 * seconds)


def _request_attributes(record: Record) -> dict[str, Any]:
    told = {
        "http.request.method": record.method,
        "http.route": record.path,
        "http.response.status_code": record.status,
        "http.request.body.size": record.request_bytes,
        "http.response.body.size": record.response_bytes,
        "error.type": str(record.status) if record.status >= 500 else None,
        **_model_attributes(record),
        "bsc.api": record.api,
        "bsc.outcome": record.outcome,
        "bsc.reason": record.reason or None,
        "bsc.would_be": record.would_be or None,
        "bsc.tenant": record.tenant or None,
        "bsc.stored": record.stored or None,
        "bsc.hit.id": record.hit_id,
        "bsc.hit.age_seconds": record.age_seconds,
        "bsc.first_byte_seconds": record.first_byte_seconds,
    }
    if record.saved is not None:
        told["bsc.saved.input_tokens"] = record.saved.input_tokens
        told["bsc.saved.output_tokens"] = record.saved.output_tokens
        told["bsc.saved.cost"] = record.saved.cost
        told["bsc.saved.seconds"] = record.saved.seconds
    return _present(told | _verdict_attributes(record))


def _lookup_attributes(record: Record) -> dict[str, Any]:
    return _present(
        {
            "bsc.outcome": record.outcome,
            "bsc.reason": record.reason or None,
            "bsc.detail": record.detail or None,
            "bsc.guards": list(record.guards) or None,
            **_verdict_attributes(record),
        }
    )


def _verdict_attributes(record: Record) -> dict[str, Any]:
    return {"bsc.similarity": record.similarity, "bsc.entry.id": record.entry_id}


def _model_attributes(record: Record) -> dict[str, Any]:
    provider = record.api.partition(".")[0]
    return _present(
        {
            "gen_ai.operation.name": _OPERATIONS.get(record.api),
            "gen_ai.provider.name": provider if provider in ("openai", "anthropic") else None,
            "gen_ai.request.model": record.model or None,
            "gen_ai.request.stream": True if record.stream else None,
        }
    )


def _present(attributes: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in attributes.items() if value is not None}
