"""SemanticCache: explanations, removal by tag, scope, prompt and radius, and what is counted and logged."""

import logging

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.verdict import Hit, MissReason, Veto
from semantic_caches import FAR, NEAR, QUESTION, Objecting, chat, make, reason


def test_an_explanation_shows_every_step_and_counts_as_nothing(where):
    with make(where(), guards=Objecting()) as cache:
        cache.put(QUESTION, "Paris")
        cache.put(FAR, "eight")
        before = cache.stats()
        explanation = cache.explain(NEAR)
        assert cache.stats() == before
    assert [found.prompt for found in explanation.candidates] == [QUESTION, FAR]
    assert explanation.candidates[0].vetoes == (Veto("numbers", "1 against 2"),)
    assert explanation.candidates[1].refused is MissReason.BELOW_THRESHOLD
    assert explanation.verdict.reason is MissReason.GUARD
    text = str(explanation)
    for part in (
        NEAR,
        QUESTION,
        "numbers: 1 against 2",
        "no guard objects",
        "below_threshold",
        "miss: guard",
        explanation.scope,
    ):
        assert part in text


@pytest.mark.parametrize(("text", "kind"), [(QUESTION, "exact"), (NEAR, "semantic")])
def test_an_explanation_decides_as_a_lookup_does(cache, text, kind):
    cache.put(QUESTION, "Paris")
    explained, looked_up = cache.explain(text).verdict, cache.lookup(text)
    assert isinstance(explained, Hit)
    assert (explained.kind, explained.similarity, explained.id) == (kind, looked_up.similarity, looked_up.id)


def test_an_explanation_names_policy_and_other_reasons():
    with make(None, policy=Policy()) as cache:
        cache.put("what is the weather right now", "rain")
        explanation = cache.explain("so what is the weather right now")
        assert explanation.policy == "freshness"
        assert "freshness" in str(explanation)
        assert len(explanation.candidates) == 0  # entries of such a class have no code
        assert "no_text" in str(cache.explain("  "))


def test_a_terminal_is_safe_from_what_a_prompt_holds(cache):
    assert "\x1b" not in str(cache.explain("\x1b[31m red \x07"))


def test_tags_scopes_and_prompts_invalidate(cache):
    def fill():
        cache.clear()
        cache.put("alpha", "1", tags=["x", "y"], scope="s")
        cache.put("beta", "2", tags=["x"])
        cache.put("gamma", "3")

    def left():
        return [
            text
            for text, scope in (("alpha", "s"), ("beta", None), ("gamma", None))
            if cache.lookup(text, scope=scope)
        ]

    for criteria, expected in (
        ({"tag": "x"}, ["gamma"]),
        ({"tag": "x", "scope": "s"}, ["beta", "gamma"]),
        ({"tag": "x", "scope": None}, ["alpha", "gamma"]),
        ({"scope": None}, ["alpha"]),
        ({"prompt": "beta"}, ["alpha", "gamma"]),
        ({"prompt": "alpha"}, ["alpha", "beta", "gamma"]),
        ({"prompt": "alpha", "scope": "s"}, ["beta", "gamma"]),
        ({"prompt": "beta", "tag": "y"}, ["alpha", "beta", "gamma"]),
        ({"tag": "z"}, ["alpha", "beta", "gamma"]),
    ):
        fill()
        planned = cache.invalidate(**criteria, dry_run=True)
        assert left() == ["alpha", "beta", "gamma"]
        done = cache.invalidate(**criteria)
        assert (planned.entries, planned.dry_run, done.dry_run) == (done.entries, True, False)
        assert left() == expected
        assert len(done) == 3 - len(expected)


def test_a_radius_invalidates_what_is_near_in_its_scope_alone(cache):
    cache.put(QUESTION, "Paris")
    cache.put(FAR, "eight")
    cache.put(QUESTION, "Paris", scope="other")
    distance = cache.explain(NEAR).candidates[0].distance
    assert len(cache.invalidate(prompt=NEAR, radius=distance - 1, dry_run=True)) == 0
    assert cache.invalidate(prompt=NEAR, radius=distance).entries[0][1] == QUESTION
    assert not cache.lookup(QUESTION)
    assert cache.lookup(FAR)
    assert cache.lookup(QUESTION, scope="other")


def test_invalidation_needs_something_to_go_by(cache):
    with pytest.raises(errors.InvalidValueError, match="clear"):
        cache.invalidate()
    with pytest.raises(errors.InvalidValueError, match="prompt"):
        cache.invalidate(tag="x", radius=5)
    with pytest.raises(errors.InvalidValueError, match="radius"):
        cache.invalidate(prompt="x", radius=257)


def test_a_tag_is_a_string_of_whole_characters(cache):
    for error, tag in ((errors.InvalidTypeError, ""), (errors.InvalidValueError, "half \ud83d")):
        with pytest.raises(error, match="tags"):
            cache.put("alpha", "1", tags=[tag])
        with pytest.raises(error, match="tags"):
            cache.invalidate(tag=tag)


def test_clear_empties_all_or_one_scope_but_keeps_reports(cache):
    cache.put(QUESTION, "Paris")
    cache.report(cache.lookup(NEAR))
    cache.put(QUESTION, "Paris")
    cache.put(QUESTION, "Paris", scope="s")
    assert cache.clear(scope="s") == 1
    assert reason(cache.lookup(NEAR)) is MissReason.REPORTED
    assert cache.clear() == 1
    assert len(cache) == 0
    cache.put(QUESTION, "Paris")
    assert reason(cache.lookup(NEAR)) is MissReason.REPORTED


def test_savings_are_counted_from_the_answers_usage():
    answer = {
        "object": "chat.completion",
        "choices": [{"message": {"role": "assistant", "content": "Paris"}, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 1000, "completion_tokens": 500, "total_tokens": 1500},
    }
    with make(None, prices={"m": (2.0, 8.0)}) as cache:
        cache.put(chat(QUESTION), answer, took_seconds=1.5)
        assert cache.lookup(chat(QUESTION)).saved.input_tokens == 1000
        cache.lookup(chat(NEAR))
        stats = cache.stats()
    assert (stats.saved_calls, stats.saved_tokens, stats.saved_seconds) == (2, 3000, 3.0)
    assert stats.saved_cost == pytest.approx(2 * (1000 * 2.0 + 500 * 8.0) / 1e6)


def test_requests_are_counted_by_what_became_of_them(cache):
    cache.put(QUESTION, "Paris")
    for text in (QUESTION, NEAR, FAR, FAR):
        cache.lookup(text)
    stats = cache.stats()
    assert (stats.requests, stats.exact_hits, stats.semantic_hits, stats.hits) == (4, 1, 1, 2)
    assert stats.misses == {"below_threshold": 2}
    assert stats.hit_rate == 0.5
    assert (stats.entries, stats.puts) == (1, 1)


def test_no_prompt_answer_or_scope_is_logged(where, caplog):
    caplog.set_level(logging.DEBUG)
    with make(where()) as cache:
        secret = "canary-7f3a question about canary things"
        cache.put(secret, "canary-7f3a answer", scope="canary-7f3a tenant", tags=["canary-7f3a"])
        cache.lookup(secret, scope="canary-7f3a tenant")
        cache.lookup(secret + " too", scope="canary-7f3a tenant")
        cache.lookup("canary-7f3a something else", scope="canary-7f3a tenant")
        cache.put("canary-7f3a", "")
        cache.get_or_compute("canary-7f3a x", lambda: {1, 2})
        assert "canary" not in repr(cache)
        assert "canary" not in str(cache.stats())
    assert "canary" not in caplog.text
    assert "semantic hit" in caplog.text
