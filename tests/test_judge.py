"""The judge gives probabilities, and a cache with a judge serves by them."""

import numpy as np
import pytest

from binary_semantic_cache import Judge, SemanticCache
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import (
    CorruptFileError,
    DimensionError,
    FormatVersionError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
)
from binary_semantic_cache.text.judge import TextJudge
from binary_semantic_cache.text.vectors import pack, unit
from binary_semantic_cache.text.verdict import MissReason
from semantic_caches import make, reason

STORED = "How do I stop the washing machine from shaking?"
REWORDED = "What can I do so that the washing machine does not shake?"
UNLIKE = "Which detergent suits the washing machine?"


@pytest.fixture(scope="module")
def embedder(int8_model):
    return LocalEmbedder(int8_model, runtime="rust")


@pytest.fixture(scope="module")
def judge():
    return Judge()


def scores(judge, embedder, prompt, candidates):
    asked, *kept = (unit(row) for row in embedder.embed([prompt, *candidates]))
    return judge.score(prompt, asked, candidates, [pack(row, "int8") for row in kept])


def test_a_rewording_is_likelier_than_another_question(judge, embedder):
    same, other = scores(judge, embedder, STORED, [REWORDED, UNLIKE])
    assert 0.0 <= other < same <= 1.0


def test_several_candidates_are_judged_as_each_alone(judge, embedder):
    together = scores(judge, embedder, STORED, [REWORDED, UNLIKE])
    assert together == [scores(judge, embedder, STORED, [one])[0] for one in (REWORDED, UNLIKE)]


def test_without_a_vector_nothing_is_said(judge, embedder):
    (asked,) = embedder.embed([STORED])
    assert judge.score(STORED, unit(asked), [REWORDED, REWORDED], [b"", b"\x01damaged"]) == [None, None]


def test_as_many_vectors_as_candidates_are_needed(judge, embedder):
    with pytest.raises(DimensionError, match="expected 1 vectors, one a candidate, got 0"):
        judge.score(STORED, np.zeros(384, np.float32), [REWORDED], [])


def test_lone_surrogates_are_judged(judge, embedder):
    (asked,) = embedder.embed([STORED])
    (score,) = judge.score("\ud800", unit(asked), ["\udfff"], [pack(unit(asked), "float16")])
    assert 0.0 <= score <= 1.0


def test_the_shipped_model_is_for_embeddings_of_384_numbers(judge):
    assert judge.embedding_dim == 384
    assert TextJudge.feature_names[0] == "cosine"


def test_a_cache_with_a_judge_serves_by_probability(judge, embedder):
    for least, served in ((0.0, True), (1.0, False)):
        strict = Judge(least_probability=least, least_cosine=0.3)
        with SemanticCache(embedder=embedder, judge=strict) as cache:
            cache.put(STORED, "a level")
            verdict = cache.lookup(REWORDED)
            assert bool(verdict) is served
            candidate = verdict if served else verdict.nearest
            assert 0.0 < candidate.probability < 1.0
            if not served:
                assert reason(verdict) is MissReason.JUDGE
                assert verdict.detail == f"{candidate.probability:.3f}"


def test_guards_come_before_the_judge(embedder):
    with SemanticCache(embedder=embedder, judge=Judge(least_probability=0.0)) as cache:
        cache.put("Can I park here for 30 minutes?", "yes")
        verdict = cache.lookup("Can I park here for 45 minutes?")
        assert (reason(verdict), verdict.nearest.probability) == (MissReason.GUARD, None)


@pytest.mark.parametrize(
    ("zone", "agrees", "served", "said", "asked"),
    [
        ((-0.02, -0.01), True, True, None, 0),
        ((-0.01, 0.01), True, True, None, 1),
        ((-0.01, 0.01), False, False, MissReason.VERIFIER, 1),
        ((0.01, 0.02), True, False, MissReason.JUDGE, 0),
    ],
)
def test_in_the_grey_zone_alone_the_verifier_decides(embedder, judge, zone, agrees, served, said, asked):
    """The zone lies about the probability that the judge gives, as if that were 0."""
    (probability,) = scores(judge, embedder, REWORDED, [STORED])
    low, high = (probability + end for end in zone)
    calls = []

    def verifier(prompt, candidate):
        calls.append((prompt, candidate))
        return agrees

    doubting = Judge(least_probability=(low + high) / 2, least_cosine=0.3, verify_between=(low, high))
    with SemanticCache(embedder=embedder, judge=doubting, verifier=verifier) as cache:
        cache.put(STORED, "a level")
        verdict = cache.lookup(REWORDED)
        assert bool(verdict) is served
        if not served:
            assert reason(verdict) is said
    assert calls == [(REWORDED, STORED)] * asked


