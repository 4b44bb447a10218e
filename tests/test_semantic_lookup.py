"""SemanticCache: verdicts, scopes, and what is never matched by meaning."""

import numpy as np
import pytest

from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.verdict import Miss, MissReason
from semantic_caches import FAR, NEAR, NO_CLASSES, QUESTION, chat, make, reason
from words import WordEmbedder


def test_the_very_prompt_is_an_exact_hit_and_true(cache):
    entry_id = cache.put(QUESTION, "Paris")
    hit = cache.lookup(QUESTION)
    assert hit
    assert (hit.response, hit.kind, hit.similarity) == ("Paris", "exact", 1.0)
    assert (hit.entry_id, hit.prompt) == (entry_id, QUESTION)
    assert 0 <= hit.age_seconds < 60


def test_an_exact_hit_embeds_nothing(cache):
    cache.put(QUESTION, "Paris")
    calls = cache.embedder.calls
    assert cache.lookup(f"  {QUESTION}\n").kind == "exact"
    assert cache.embedder.calls == calls


def test_the_put_after_a_lookup_that_missed_does_not_embed_again(cache):
    for place in range(2):
        assert not cache.lookup(f"{QUESTION} {place}")
    assert cache.embedder.calls == 2
    for place in range(2):
        cache.put(f"{QUESTION} {place}", "Paris")
    assert cache.embedder.calls == 2
    assert cache.lookup(f"{NEAR} 0").kind == "semantic"
    assert cache.embedder.calls == 3


def test_what_was_embedded_for_one_scope_is_embedded_again_for_another(cache):
    assert not cache.lookup(QUESTION, scope="alice")
    cache.put(QUESTION, "Paris", scope="bob")
    assert not cache.lookup(QUESTION, scope="alice")
    assert cache.embedder.calls == 3


def test_the_embeddings_of_lookups_that_no_put_follows_are_let_go(cache):
    for place in range(400):
        cache.lookup(f"{QUESTION} {place}")
    cache.put(f"{QUESTION} 0", "Paris")
    cache.put(f"{QUESTION} 399", "Paris")
    assert cache.embedder.calls == 401


def test_an_answer_that_lands_after_the_exact_tier_was_asked_is_an_exact_hit(cache, monkeypatch):
    find = cache.store.find

    def too_early(key, now):
        found = find(key, now)
        monkeypatch.undo()
        cache.put(QUESTION, "Paris")
        return found

    monkeypatch.setattr(cache.store, "find", too_early)
    hit = cache.lookup(QUESTION)
    assert (hit.response, hit.kind, hit.similarity) == ("Paris", "exact", 1.0)
    cache.report(hit)
    cache.put(QUESTION, "Paris, again")
    assert cache.lookup(QUESTION).response == "Paris, again"
    assert cache.stats().exact_hits == 2


def test_other_words_for_the_same_are_a_semantic_hit(cache):
    cache.put(QUESTION, "Paris")
    hit = cache.lookup(NEAR)
    assert (hit.response, hit.kind, hit.prompt) == ("Paris", "semantic", QUESTION)
    a, b = cache.embedder.embed([QUESTION, NEAR])
    cosine = float(a @ b / np.linalg.norm(a) / np.linalg.norm(b))
    assert hit.similarity == pytest.approx(cosine, abs=3e-3)


def test_a_miss_is_false_and_says_why_and_what_came_nearest(cache):
    assert not cache.lookup(QUESTION)
    assert cache.lookup(QUESTION) == Miss(MissReason.NO_CANDIDATE)
    cache.put(QUESTION, "Paris")
    miss = cache.lookup(NEAR, threshold=0.99)
    assert not miss
    assert miss.reason is MissReason.BELOW_THRESHOLD
    assert miss.nearest.entry_id == cache.lookup(QUESTION).entry_id


def test_the_nearest_of_several_is_served(cache):
    cache.put("what is the capital of france", "no")
    cache.put(QUESTION, "yes")
    assert cache.lookup(NEAR, threshold=0.5).response == "yes"


def test_the_same_prompt_again_replaces_the_answer(cache):
    cache.put(QUESTION, "Lyon")
    cache.put(QUESTION, "Paris")
    assert cache.lookup(NEAR).response == "Paris"
    assert len(cache) == 1


@pytest.mark.parametrize("form", ["int8", "float16", "float32", "none"])
def test_every_form_of_vectors_finds_the_same(where, form):
    with make(where(), vectors=form, threshold=0.7) as cache:
        cache.put(QUESTION, "Paris")
        assert cache.lookup(NEAR).response == "Paris"
        assert not cache.lookup(FAR)


def test_distances_are_exact_but_the_decision_is_by_the_exact_cosine(cache):
    cache.put(QUESTION, "Paris")
    similarity = cache.lookup(NEAR).similarity
    assert cache.lookup(NEAR, threshold=similarity - 1e-6)
    assert not cache.lookup(NEAR, threshold=similarity + 1e-6)


@pytest.mark.parametrize("answer", ["text ü", b"\x00bytes", {"a": [1, 2.5, None, True]}, [1], 7])
def test_answers_come_back_as_they_were_and_as_objects_of_ones_own(cache, answer):
    cache.put(QUESTION, answer)
    first, second = cache.lookup(QUESTION).response, cache.lookup(QUESTION).response
    assert first == second == answer
    assert type(first) is type(answer)
    if isinstance(answer, dict | list):
        assert first is not second


