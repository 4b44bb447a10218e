"""Prometheus metrics of the proxy: what is counted, under which names, in one process and in several."""

import json
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
from prometheus_client.openmetrics.parser import text_string_to_metric_families as openmetrics
from prometheus_client.parser import text_string_to_metric_families as prometheus

from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.budget import Budget
from binary_semantic_cache.text.semantic import SemanticCache
from watched import Watched, chat, record
from words import WordEmbedder

ROOT = Path(__file__).parents[1]


@pytest.fixture
def cache():
    with SemanticCache(embedder=WordEmbedder(), threshold=0.7) as made:
        yield made


@pytest.fixture
def budgeted():
    with SemanticCache(embedder=WordEmbedder(), budget=Budget()) as made:
        made.budget.judged("m-1", right=True)
        yield made


def samples(metrics):
    """`{(name, labels): value}` of a scrape, labels as a sorted tuple of pairs."""
    text = metrics.exposition()[0].decode()
    return {
        (sample.name, tuple(sorted(sample.labels.items()))): sample.value
        for family in prometheus(text)
        for sample in family.samples
    }


def value(metrics, name, **labels):
    return samples(metrics).get((name, tuple(sorted(labels.items()))))


def test_requests_are_counted_by_api_outcome_and_class_of_status(cache):
    metrics = Metrics(cache)
    metrics.watch(record())
    metrics.watch(record(status=502))
    metrics.watch(record(outcome="semantic"))
    metrics.watch(record(outcome="bypass", api="other", reason="mode", status=499))
    told = {labels: n for (name, labels), n in samples(metrics).items() if name == "bsc_requests_total"}
    assert {tuple(v for _, v in labels): n for labels, n in told.items()} == {
        ("openai.chat", "miss", "2xx"): 1,
        ("openai.chat", "miss", "5xx"): 1,
        ("openai.chat", "semantic", "2xx"): 1,
        ("other", "bypass", "4xx"): 1,
    }
    assert value(metrics, "bsc_misses_total", reason="no_candidate") == 2
    assert value(metrics, "bsc_bypasses_total", reason="mode") == 1


def test_hits_of_shadow_mode_are_counted_apart_and_are_misses(cache):
    metrics = Metrics(cache)
    metrics.watch(record(reason="shadow", would_be="semantic", hit_id="hit_00", entry_id=1))
    assert value(metrics, "bsc_shadow_hits_total", kind="semantic") == 1
    assert value(metrics, "bsc_misses_total", reason="shadow") == 1


def test_guards_and_reasons_not_to_store_are_counted(cache):
    metrics = Metrics(cache)
    metrics.watch(record(guards=("numbers", "negation"), stored="truncated"))
    metrics.watch(record(guards=("numbers",)))
    assert value(metrics, "bsc_guard_vetoes_total", guard="numbers") == 2
    assert value(metrics, "bsc_guard_vetoes_total", guard="negation") == 1
    assert value(metrics, "bsc_not_stored_total", reason="truncated") == 1
    assert value(metrics, "bsc_stored_total") == 1


def test_savings_of_hits_and_joined_requests_add_up(cache):
    metrics = Metrics(cache)
    metrics.watch(record(outcome="exact", saved=Saving(10, 5, 0.5, 2.0)))
    metrics.watch(record(reason="joined", saved=Saving(1, 2, 0.25, 1.5)))
    metrics.watch(record())
    assert value(metrics, "bsc_saved_tokens_total", direction="input") == 11
    assert value(metrics, "bsc_saved_tokens_total", direction="output") == 7
    assert value(metrics, "bsc_saved_cost_total") == 0.75
    assert value(metrics, "bsc_saved_seconds_total") == 3.5


