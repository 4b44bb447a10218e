"""SemanticCache: guards, the verifier and reports, each of which can only keep an answer back."""

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.text.verdict import Miss, MissReason, Veto
from semantic_caches import NEAR, QUESTION, Objecting, make, reason


def test_a_guards_veto_is_a_miss_with_its_name(where):
    with make(where(), guards=Objecting()) as cache:
        cache.put(QUESTION, "Paris")
        miss = cache.lookup(NEAR)
        assert (miss.reason, miss.detail) == (MissReason.GUARD, "numbers")
        assert miss.nearest.vetoes == (Veto("numbers", "1 against 2"),)
        assert cache.stats().vetoes == {"numbers": 1}


def test_after_a_veto_the_next_nearest_is_looked_at(where):
    with make(where(), guards=Objecting(), threshold=0.5) as cache:
        cache.put(QUESTION, "vetoed")
        cache.put("what is the capital of france", "served")
        assert cache.lookup(NEAR).response == "served"
        assert cache.stats().vetoes == {"numbers": 1}


def test_a_verifier_has_the_last_word_and_sees_both_prompts(where):
    seen = []

    def verifier(prompt, candidate):
        seen.append((prompt, candidate))
        return False

    with make(where(), verifier=verifier) as cache:
        cache.put(QUESTION, "Paris")
        assert reason(cache.lookup(NEAR)) is MissReason.VERIFIER
        assert cache.lookup(QUESTION)
    assert seen == [(NEAR, QUESTION)]


def test_a_verifier_that_fails_is_a_miss(where):
    def verifier(prompt, candidate):
        raise RuntimeError(prompt)

    with make(where(), verifier=verifier) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR) == Miss(MissReason.VERIFIER_FAILED, cache.lookup(NEAR).nearest)
        assert cache.stats().failures["verifier"] == 2


def test_a_reported_pair_never_matches_again(where, tmp_path):
    place = where()
    with make(place) as cache:
        cache.put(QUESTION, "Paris")
        hit = cache.lookup(NEAR)
        assert cache.report(hit) is True
        assert not cache.lookup(QUESTION)
        cache.put(QUESTION, "Paris again")
        assert reason(cache.lookup(NEAR)) is MissReason.REPORTED
        assert cache.lookup(QUESTION).response == "Paris again"
        assert cache.report(hit.id) is False
    if place is not None:
        with make(place) as cache:
            assert reason(cache.lookup(NEAR)) is MissReason.REPORTED


def test_a_reported_pair_does_not_match_the_other_way_round_either(cache):
    cache.put(QUESTION, "Paris")
    cache.report(cache.lookup(NEAR))
    cache.put(NEAR, "Paris")
    assert reason(cache.lookup(QUESTION)) is MissReason.REPORTED


def test_a_reported_exact_hit_loses_its_answer_alone(cache):
    cache.put(QUESTION, "Lyon")
    cache.report(cache.lookup(QUESTION))
    assert not cache.lookup(QUESTION)
    cache.put(QUESTION, "Paris")
    assert cache.lookup(QUESTION).response == "Paris"
    assert cache.lookup(NEAR)


def test_what_was_not_given_out_cannot_be_reported(cache):
    cache.put(QUESTION, "Paris")
    hit = cache.lookup(NEAR)
    with pytest.raises(errors.InvalidValueError):
        cache.report(hit.id[:-1] + ("0" if hit.id[-1] != "0" else "1"))
    with pytest.raises(errors.InvalidTypeError):
        cache.report(7)
    assert cache.lookup(NEAR)