def test_a_verifier_serves_in_the_grey_zone_what_the_judge_alone_would_not(embedder, judge):
    (probability,) = scores(judge, embedder, REWORDED, [STORED])
    least = (1.0 + probability) / 2
    for zone, served in ((None, False), ((0.0, least), True)):
        doubting = Judge(least_probability=least, least_cosine=0.3, verify_between=zone)
        with SemanticCache(embedder=embedder, judge=doubting, verifier=lambda prompt, other: True) as cache:
            cache.put(STORED, "a level")
            assert bool(cache.lookup(REWORDED)) is served


def test_a_grey_zone_needs_a_verifier(embedder):
    with pytest.raises(InvalidValueError, match=r"expected a verifier .*verify_between=\(0.5, 0.95\)"):
        SemanticCache(embedder=embedder, judge=Judge(verify_between=(0.5, 0.95)))


@pytest.mark.parametrize("zone", [(0.95, 0.99), (0.5, 0.9), (0.99, 0.5)])
def test_a_grey_zone_lies_around_the_least_probability(zone):
    with pytest.raises(InvalidValueError, match=r"expected verify_between around least_probability 0\.904"):
        Judge(verify_between=zone)


def test_a_grey_zone_has_two_ends():
    with pytest.raises(InvalidTypeError, match=r"expected verify_between as two probabilities, got 0\.5"):
        Judge(verify_between=0.5)


def test_a_judge_says_what_it_asks_for():
    assert repr(Judge()) == "Judge(least_probability=0.904, least_cosine=0.66)"
    assert "verify_between=(0.5, 0.95)" in repr(Judge(verify_between=(0.5, 0.95)))


def test_the_judge_sets_the_least_cosine_unless_one_is_given(judge, embedder):
    with SemanticCache(embedder=embedder, judge=judge) as cache:
        assert cache.threshold == judge.least_cosine
    with SemanticCache(embedder=embedder, judge=judge, threshold=0.7) as cache:
        assert cache.threshold == 0.7


def test_an_explanation_shows_the_probability(embedder):
    with SemanticCache(embedder=embedder, judge=Judge(least_probability=1.0, least_cosine=0.3)) as cache:
        cache.put(STORED, "a level")
        told = str(cache.explain(REWORDED))
    assert "judge 0." in told
    assert "miss: judge (0." in told


def test_a_judge_of_another_embedder_is_refused(judge):
    with pytest.raises(InvalidValueError, match="expected an embedder whose fingerprint begins with all"):
        make(judge=judge)


def test_a_judge_needs_vectors(judge, embedder):
    with pytest.raises(InvalidValueError, match="expected vectors to be kept for the judge"):
        SemanticCache(embedder=embedder, judge=judge, vectors="none")


def test_what_is_no_judge_is_refused(embedder):
    with pytest.raises(InvalidTypeError, match="expected a Judge or None, got float"):
        SemanticCache(embedder=embedder, judge=0.9)


@pytest.mark.parametrize(("name", "value"), [("least_probability", -0.1), ("least_cosine", 1.5)])
def test_limits_out_of_range_are_refused(name, value):
    with pytest.raises(InvalidValueError, match=f"expected {name} from"):
        Judge(**{name: value})


def test_limits_that_are_no_numbers_are_refused():
    with pytest.raises(InvalidTypeError, match="expected least_probability as a number, got str"):
        Judge(least_probability="high")


def test_models_that_are_none_are_refused(tmp_path):
    with pytest.raises(MissingFileError, match="got nothing at"):
        Judge(model=tmp_path / "none")
    damaged, later, binary = tmp_path / "damaged", tmp_path / "later", tmp_path / "binary"
    damaged.write_text("judge 1\nfeatures cosine\n")
    later.write_text("judge 2\n")
    binary.write_bytes(b"\xff")
    with pytest.raises(CorruptFileError, match="in line 2 of the judge's model"):
        Judge(model=damaged)
    with pytest.raises(FormatVersionError, match='expected a judge\'s model of format version 1, got "2"'):
        Judge(model=later)
    with pytest.raises(InvalidValueError, match="expected a judge's model in ASCII"):
        Judge(model=binary)
