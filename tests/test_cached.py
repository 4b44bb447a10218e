"""The decorator: asked only for what is new, and nobody gets another's answer."""

import asyncio
import gc

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.semantic import SemanticCache
from words import NoGuards, WordEmbedder

QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"


@pytest.fixture
def cache():
    with SemanticCache(
        embedder=WordEmbedder(), guards=NoGuards(), policy=Policy(exact_only=()), threshold=0.8
    ) as made:
        yield made


def test_a_function_is_asked_once_for_what_means_the_same(cache):
    asked = []

    @cache.cached
    def ask(prompt):
        """Asks."""
        asked.append(prompt)
        return "Paris"

    assert ask(QUESTION) == ask(NEAR) == ask(prompt=QUESTION) == "Paris"
    assert asked == [QUESTION]
    assert (ask.__name__, ask.__doc__) == ("ask", "Asks.")


def test_other_arguments_are_part_of_the_scope(cache):
    asked = []

    @cache.cached(tags=["t"])
    def ask(prompt, language="en", *, depth=1):
        asked.append((language, depth))
        return f"{language} {depth}"

    assert ask(QUESTION) == ask(NEAR, "en") == ask(NEAR, depth=1) == "en 1"
    assert ask(QUESTION, "de") == "de 1"
    assert ask(NEAR, language="de", depth=2) == "de 2"
    assert asked == [("en", 1), ("de", 1), ("de", 2)]
    assert len(cache.invalidate(tag="t")) == 3


def test_two_functions_share_nothing(cache):
    @cache.cached
    def one(prompt):
        return "one"

    @cache.cached
    def two(prompt):
        return "two"

    assert (one(QUESTION), two(QUESTION)) == ("one", "two")


def test_a_coroutine_function_stays_one(cache):
    asked = []

    @cache.cached(ttl_seconds=3600)
    async def ask(prompt):
        asked.append(prompt)
        await asyncio.sleep(0)
        return "Paris"

    async def main():
        assert await asyncio.gather(*(ask(QUESTION) for _ in range(20))) == ["Paris"] * 20
        assert await ask(NEAR) == "Paris"

    assert asyncio.iscoroutinefunction(ask)
    asyncio.run(main())
    assert asked == [QUESTION]


class Model:
    """Asks with a cache that its class decorator was given; see `bind`."""

    def __init__(self, name):
        self.name = name


def bind(cache, **settings):
    class Bound(Model):
        @cache.cached(**settings)
        def ask(self, prompt):
            return f"{self.name} says"

        @cache.cached
        async def aask(self, prompt):
            return f"{self.name} says later"

        @classmethod
        @cache.cached
        def shared(cls, prompt):
            return cls.__name__

    return Bound


def test_methods_of_two_instances_share_nothing_by_default(cache):
    bound = bind(cache)
    one, two = bound("one"), bound("two")
    assert one.ask(QUESTION) == one.ask(NEAR) == "one says"
    assert two.ask(NEAR) == "two says"
    assert asyncio.run(one.aask(QUESTION)) == "one says later"
    assert bound.shared(QUESTION) == one.shared(NEAR) == "Bound"


def test_an_instance_never_has_the_answers_of_one_that_is_gone(cache):
    bound = bind(cache)
    for number in range(50):
        assert bound(number).ask(QUESTION) == f"{number} says"
        gc.collect()


def test_functions_made_at_run_time_share_nothing(cache):
    def make_ask(model):
        @cache.cached
        def ask(prompt):
            return f"{model} says"

        return ask

    one, two, again = make_ask("one"), make_ask("two"), make_ask("one")
    assert (one(QUESTION), two(QUESTION)) == ("one says", "two says")
    puts = cache.stats().puts
    assert again(NEAR) == "one says"
    assert cache.stats().puts == puts
    lambdas = [cache.cached(lambda prompt: "first"), cache.cached(lambda prompt: "second")]
    assert [ask(QUESTION) for ask in lambdas] == ["first", "second"]
    clients = [cache.cached(lambda prompt, client=client: len(client)) for client in ([], [1])]
    assert [ask(QUESTION) for ask in clients] == [0, 1]


def test_the_scope_is_what_answers_are_removed_by(cache):
    @cache.cached(scope="tenant")
    def ask(prompt):
        return "Paris"

    ask(QUESTION)
    assert len(cache.invalidate(scope="tenant", dry_run=True)) == 1
    assert cache.clear(scope="tenant") == 1


def test_a_prompt_that_is_no_text_is_computed(cache):
    @cache.cached
    def ask(prompt):
        return "Paris"

    assert ask("\ud800") == "Paris"


def test_a_key_function_says_what_the_answer_depends_on(cache):
    bound = bind(cache, key=lambda self, prompt: (prompt, {"name": self.name[0]}))
    assert bound("alpha").ask(QUESTION) == "alpha says"
    assert bound("another").ask(NEAR) == "alpha says"
    assert bound("beta").ask(NEAR) == "beta says"


def test_a_key_function_may_make_a_request(cache):
    @cache.cached(key=Request.from_openai_chat)
    def complete(body):
        return body["messages"][-1]["content"].upper()

    body = {"model": "m", "messages": [{"role": "user", "content": "hello there"}]}
    assert complete(body) == "HELLO THERE"
    assert cache.stats().puts == 1
    assert complete(body | {"stream": True}) == "HELLO THERE"
    assert cache.stats().puts == 1


def test_an_argument_that_is_no_data_needs_a_key(cache):
    @cache.cached
    def ask(prompt, client):
        return "Paris"

    with pytest.raises(errors.InvalidTypeError, match=r"client.*key="):
        ask(QUESTION, object())

    @cache.cached
    def first(client, prompt):
        return "Paris"

    with pytest.raises(errors.InvalidTypeError, match="first argument"):
        first(object(), QUESTION)


def test_an_instance_with_slots_needs_a_key(cache):
    class Slotted:
        __slots__ = ()

        @cache.cached
        def ask(self, prompt):
            return "Paris"

    with pytest.raises(errors.InvalidTypeError, match="key="):
        Slotted().ask(QUESTION)


@pytest.mark.parametrize("value", [None, lambda self: 1], ids=["unhashable", "hashable"])
def test_equal_instances_are_still_two(cache, value):
    class Equal:
        def __init__(self, name):
            self.name = name

        def __eq__(self, other):
            return True

        __hash__ = value

        @cache.cached
        def ask(self, prompt):
            return self.name

    one, two = Equal("one"), Equal("two")
    assert (one.ask(QUESTION), two.ask(QUESTION)) == ("one", "two")


def test_exceptions_of_the_function_come_through(cache):
    @cache.cached
    def ask(prompt):
        raise LookupError(prompt)

    for _ in range(2):
        with pytest.raises(LookupError):
            ask(QUESTION)