def test_times_fall_into_buckets_and_the_lookup_has_them_from_50_microseconds(cache):
    metrics = Metrics(cache)
    metrics.watch(
        record(outcome="exact", lookup_seconds=30e-6, total_seconds=0.002, first_byte_seconds=0.001)
    )
    metrics.watch(record(upstream_seconds=3.0))
    metrics.watch(record(outcome="bypass", reason="mode", api="other"))
    assert value(metrics, "bsc_lookup_seconds_bucket", outcome="exact", le="5e-05") == 1
    assert value(metrics, "bsc_lookup_seconds_count", outcome="bypass") is None
    assert value(metrics, "bsc_request_seconds_sum", outcome="exact") == 0.002
    assert value(metrics, "bsc_first_byte_seconds_bucket", outcome="exact", le="0.001") == 1
    assert value(metrics, "bsc_upstream_seconds_bucket", api="openai.chat", le="2.5") == 0
    assert value(metrics, "bsc_upstream_seconds_bucket", api="openai.chat", le="5.0") == 1


def test_the_size_of_the_cache_is_that_at_the_scrape(cache):
    metrics = Metrics(cache)
    assert value(metrics, "bsc_entries") == 0
    cache.put(chat("a question of some words"), "an answer")
    assert value(metrics, "bsc_entries") == 1
    assert value(metrics, "bsc_entry_bytes") == cache.stats().n_bytes
    assert value(metrics, "bsc_index_bytes") == cache.stats().index_bytes


def test_a_store_that_is_down_leaves_a_gap_and_the_rest_is_told(cache, monkeypatch):
    metrics = Metrics(cache)
    metrics.watch(record())

    def down():
        raise OSError("no such store")

    monkeypatch.setattr(cache, "stats", down)
    told = {name for name, _ in samples(metrics)}
    assert "bsc_requests_total" in told
    assert "bsc_build_info" in told
    assert "bsc_entries" not in told


def test_requests_under_way_are_counted_while_they_are(cache):
    metrics = Metrics(cache)
    with metrics.under_way(), metrics.under_way():
        assert value(metrics, "bsc_requests_in_flight") == 2
    with pytest.raises(KeyError), metrics.under_way():
        raise KeyError
    assert value(metrics, "bsc_requests_in_flight") == 0


def test_neither_tenant_nor_model_is_a_label_unless_asked_for(cache):
    plain, labelled = Metrics(cache), Metrics(cache, labels=("model", "tenant"))
    for metrics in (plain, labelled):
        metrics.watch(record(tenant="acme-corp", model="model-x", outcome="exact"))
    assert b"acme-corp" not in plain.exposition()[0]
    assert b"model-x" not in plain.exposition()[0]
    labels = {"api": "openai.chat", "outcome": "exact", "status_class": "2xx"}
    assert value(labelled, "bsc_requests_total", **labels, model="model-x", tenant="acme-corp") == 1
    assert value(labelled, "bsc_saved_cost_total", model="model-x", tenant="acme-corp") == 0.0021


def test_an_unknown_label_is_refused(cache):
    with pytest.raises(InvalidValueError, match="expected labels among model and tenant, got 'prompt'"):
        Metrics(cache, labels=("prompt",))


def test_a_label_from_outside_takes_a_bounded_number_of_values(cache):
    metrics = Metrics(cache, labels=("model",), max_names=3)
    for i in range(50):
        metrics.watch(record(model=f"model-{i}", outcome="exact"))
    told = {
        dict(labels)["model"]: n
        for (name, labels), n in samples(metrics).items()
        if name == "bsc_requests_total"
    }
    assert told == {"model-0": 1, "model-1": 1, "model-2": 1, "other": 47}


def test_a_label_from_outside_is_cut_and_never_fails_a_scrape(cache):
    metrics = Metrics(cache, labels=("model",))
    metrics.watch(record(model='a\n"b\\\ud800' + "x" * 1000))
    (labels,) = [dict(labels) for name, labels in samples(metrics) if name == "bsc_requests_total"]
    assert labels["model"] == 'a\n"b\\?' + "x" * 94


