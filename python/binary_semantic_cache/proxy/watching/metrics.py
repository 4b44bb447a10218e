"""Prometheus metrics of the proxy: counters and histograms fed by `Record`s, and the size of the cache.

Each `Metrics` has a registry of its own. Several processes share theirs through files where
`PROMETHEUS_MULTIPROC_DIR` names a folder before `prometheus_client` is first imported; a scrape of any of
them then tells the sum. Source: the client's documentation, "Multiprocess Mode".

Names and units follow Prometheus' "Metric and label naming". Labels take few values: a model's or tenant's
name is a label on demand alone, and any label that comes from outside takes a bounded number of values, then
`other`.
"""

import logging
import os
from collections import Counter as Tallied
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Final, Literal

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.exposition import choose_encoder
from prometheus_client.multiprocess import MultiProcessCollector
from prometheus_client.registry import Collector

from binary_semantic_cache import __version__
from binary_semantic_cache.binary_semantic_cache_rs import HammingSimilarity
from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.proxy.observe import Record
from binary_semantic_cache.proxy.watching.tallies import bounded
from binary_semantic_cache.text.budget import BudgetClass
from binary_semantic_cache.text.semantic import SemanticCache

__all__ = ["ExtraLabel", "Metrics"]

ExtraLabel = Literal["model", "tenant"]

_logger = logging.getLogger(__name__)

_LONGEST = 100
_LOOKUP_BUCKETS = (
    50e-6, 100e-6, 200e-6, 500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 1.0, 5.0,
)  # fmt: skip
_REQUEST_BUCKETS = (
    500e-6, 1e-3, 2e-3, 5e-3, 10e-3, 25e-3, 50e-3, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 30.0, 60.0, 300.0,
)  # fmt: skip
_UPSTREAM_BUCKETS = (0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 20.0, 30.0, 60.0, 120.0, 300.0, 600.0)


class Metrics:
    """Counts requests; a `Watcher` by its method `watch`.

    Args:
        cache: whose size is told.
        labels: `model`, `tenant`: further labels of requests and savings.
        max_names: how many values a label from outside may take.

    Raises:
        InvalidValueError: a label is unknown.
    """

    def __init__(
        self, cache: SemanticCache, *, labels: Sequence[ExtraLabel] = (), max_names: int = 64
    ) -> None:
        unknown = set(labels) - {"model", "tenant"}
        if unknown:
            raise InvalidValueError(f"expected labels among model and tenant, got {sorted(unknown)[0]!r}")
        self._labels: Final = tuple(labels)
        self._max_names = max_names
        self._names: dict[str, Tallied[str]] = {}
        self._registry = CollectorRegistry()
        self._of_cache = _CacheCollector(cache)
        self._make_counters()
        self._make_histograms()

    def _make_counters(self) -> None:
        self._requests = self._counter(
            "bsc_requests", "Requests by API, outcome and class of the status sent.",
            "api", "outcome", "status_class", *self._labels,
        )  # fmt: skip
        self._misses = self._counter("bsc_misses", "Requests that the cache did not answer.", "reason")
        self._bypasses = self._counter("bsc_bypasses", "Requests that the cache was not asked.", "reason")
        self._shadow_hits = self._counter(
            "bsc_shadow_hits",
            "Hits that shadow mode did not serve, by the kind they would have been.",
            "kind",
        )
        self._vetoes = self._counter(
            "bsc_guard_vetoes", "Misses whose nearest candidate a guard vetoed.", "guard"
        )
        self._not_stored = self._counter("bsc_not_stored", "Answers that were not stored.", "reason")
        self._stored = self._counter("bsc_stored", "Answers that were stored.")
        self._saved_tokens = self._counter(
            "bsc_saved_tokens", "Tokens that hits and joined requests did not cost.", "direction",
            *self._labels,
        )  # fmt: skip
        self._saved_cost = self._counter(
            "bsc_saved_cost", "Money that they did not cost, in the currency of the configured prices.",
            *self._labels,
        )  # fmt: skip
        self._saved_seconds = self._counter(
            "bsc_saved_seconds", "Time of the upstream that they did not wait for.", *self._labels
        )
        self._in_flight = Gauge(
            "bsc_requests_in_flight", "Requests under way.", registry=self._registry,
            multiprocess_mode="livesum",
        )  # fmt: skip

    def _make_histograms(self) -> None:
        self._total = self._histogram(
            "bsc_request_seconds", "From a request's head to its reply's last byte.", _REQUEST_BUCKETS,
            "outcome",
        )  # fmt: skip
        self._first_byte = self._histogram(
            "bsc_first_byte_seconds", "To the first byte of the reply's body.", _REQUEST_BUCKETS, "outcome"
        )
        self._lookup = self._histogram(
            "bsc_lookup_seconds", "The cache's verdict, the embedding included.", _LOOKUP_BUCKETS, "outcome"
        )
        self._upstream = self._histogram(
            "bsc_upstream_seconds", "The upstream's answer, to its last byte.", _UPSTREAM_BUCKETS, "api"
        )

    def _counter(self, name: str, help_text: str, *labels: str) -> Counter:
        return Counter(name, help_text, labels, registry=self._registry)

    def _histogram(self, name: str, help_text: str, buckets: Sequence[float], *labels: str) -> Histogram:
        return Histogram(name, help_text, labels, buckets=buckets, registry=self._registry)

    def watch(self, record: Record) -> None:
        """Counts one request; never raises."""
        try:
            self._count(record)
        except Exception as exc:  # the request was answered: what is told of it may not fail it
            _logger.warning("a request was not counted: %s", type(exc).__name__)

    def _count(self, record: Record) -> None:
        api, outcome = self._few("api", record.api), record.outcome
        extra = [self._few(label, getattr(record, label)) for label in self._labels]
        self._requests.labels(api, outcome, f"{record.status // 100}xx", *extra).inc()
        if outcome in ("miss", "bypass"):
            counter = self._misses if outcome == "miss" else self._bypasses
            counter.labels(self._few("reason", record.reason or "unknown")).inc()
        if record.would_be:
            self._shadow_hits.labels(record.would_be).inc()
        for guard in record.guards:
            self._vetoes.labels(self._few("guard", guard)).inc()
        if record.stored == "stored":
            self._stored.inc()
        elif record.stored:
            self._not_stored.labels(self._few("not_stored", record.stored)).inc()
        if (saved := record.saved) is not None:
            self._saved_tokens.labels("input", *extra).inc(saved.input_tokens)
            self._saved_tokens.labels("output", *extra).inc(saved.output_tokens)
            _child(self._saved_cost, extra).inc(saved.cost)
            _child(self._saved_seconds, extra).inc(saved.seconds)
        self._total.labels(outcome).observe(record.total_seconds)
        self._first_byte.labels(outcome).observe(record.first_byte_seconds)
        if outcome != "bypass":
            self._lookup.labels(outcome).observe(record.lookup_seconds)
        if record.upstream_seconds is not None:
            self._upstream.labels(api).observe(record.upstream_seconds)

    def _few(self, label: str, value: str) -> str:
        """`value`, or `other` once the label has as many values as it may."""
        names = self._names.setdefault(label, Tallied())
        # One value that cannot be written would fail every scrape from here on.
        sayable = value[:_LONGEST].encode("utf-8", "replace").decode()
        kept = bounded(names, sayable, self._max_names)
        names[kept] += 1
        return kept

    @contextmanager
    def under_way(self) -> Iterator[None]:
        """Counts a request as under way while the block runs."""
        self._in_flight.inc()
        try:
            yield
        finally:
            self._in_flight.dec()

    def exposition(self, accept: str = "") -> tuple[bytes, str]:
        """All metrics as text, and its content type.

        Args:
            accept: what the scraper accepts: OpenMetrics or Prometheus' own format.
        """
        encode, content_type = choose_encoder(accept)
        registry = CollectorRegistry()
        if os.environ.get("PROMETHEUS_MULTIPROC_DIR"):
            MultiProcessCollector(registry)  # type: ignore[no-untyped-call]
        else:
            registry.register(_Whole(self._registry))
        registry.register(self._of_cache)
        return encode(registry), content_type


