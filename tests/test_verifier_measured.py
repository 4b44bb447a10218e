"""A second model's zone is chosen on some pairs; what it gains is measured on others, by the cache itself."""

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import onnx
import pytest
from benches.quality.ablation import is_asked, served_in_doubt
from benches.quality.evidence import Examiner
from benches.quality.policy_nli import with_any_length
from benches.quality.verifier import measure
from training.judge.examples import Examples
from training.judge.measuring import upper_bound
from training.judge.pairs import TrainingPair
from training.judge.zone import choose, report, scored

from binary_semantic_cache import Judge
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.proof.pairs import Pair
from binary_semantic_cache.proof.remembering import RememberingEmbedder
from binary_semantic_cache.verifiers import CrossEncoder
from tiny_classifier import DEBERTA, write_classifier

ROOT = Path(__file__).parents[1]
STORED = "How do I clean the filter of the washing machine?"
REWORDED = "How can I clean the washing machine's filter?"
PAIRS = [
    Pair("reworded", STORED, REWORDED, True, "c"),
    Pair("equal", STORED, STORED, True, "c"),
    Pair("unlike", STORED, "Where is the filter of the washing machine?", False, "c"),
    Pair("far", STORED, "How tall is the Eiffel Tower?", False, "c"),
]


def drawn(probabilities, labels, category="paraphrase"):
    """Examples that no guard objects to, at a cosine of 1."""
    n = len(labels)
    pairs = [TrainingPair("d", "f", category, f"a{i}", f"b{i}", bool(same)) for i, same in enumerate(labels)]
    rows = np.zeros((n, 384), np.float32)
    rows[:, 0] = 1.0
    return Examples(pairs, rows, rows, np.array(labels, bool), [frozenset()] * n), np.array(probabilities)


def test_the_second_model_is_asked_where_a_zone_can_begin():
    examples, probabilities = drawn([0.04, 0.05, 0.99], [1, 0, 1])
    asked = []

    def score(prompt, candidate):
        asked.append((prompt, candidate))
        return 0.25

    assert scored(examples, probabilities, score).tolist() == [-1.0, 0.25, 0.25]
    assert asked == [("b1", "a1"), ("b2", "a2")]


def test_what_is_chosen_serves_most_within_the_bound():
    """The judge knows nothing, the second model everything: it is asked about all, and all is served."""
    labels = np.arange(400) % 2
    examples, probabilities = drawn(np.full(400, 0.5), labels)
    second = np.where(labels == 1, 0.8, 0.3)
    chosen = choose(examples, probabilities, second)
    assert chosen.low <= 0.5 < chosen.high
    assert (chosen.served, chosen.asked) == (1.0, 1.0)
    wrong = round(chosen.traps * 200)
    assert chosen.bound == pytest.approx(upper_bound(wrong, 200))
    assert chosen.bound <= 0.05
    assert "chosen: Choice(" in report(examples, probabilities, second)


def test_texts_of_other_families_keep_the_bound_by_themselves():
    """Two near and two far traps in a hundred each may pass; the far ones score higher."""
    labels = [1] * 100 + [0] * 100
    near, probabilities = drawn(np.full(200, 0.5), labels)
    far, _ = drawn(np.full(100, 0.5), [0] * 100, "elsewhere")
    rows = np.concatenate([near.asked, far.asked])
    examples = Examples(
        [*near.pairs, *far.pairs], rows, rows, np.concatenate([near.labels, far.labels]), [frozenset()] * 300
    )
    second = np.concatenate([np.full(100, 0.6), np.full(100, 0.3), np.full(100, 0.9)])
    chosen = choose(examples, np.concatenate([probabilities, np.full(100, 0.5)]), second)
    # What tells the near ones apart does not tell these.
    assert chosen is None or chosen.served == 0.0


def test_a_cache_is_measured_and_held_against_its_parts(tmp_path, int8_model):
    embeddings = RememberingEmbedder(LocalEmbedder(int8_model, runtime="rust"))
    evidence = Examiner(embeddings).examine(PAIRS)
    judge = Judge(least_cosine=0.3, verify_between=(0.0, 1.0))
    verifier = CrossEncoder(write_classifier(tmp_path, {"can": [6.0], "Where": [-9.0]}))
    found = measure("these", evidence, embeddings, judge, verifier)
    asked = [one for one in evidence if is_asked(judge, one)]
    assert [one.pair.id for one in asked] == ["reworded", "unlike"]
    assert (found.zone.asked.count, found.zone.asked.n, len(found.seconds)) == (2, 4, 2)
    assert (found.verified.served.count, found.verified.traps.count) == (2, 0)
    assert (found.agreed.served.count, found.agreed.traps.count) == (1, 0)
    assert found.zone.worst.traps.count == 1
    # One trap of two is more than is borne, so it must stay out, and the reworded one may come in.
    assert (found.hindsight.served.count, found.hindsight.traps.count) == (2, 0)
    assert served_in_doubt(judge, asked[0], agrees=True)
    assert not served_in_doubt(judge, asked[0], agrees=False)
    plain = found.plain()
    assert plain["with_verifier"] == {"served": [2, 2], "traps": [0, 2]}
    assert "filter" not in json.dumps(plain)


def test_the_command_prints_a_table_and_writes_counts(tmp_path, int8_model):
    folder = write_classifier(tmp_path / "model", {"how": [1.0]})
    data = tmp_path / "none"
    command = [sys.executable, "-m", "benches.quality.verifier", str(folder), "--smoke", "--data", str(data)]
    command += ["--zone", "0.3", "0.99", "--least-probability", "0.4", "--out", str(tmp_path)]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "verify_between=(0.3, 0.99)" in done.stdout
    assert "| own pairs |" in done.stdout
    (written,) = tmp_path.glob("*verifier.json")
    (result,) = json.loads(written.read_text())["results"]
    assert result["asked"][1] == 12


def test_a_graph_of_fixed_length_becomes_one_of_any(tmp_path):
    folder = write_classifier(tmp_path, {"yes": [1.0]}, inputs=DEBERTA, length=9)
    onnx.save(with_any_length(onnx.load(folder / "model.onnx")), folder / "model.onnx")
    model = CrossEncoder(folder)
    assert model.max_tokens is None
    assert model.score("yes " * 20, "yes " * 20) > 0.999
