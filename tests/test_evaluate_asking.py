"""How `bsc evaluate` asks the cache about each pair: what it says is what the cache does."""

from pathlib import Path

import pytest

from binary_semantic_cache import SemanticCache
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import EmbedderError, InvalidValueError
from binary_semantic_cache.proof.asking import ALWAYS, NEVER, ask, texts_of
from binary_semantic_cache.proof.pairs import read_pairs
from binary_semantic_cache.proof.remembering import RememberingEmbedder
from binary_semantic_cache.text.judge import Judge
from labelled_pairs import ROWS, pair
from words import WordEmbedder

OWN = Path(__file__).parents[1] / "benches" / "quality" / "pairs.jsonl"


@pytest.fixture(scope="module")
def own_pairs():
    return list(read_pairs(OWN))


def test_each_pair_comes_to_what_the_cache_says_of_it_alone(own_pairs):
    threshold, asked = ask(own_pairs, WordEmbedder(), threshold=0.8)
    assert threshold == 0.8
    outcomes = set()
    for one in asked:
        with SemanticCache(embedder=WordEmbedder(), threshold=0.8) as cache:
            cache.put(one.pair.a, "x")
            verdict = cache.lookup(one.pair.b)
            assert one.outcome == (verdict.kind if verdict else verdict.reason.value)
            outcomes.add(one.outcome)
    assert {"semantic", "guard", "below_threshold"} <= outcomes


@pytest.mark.parametrize("threshold", [0.5, 0.7, 0.8, 0.85, 0.9, 0.95])
def test_one_score_a_pair_tells_what_the_cache_serves_at_any_threshold(own_pairs, threshold):
    _, once = ask(own_pairs, WordEmbedder(), threshold=0.99)
    _, again = ask(own_pairs, WordEmbedder(), threshold=threshold)
    assert [one.served_at(threshold) for one in once] == [one.served for one in again]


def test_exact_repeats_are_always_served_and_classes_of_the_policy_never():
    repeat = pair(a="What is DNS?", b="What is DNS?")
    order = pair(a="Cancel the order", b="Cancel the order please")
    _, (exact, policy) = ask([repeat, order], WordEmbedder(), threshold=0.1)
    assert (exact.outcome, exact.score) == ("exact", ALWAYS)
    assert (policy.outcome, policy.score, policy.detail) == ("policy", NEVER, "action")


def test_a_refused_pair_names_its_guards_and_what_they_saw():
    _, (one,) = ask([pair(a=ROWS[2]["a"], b=ROWS[2]["b"])], WordEmbedder(), threshold=0.2)
    assert (one.outcome, one.guards, one.score) == ("guard", ("numbers",), NEVER)
    assert "45" in one.detail


def test_conversations_are_asked_with_their_earlier_turns_as_scope():
    last = {"role": "user", "content": "What does the plan cost?"}
    basic, family = (
        [{"role": "user", "content": "Which?"}, {"role": "assistant", "content": name}, last]
        for name in ("Basic", "Family")
    )
    _, (same, other) = ask([pair(a=basic, b=basic), pair(a=basic, b=family)], WordEmbedder())
    assert (same.outcome, other.outcome, other.similarity) == ("exact", "no_candidate", None)


def test_every_text_is_embedded_once_and_in_batches():
    calls = []

    class Counting(WordEmbedder):
        def embed(self, texts):
            calls.append(len(texts))
            return super().embed(texts)

    pairs = [pair(a=f"question number {i}", b=f"a question of number {i}") for i in range(50)]
    remembering = RememberingEmbedder(Counting())
    done = []
    remembering.learn(texts_of(pairs), done.append)
    assert sum(done) == 100
    ask(pairs, remembering)
    assert sum(calls) == 100
    assert len(calls) == 4


def test_a_text_beyond_the_window_is_left_to_the_cache_to_refuse():
    long = pair(a=" ".join(["word"] * 100), b=" ".join(["word"] * 101))
    remembering = RememberingEmbedder(WordEmbedder())
    remembering.learn(texts_of([long]))
    assert len(remembering) == 0
    _, (one,) = ask([long], remembering)
    assert (one.outcome, one.score) == ("too_long", NEVER)


def test_an_embedder_that_fails_is_an_error_and_no_miss():
    class Broken(WordEmbedder):
        def embed(self, texts):
            raise EmbedderError("down")

    with pytest.raises(EmbedderError):
        ask([pair()], Broken())


def test_a_verifier_that_refuses_is_no_matter_of_the_threshold():
    near = pair(a=ROWS[0]["a"], b=ROWS[0]["b"])
    _, (one,) = ask([near], WordEmbedder(), threshold=0.2, verifier=lambda a, b: False)
    assert (one.outcome, one.score) == ("verifier", NEVER)


@pytest.fixture(scope="module")
def model(int8_model):
    return RememberingEmbedder(LocalEmbedder(int8_model))


@pytest.mark.parametrize("least", [0.5, 0.8, 0.904, 0.93])
def test_with_a_judge_one_probability_a_pair_tells_what_is_served_at_any(own_pairs, model, least):
    threshold, once = ask(own_pairs, model, judge=Judge(least_probability=1.0))
    assert threshold == 1.0
    _, again = ask(own_pairs, model, judge=Judge(least_probability=least))
    assert [one.served_at(least) for one in once] == [one.served for one in again]
    assert {one.outcome for one in again} >= {"semantic", "guard"}


def test_with_a_judge_the_least_cosine_stays_and_is_no_matter_of_the_threshold(own_pairs, model):
    _, asked = ask(own_pairs, model, judge=Judge(least_probability=0.0, least_cosine=0.8))
    far = [one for one in asked if one.outcome == "below_threshold"]
    assert far
    assert all(one.score == NEVER and one.similarity < 0.8 for one in far)


def test_a_judge_and_a_verifier_are_not_asked_together(own_pairs, model):
    with pytest.raises(InvalidValueError, match="expected a judge or a verifier, got both"):
        ask(own_pairs, model, judge=Judge(), verifier=lambda a, b: True)
