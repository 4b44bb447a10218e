"""`bsc replay` as a command: what it prints, writes and refuses."""

import json
import re
import xml.etree.ElementTree as ElementTree

import pytest

from binary_semantic_cache.cli.main import main
from binary_semantic_cache.embedders import from_name
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.proof.pairs import read_pairs
from binary_semantic_cache.proof.replay_charts import Curve, chart
from test_replay import asked, written
from words import WordEmbedder


@pytest.fixture(autouse=True)
def _embedder_of_words(monkeypatch):
    # The command asks for the embedder when it runs; the model of a release is not what is tested here.
    monkeypatch.setattr(from_name, "embedder_from", lambda name: WordEmbedder())


@pytest.fixture
def log(tmp_path):
    rows = [{**row, "set": i % 3} for i, row in enumerate(asked(150, tenants=2))]
    return str(written(tmp_path / "log.jsonl.gz", rows))


def test_the_table_has_a_row_a_cache_and_says_what_it_stands_on(log, capsys):
    assert main(["replay", log, "--thresholds", "0.8,0.9", "--sizes", "5,none"]) == 0
    out = capsys.readouterr().out
    assert out.startswith("150 requests, format plain\n")
    assert len(re.findall(r"^ *0\.[89]0 ", out, re.MULTILINE)) == 4
    assert "  ttl  " not in out
    for sentence in ("one tenant", "no token counts", "no latency", "That is a stand-in", "too narrow"):
        assert sentence in out


def test_with_the_judge_thresholds_are_probabilities_and_that_is_said(log, capsys, monkeypatch, int8_model):
    monkeypatch.setattr(from_name, "embedder_from", lambda name: LocalEmbedder(int8_model))
    assert main(["replay", log, "--judge", "--sizes", "none", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert [cache["threshold"] for cache in found["caches"]] == [0.831, 0.904, 0.933]
    assert {(cache["threshold_of"], cache["least_cosine"]) for cache in found["caches"]} == {
        ("probability", 0.66)
    }
    assert any("The shipped judge stands behind the guards" in said for said in found["assumptions"])
    hits = [cache["hits"] for cache in found["caches"]]
    assert hits == sorted(hits, reverse=True)
    assert main(["replay", log, "--judge", "--sizes", "none"]) == 0
    assert re.search(r"^ *0\.904 ", capsys.readouterr().out, re.MULTILINE)


def test_tenants_labels_and_times_to_live_change_figures_and_notes(log, capsys):
    assert main(["replay", log, "--sizes", "none", "--json"]) == 0
    together = json.loads(capsys.readouterr().out)
    options = ["--tenant-field", "who", "--truth-field", "set", "--ttls", "30s,none", "--json"]
    assert main(["replay", log, "--sizes", "none", *options]) == 0
    apart = json.loads(capsys.readouterr().out)
    assert apart["with_tenant"] == apart["with_label"] == 150
    assert together["caches"][0]["hits"] > apart["caches"][1]["hits"] > apart["caches"][0]["hits"]
    assert apart["caches"][0]["ttl_seconds"] == 30.0
    assert not any("one tenant" in sentence for sentence in apart["assumptions"])
    assert apart["caches"][1]["wrong"]["all"]["judged"] == apart["caches"][1]["hits"]


def test_json_adds_up(log, capsys):
    assert main(["replay", log, "--json", "--thresholds", "0.8", "--sizes", "5,50"]) == 0
    found = json.loads(capsys.readouterr().out)
    for cache in found["caches"]:
        assert cache["hits"] + sum(cache["misses"].values()) == cache["requests"] == 150
        assert cache["exact_hits"] + cache["semantic_hits"] == cache["hits"] == cache["saved"]["calls"]
        assert cache["entries"] <= cache["max_entries"]
        assert cache["entries"] + cache["evictions"] == sum(cache["misses"].values())
    assert found["timeline"][-1]["hits"] == [cache["hits"] for cache in found["caches"]]


def test_pairs_for_labelling_are_what_the_commands_about_pairs_read(log, tmp_path, capsys):
    out = tmp_path / "pairs.jsonl"
    assert main(["replay", log, "--sample-out", str(out), "--sample", "5"]) == 0
    pairs = list(read_pairs(out))
    assert len(pairs) == len({pair.id for pair in pairs}) == 5
    assert all(pair.a != pair.b for pair in pairs)
    assert f"wrote {out}" in capsys.readouterr().out


def test_the_page_fetches_nothing_runs_nothing_and_quotes_nobody(log, tmp_path, capsys):
    out = tmp_path / "report.html"
    assert main(["replay", log, "--html", str(out), "--truth-field", "set", "--sizes", "5,50,none"]) == 0
    page = out.read_text()
    assert page.count("<svg ") == 4
    assert "<script" not in page
    assert not re.search(r"(src|href|url)\s*[=(]", page)
    assert "prefers-color-scheme: dark" in page
    assert "renewal" not in page
    for figure in re.findall(r"<svg .*?</svg>", page):
        ElementTree.fromstring(figure)


def test_prices_make_money_of_tokens(tmp_path, capsys):
    log = written(tmp_path / "log.jsonl", [{"prompt": "how do routers work", "model": "m"}] * 3)
    prices = tmp_path / "prices.json"
    prices.write_text('{"m": [1000000, 0]}')
    assert main(["replay", str(log), "--prices", str(prices), "--json", "--sizes", "9"]) == 0
    saved = json.loads(capsys.readouterr().out)["caches"][0]["saved"]
    assert saved["cost"] == saved["input_tokens"] > 0


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--prices", "none.json"], "expected prices, got nothing at none.json"),
        (["--thresholds", "1.5"], "expected thresholds above 0 and up to 1, got 1.5"),
        (["--sizes", "0"], "expected sizes of 1 or more, got 0"),
        (["--agree-from", "2"], "expected an agreement above 0 and up to 1, got 2.0"),
        (["--prompt-field", "nothing"], "got none that can be read"),
        (["--judge"], "expected an embedder whose fingerprint begins with all-MiniLM-L6-v2"),
    ],
)
def test_what_cannot_be_done_is_one_line_and_status_1(log, capsys, arguments, message):
    assert main(["replay", log, *arguments]) == 1
    assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    "arguments", [["--sizes", "ten"], ["--ttls", "1w"], ["--limit", "0"], ["--format", "x"]]
)
def test_wrong_usage_is_status_2(log, capsys, arguments):
    with pytest.raises(SystemExit) as stop:
        main(["replay", log, *arguments])
    assert stop.value.code == 2
    assert "expected" in (err := capsys.readouterr().err) or "invalid choice" in err


def test_rows_that_cannot_be_read_are_counted_and_named_without_their_text(tmp_path, capsys):
    log = tmp_path / "log.jsonl"
    log.write_text('{"prompt": "how do routers work"}\nsecret words\n{"prompt": 5}\n')
    assert main(["replay", str(log), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["requests"], found["rows_unreadable"]) == (1, 2)
    assert f"{log}:2: " in found["unreadable_examples"][0]
    assert "secret" not in json.dumps(found)


def test_a_curve_of_one_point_or_of_nothing_but_zeros_can_be_drawn():
    for curve in (Curve("a", [0.8], [0.0]), Curve("b", [0.8], [0.5], [0.4], [0.6])):
        drawn = chart([curve], "x", "y <&>")
        ElementTree.fromstring(re.search(r"<svg .*</svg>", drawn).group())