def test_two_proxies_of_one_process_do_not_share_counters(cache):
    one, other = Metrics(cache), Metrics(cache)
    one.watch(record())
    assert value(one, "bsc_misses_total", reason="no_candidate") == 1
    assert value(other, "bsc_misses_total", reason="no_candidate") is None


def test_a_record_that_cannot_be_counted_fails_nobody_and_is_logged_without_content(cache, caplog):
    Metrics(cache).watch(record(total_seconds="canary"))
    assert "not counted: " in caplog.text
    assert "canary" not in caplog.text


def test_both_formats_parse_by_the_accept_header(cache):
    metrics = Metrics(cache)
    metrics.watch(record(outcome="semantic"))
    text, content_type = metrics.exposition("application/openmetrics-text; version=1.0.0")
    assert content_type.startswith("application/openmetrics-text")
    assert "bsc_requests" in {family.name for family in openmetrics(text.decode())}
    assert metrics.exposition("text/plain")[1].startswith("text/plain")


def test_no_content_is_in_a_scrape():
    watched = Watched()
    watched.put("a canary question about canaries")
    watched.ask("a canary question about canaries")
    watched.ask("another canary of a question")
    assert b"canar" not in watched.metrics.exposition()[0].lower()


_WORKER = """
import sys
sys.path.insert(0, "tests")
from watched import Watched, record
watched = Watched()
for _ in range(int(sys.argv[1])):
    watched.metrics.watch(record(outcome="exact"))
with watched.metrics.under_way():
    sys.stdout.write(watched.metrics.exposition()[0].decode())
"""


def test_several_processes_tell_their_sum(tmp_path):
    environment = {**os.environ, "PROMETHEUS_MULTIPROC_DIR": str(tmp_path)}
    for n in (2, 3):
        command = [sys.executable, "-W", "error", "-c", _WORKER, str(n)]
        told = subprocess.run(command, env=environment, cwd=ROOT, check=True, capture_output=True, text=True)
    families = {family.name: family for family in prometheus(told.stdout)}
    (requests,) = families["bsc_requests"].samples
    assert (requests.value, requests.labels["outcome"]) == (5, "exact")
    assert families["bsc_build_info"].samples
    assert families["bsc_entries"].samples[0].value == 0
    assert families["bsc_request_seconds"].type == "histogram"


def test_the_documented_metrics_are_those_there_are(cache):
    metrics = Metrics(cache)
    text = (ROOT / "docs/proxy-watching.md").read_text()
    documented = dict(re.findall(r"^\| `(bsc_\w+)` \| (\w+) \|", text, re.MULTILINE))
    scraped = {
        family.name + ("_total" if family.type == "counter" else ""): family.type
        for family in prometheus(metrics.exposition()[0].decode())
        if not family.name.endswith("_created")
    }
    assert documented == scraped


def test_the_dashboard_for_grafana_asks_for_metrics_and_labels_that_there_are(budgeted):
    metrics = Metrics(budgeted)
    for outcome in ("exact", "semantic", "miss", "bypass"):
        metrics.watch(record(outcome=outcome, reason="x", guards=("numbers",), stored="truncated"))
    present = {}
    for name, labels in samples(metrics):
        present.setdefault(name, set()).update(label for label, _ in labels)
    board = json.loads((ROOT / "packaging/grafana/bsc-dashboard.json").read_text())
    queries = [target["expr"] for panel in board["panels"] for target in panel.get("targets", [])]
    assert len(queries) >= 10
    for query in queries:
        names = re.findall(r"\bbsc_\w+", query)
        assert names, query
        assert set(names) <= present.keys(), query
        used = {
            label for clause in re.findall(r"by \(([^)]*)\)", query) for label in re.findall(r"\w+", clause)
        }
        used |= set(re.findall(r"[{,]\s*(\w+)\s*[=!]~?", query)) - {"job", "instance"}
        assert used <= set().union(*(present[name] for name in names)), query