def test_no_answer_crosses_scopes(cache):
    cache.put(QUESTION, "Paris", scope="a")
    for scope in (None, "b", ["a"], {"a": 1}, "", 0):
        assert not cache.lookup(QUESTION, scope=scope)
        assert not cache.lookup(NEAR, scope=scope)
    assert cache.lookup(NEAR, scope="a").response == "Paris"


@pytest.mark.parametrize(
    "changes",
    [
        {"model": "n"},
        {"temperature": 1},
        {"tools": [{"type": "function", "function": {"name": "f"}}]},
        {"response_format": {"type": "json_object"}},
        {"unknown": 1},
        {"messages": [{"role": "system", "content": "x"}, {"role": "user", "content": NEAR}]},
    ],
)
def test_no_answer_crosses_what_else_shapes_it(cache, changes):
    cache.put(chat(QUESTION), "Paris")
    assert cache.lookup(chat(NEAR)).response == "Paris"
    assert not cache.lookup(chat(NEAR, **changes))


def test_a_prompt_and_a_request_share_nothing(cache):
    cache.put(QUESTION, "Paris")
    assert not cache.lookup(chat(QUESTION))


def test_other_earlier_turns_share_nothing(cache):
    def talk(before: str, text: str) -> Request:
        turns = [{"role": "user", "content": before}, {"role": "assistant", "content": "ok"}]
        return Request.from_anthropic(
            {"model": "m", "max_tokens": 9, "messages": [*turns, {"role": "user", "content": text}]}
        )

    cache.put(talk("about cats", QUESTION), "meow")
    assert cache.lookup(talk("about cats", NEAR)).response == "meow"
    assert not cache.lookup(talk("about dogs", QUESTION))


def test_a_tool_turn_is_answered_by_exact_repeats_alone(cache):
    def turn(text: str) -> Request:
        call = {"id": "1", "type": "function", "function": {"name": "f", "arguments": "{}"}}
        messages = [
            {"role": "user", "content": text},
            {"role": "assistant", "content": None, "tool_calls": [call]},
            {"role": "tool", "tool_call_id": "1", "content": "4"},
        ]
        return Request.from_openai_chat({"model": "m", "messages": messages})

    cache.put(turn(QUESTION), "four")
    assert cache.lookup(turn(QUESTION)).kind == "exact"
    assert reason(cache.lookup(turn(NEAR))) is MissReason.EXACT_ONLY
    assert cache.embedder.calls == 0


def test_texts_that_differ_only_past_the_window_do_not_meet(cache):
    class Blind(WordEmbedder):
        def embed(self, texts):
            return super().embed([" ".join(text.split()[: self.max_tokens]) for text in texts])

    with make(None, embedder=Blind()) as cache:
        start = "word " * 64
        cache.put(start + "one", "1")
        assert reason(cache.lookup(start + "two")) is MissReason.TOO_LONG
        assert cache.lookup(start + "one").kind == "exact"
        assert cache.embedder.calls == 0


def test_without_a_count_of_tokens_a_text_is_long_by_its_bytes():
    class Plain:
        bounded, dimension, fingerprint, max_tokens = True, 64, "plain", 40
        embed = WordEmbedder().embed

    with make(None, embedder=Plain()) as cache:
        cache.put("short", "s")
        assert reason(cache.lookup("a b " * 10)) is MissReason.TOO_LONG
        assert reason(cache.lookup("a b " * 9)) is not MissReason.TOO_LONG


def test_classes_of_policy_are_answered_by_exact_repeats_alone():
    with make(None, policy=Policy()) as cache:
        cache.put("what is the weather in paris right now", "rain")
        miss = cache.lookup("what is the weather in paris right now then")
        assert miss.reason is MissReason.POLICY
        assert miss.detail == "freshness"
        assert cache.lookup("what is the weather in paris right now").kind == "exact"
    with make(None, policy=NO_CLASSES) as cache:
        cache.put("what is the weather in paris right now", "rain")
        assert cache.lookup("what is the weather in paris right now then")


def test_the_caller_may_ask_for_exact_matches_only(cache):
    cache.put(QUESTION, "Paris")
    assert reason(cache.lookup(NEAR, exact_only=True)) is MissReason.EXACT_ONLY


@pytest.mark.parametrize("text", ["", "   ", "\ud800 lone"])
def test_a_text_without_meaning_is_a_miss_and_is_computed(cache, text):
    assert not cache.lookup(text)
    assert cache.get_or_compute(text, lambda: "answer") == "answer"


def test_an_embedder_that_does_both_is_asked_for_embedding_and_code_in_one_call():
    class Both(WordEmbedder):
        def embed_and_encode(self, texts, encoder):
            embeddings = super().embed(texts)
            return embeddings, encoder.encode(embeddings)

        def embed(self, texts):
            raise AssertionError("expected one call for both")

    with make(None, embedder=Both()) as cache, make() as plain:
        for each in (cache, plain):
            each.put(QUESTION, "Paris")
        assert cache.lookup(NEAR).kind == "semantic"
        assert cache.lookup(NEAR).similarity == plain.lookup(NEAR).similarity