class _Whole(Collector):
    """The metrics of another registry."""

    def __init__(self, registry: CollectorRegistry) -> None:
        self._registry = registry

    def collect(self) -> Iterable[Metric]:
        return self._registry.collect()


class _CacheCollector(Collector):
    """The size of the cache at the moment of a scrape, and what was built."""

    def __init__(self, cache: SemanticCache) -> None:
        self._cache = cache

    def collect(self) -> Iterable[Metric]:
        build = GaugeMetricFamily(
            "bsc_build_info", "1, with the version and the instruction set.", labels=("version", "isa")
        )
        build.add_metric((__version__, HammingSimilarity().isa), 1.0)
        yield build
        try:
            stats = self._cache.stats()
        except Exception as exc:  # a store that is down leaves gaps, not a scrape that fails
            _logger.warning("the cache's size could not be read: %s", type(exc).__name__)
            return
        yield GaugeMetricFamily("bsc_entries", "Entries in the store.", stats.entries)
        yield GaugeMetricFamily(
            "bsc_entry_bytes", "Bytes of prompts, answers, codes and vectors in the store.", stats.n_bytes
        )
        yield GaugeMetricFamily(
            "bsc_index_bytes", "Bytes of the index of the process that was scraped.", stats.index_bytes
        )
        yield from _of_budget(stats.budget)


def _of_budget(classes: Mapping[str, BudgetClass]) -> Iterable[Metric]:
    """Gauges, since a reset takes the counts back."""
    for name, help_text, values in (
        ("judged", "Semantic hits that were judged.", {c: k.judged for c, k in classes.items()}),
        ("wrong", "Those of them that were wrong.", {c: k.wrong for c, k in classes.items()}),
        ("wrong_low", "Lower bound of the share of wrong hits.", {c: k.low for c, k in classes.items()}),
        ("wrong_high", "Upper bound of the share of wrong hits.", {c: k.high for c, k in classes.items()}),
        ("stopped", "1 where only exact matches are served.", {c: k.stopped for c, k in classes.items()}),
    ):
        gauge = GaugeMetricFamily(f"bsc_budget_{name}", help_text, labels=("class",))
        for class_name, value in values.items():
            gauge.add_metric((class_name,), float(value))
        yield gauge


def _child(counter: Counter, values: list[str]) -> Counter:
    return counter.labels(*values) if values else counter
