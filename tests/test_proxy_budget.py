"""Budget, learned policy and judge in the proxy: audits by callers' requests, stops, several processes."""

from contextlib import ExitStack, contextmanager
from dataclasses import replace
from itertools import count, cycle
from pathlib import Path

import httpx
import pytest

from binary_semantic_cache.errors import ConfigurationError
from binary_semantic_cache.proxy.configuration.reading import read_configuration
from binary_semantic_cache.proxy.processes.opening import open_cache
from binary_semantic_cache.proxy.processes.overseeing import budget_of, learned_of
from binary_semantic_cache.proxy.settings import BudgetSettings, CacheSettings, LearnedSettings
from binary_semantic_cache.proxy.watching.metrics import Metrics
from binary_semantic_cache.text.judging import same_answer
from model_answers import say, whole_of
from model_misdeeds import altered
from model_server import ModelServer
from proxy_server import chat_body, headers_of, serving
from served import KEY, TOKEN, chat, get, until
from served import serving as serving_process
from torture import make_cache

QUESTION = "what is the capital city of france"
ANSWERS = ["/v1/chat/completions", "/v1/messages", "/v1/responses", "/v1/completions"]
WORDINGS = [f"what is the capital city of france {more}" for more in ("please", "today", "really", "again")]


def near(number):
    """Another wording of the question each time."""
    return f"{QUESTION} {number}"


def agrees(prompt, kept_prompt, new_answer, kept_answer):
    """A judge of an operator's own: it gets bodies of the API, and finds all of them right."""
    return new_answer["object"] == kept_answer["object"] == "chat.completion" or None


@pytest.fixture
def model():
    # Its answers name the number of the call: no two are the same, and each kept one is a wrong one.
    with ModelServer() as made:
        yield made


@contextmanager
def watched(model, budget=None, *, store=None, mode="on", seed=None):
    """A proxy and its cache, overseen as its settings say."""
    made = budget_of(BudgetSettings(**{"max_wrong": 0.02, "sample": 1.0} | (budget or {})))
    modes = {"cache": {"mode": mode}}
    with (
        make_cache(store, budget=replace(made, seed=seed), mode=mode, threshold=0.5) as cache,
        serving(model, cache, modes) as proxy,
        proxy.http() as http,
    ):

        def ask(text=QUESTION, **more):
            reply = http.post("/v1/chat/completions", json=chat_body(text, **more))
            assert reply.status_code == 200
            proxy.wait_until_quiet()
            assert cache.settle()
            return headers_of(reply)

        yield proxy, cache, ask


def asked_until_stopped(ask, **more):
    """What was told of other wordings, up to the first that the budget holds back."""
    told = []
    for number in range(200):
        told.append(ask(near(number), **more))
        if told[-1].get("reason") == "budget":
            return told
    raise AssertionError("the class was never stopped")


# The whole way


@pytest.mark.parametrize("stream", [False, True])
def test_a_wrong_pair_is_served_until_audits_have_the_budget_stop_its_class(model, stream):
    with watched(model, {"sample": 0.3}, seed=5) as (proxy, cache, ask):
        ask()
        told = asked_until_stopped(ask, stream=stream)
        outcomes = [each["cache"] for each in told]
        reasons = [each.get("reason", "") for each in told]
        assert "semantic" in outcomes
        assert reasons.count("audit") == cache.budget.classes()["trial"].judged
        assert set(reasons) == {"", "audit", "budget"}
        # An audit is a question to the model, and so is what the budget holds back.
        assert model.calls == 1 + reasons.count("audit") + 1
        known = cache.budget.classes()["trial"]
        assert known.stopped
        assert known.low > 0.02
        assert ask()["cache"] == "exact"
        assert ask(near(1000), stream=stream)["reason"] == "budget"
        record = proxy.record(of=len(proxy.records))
        assert (record.reason, record.detail) == ("budget", "trial")
        told = Metrics(cache).exposition()[0].decode()
        assert 'bsc_budget_stopped{class="trial"} 1.0' in told
        assert f'bsc_budget_wrong{{class="trial"}} {known.wrong}.0' in told


def test_a_reset_class_is_served_by_meaning_again(model):
    with watched(model, {"per_minute": 1e6}) as (_, cache, ask):
        ask()
        asked_until_stopped(ask)
        cache.budget.reset("trial")
        assert ask(near(500))["reason"] == "audit"


def test_another_model_is_another_class(model):
    with watched(model) as (_, cache, ask):
        ask()
        ask(model="trial-json")
        asked_until_stopped(ask)
        assert ask(near(500), model="trial-json")["reason"] == "audit"
        assert sorted(cache.budget.classes()) == ["trial", "trial-json"]


@pytest.mark.parametrize(("classes", "names"), [("tenant", 2), ("all", 1)])
def test_tenants_are_classes_or_all_is_one(model, classes, names):
    with watched(model, {"classes": classes}) as (proxy, cache, _):
        for key in ("sk-alice", "sk-bob"):
            with proxy.http(key) as http:
                for text in (QUESTION, near(1)):
                    assert http.post("/v1/chat/completions", json=chat_body(text)).status_code == 200
                    proxy.wait_until_quiet()
        assert cache.settle()
        assert len(cache.budget.classes()) == names
        told = {record.tenant for record in proxy.records}
        assert set(cache.budget.classes()) == (told if classes == "tenant" else {"all"})


def test_a_judge_of_ones_own_is_given_the_bodies_of_the_api(model):
    with watched(model, {"judge": "test_proxy_budget:agrees"}) as (_, cache, ask):
        ask()
        for number in range(1, 10):
            ask(near(number))
        known = cache.budget.classes()["trial"]
        assert known.judged > 0
        assert known.wrong == 0


def test_beyond_the_audits_of_a_minute_hits_are_served(model):
    with watched(model, {"per_minute": 1.0}) as (_, _, ask):
        ask()
        assert ask(near(1))["reason"] == "audit"
        assert [ask(near(number))["cache"] for number in range(2, 6)] == ["semantic"] * 4


def test_a_hit_whose_new_answer_would_not_be_kept_is_not_asked_anew(model):
    with watched(model) as (proxy, _, _), proxy.http() as http:
        http.post("/v1/chat/completions", json=chat_body(QUESTION))
        proxy.wait_until_quiet()
        http.headers["x-bsc-mode"] = "no-store"
        reply = http.post("/v1/chat/completions", json=chat_body(near(1)))
        assert headers_of(reply)["cache"] == "semantic"
    assert model.calls == 1


def test_in_shadow_mode_all_that_would_be_served_is_judged_and_told_as_such(model):
    with watched(model, mode="shadow") as (proxy, cache, ask):
        ask()
        told = ask(near(1))
        assert (told["cache"], told["reason"]) == ("miss", "shadow")
        record = proxy.record(of=2)
        assert (record.outcome, record.would_be) == ("miss", "semantic")
        assert record.prompt == QUESTION
        assert cache.budget.classes()["trial"].judged == 1
        assert model.calls == 2


def test_two_caches_on_one_file_count_together_and_a_stop_is_seen_by_both(model, tmp_path):
    with ExitStack() as stack:
        first, second = (stack.enter_context(watched(model, store=tmp_path / "cache.db")) for _ in range(2))
        (_, _, ask), (_, other_cache, ask_other) = first, second
        ask()
        until(lambda: ask_other()["cache"] == "exact", "an answer that the other kept")
        n_other = 0
        for number in range(200):
            told = (ask, ask_other)[number % 2](near(number))
            n_other += number % 2 and told.get("reason") == "audit"
            if told.get("reason") == "budget":
                break
        assert n_other > 0
        numbers = iter(range(1000, 100_000))
        until(lambda: ask(near(next(numbers))).get("reason") == "budget", "a stop in one")
        until(lambda: ask_other(near(next(numbers))).get("reason") == "budget", "a stop in the other")
        other_cache.budget.reset("trial")
        until(lambda: ask(near(next(numbers))).get("reason") == "audit", "a reset in the first")


def test_the_learned_policy_holds_back_and_learns_from_what_the_upstream_says(model):
    learned = learned_of(LearnedSettings(budget=0.1, judge="test_proxy_budget:agrees"))
    with (
        make_cache(None, learned=learned) as cache,
        serving(model, cache) as proxy,
        proxy.http() as http,
    ):
        for text in (QUESTION, *WORDINGS):
            reply = http.post("/v1/chat/completions", json=chat_body(text))
            proxy.wait_until_quiet()
        assert headers_of(reply)["reason"] == "learning"
        assert cache.settle()
        assert learned.labels == len(WORDINGS)


# From the settings


def test_nothing_is_overseen_unless_asked_for():
    assert budget_of(BudgetSettings()) is None
    assert learned_of(LearnedSettings()) is None


def test_settings_arrive_where_they_are_meant():
    budget = budget_of(BudgetSettings(max_wrong=0.1, sample=0.2, per_minute=3.0, confidence=0.9))
    assert (budget.max_wrong, budget.sample, budget.per_minute, budget.confidence) == (0.1, 0.2, 3.0, 0.9)
    assert (budget.judge, budget.ask) == (same_answer, None)


@pytest.mark.parametrize(
    ("judge", "said"),
    [
        ("no_such_module:judge", "ModuleNotFoundError"),
        ("test_proxy_budget:no_such_judge", "AttributeError"),
        ("test_proxy_budget:QUESTION", "expected a function, got test_proxy_budget:QUESTION, a str"),
    ],
)
@pytest.mark.parametrize("make", [budget_of, learned_of])
def test_a_judge_that_is_not_there_is_told_with_its_key(make, judge, said):
    settings = (
        BudgetSettings(max_wrong=0.1, judge=judge)
        if make is budget_of
        else LearnedSettings(budget=0.1, judge=judge)
    )
    with pytest.raises(ConfigurationError, match=r"cache\.\w+\.judge: expected a function") as caught:
        make(settings)
    assert said in str(caught.value)


def test_the_trained_judge_and_the_budget_stand_in_an_opened_cache(int8_model, tmp_path):
    settings = CacheSettings(
        path=str(tmp_path / "cache.db"), judge=True, budget=BudgetSettings(max_wrong=0.02)
    )
    with open_cache(settings) as cache:
        assert cache.threshold == 0.66
        assert cache.budget.settings.max_wrong == 0.02
        cache.put("How do I undo the last commit in git?", "git reset")
        explained = cache.explain("How can I undo the last commit in git?")
        assert 0.0 < explained.candidates[0].probability <= 1.0
    assert (tmp_path / "cache.db.budget").exists()


def test_warnings_tell_what_is_hardly_meant():
    given = {
        "BSC_CACHE_BUDGET_MAX_WRONG": "0.1",
        "BSC_CACHE_LEARNED_BUDGET": "0.1",
        "BSC_SERVER_WORKERS": "2",
    }
    told = " ".join(read_configuration(environment=given).warnings)
    assert "same_answer calls two wordings of one answer different" in told
    assert "each of the 2 workers learns by itself" in told
    told = read_configuration(environment=given | {"BSC_CACHE_SEMANTIC": "false"}).warnings
    assert any("have no hits to look at" in warning for warning in told)
    own = {"BSC_CACHE_BUDGET_MAX_WRONG": "0.1", "BSC_CACHE_BUDGET_JUDGE": "my.judges:agrees"}
    assert read_configuration(environment=own).warnings == ()


# The judge among the examples


@pytest.fixture
def same_meaning(monkeypatch, model):
    monkeypatch.syspath_prepend(str(Path(__file__).parents[1] / "examples"))
    monkeypatch.setenv("JUDGE_BASE_URL", f"{model.url}/v1")
    monkeypatch.setenv("JUDGE_API_KEY", "sk-alice")
    return budget_of(BudgetSettings(max_wrong=0.1, judge="answer_judge:same_meaning")).judge


def says(text):
    return altered(lambda body: body | {"choices": [{"message": {"content": text}}]})


@pytest.mark.parametrize(
    ("word", "verdict"), [("yes", True), ("Yes.\n", True), ("NO", False), ("perhaps", None), ("", None)]
)
def test_the_example_of_a_judge_asks_a_model_and_reads_its_word(model, same_meaning, word, verdict):
    model.will(says(word))
    body = chat_body(QUESTION)
    answers = [whole_of(path, body, say("alice", body, 1)) for path in ANSWERS]
    assert same_meaning(QUESTION, "another", answers[0], answers[1]) is verdict
    (asked,) = model.asked
    told = asked.json()["messages"][1]["content"]
    for part in (QUESTION, "First: trial tells alice", "Second: trial tells alice"):
        assert part in told
    assert "another" not in told


@pytest.mark.parametrize("path", ANSWERS)
def test_the_example_of_a_judge_finds_what_an_answer_says(model, same_meaning, path):
    body = chat_body(QUESTION)
    said = whole_of(path, body, say("alice", body, 7))
    model.will(says("yes"))
    assert same_meaning(QUESTION, QUESTION, said, said) is True
    told = model.asked[0].json()["messages"][1]["content"]
    assert told.count("(call 7)") == 2
    assert same_meaning(QUESTION, QUESTION, {}, said) is None


# Processes

COMMITS = [
    f"{begin} undo the last commit in git{end}"
    for begin in ("How can I", "How do I", "How could I", "How would I", "How should I", "How can one")
    for end in ("?", ", please?", " again?", " at all?")
]


def test_workers_count_in_one_file_and_all_of_them_stop(tmp_path, int8_model):
    (tmp_path / "bsc.toml").write_text("[cache.budget]\nmax_wrong = 0.02\nsample = 1\nclasses = 'all'\n")
    arguments = ["--config", "bsc.toml", "--workers", "2", "--set", "cache.exact_only="]
    numbers = count()
    with ModelServer(keys={KEY: "somebody"}) as model:
        arguments += ["--upstream-openai", f"{model.url}/v1"]
        with serving_process(*arguments, folder=tmp_path) as served:

            def reason(text):
                return chat(served.url, text).headers.get("x-bsc-reason", "")

            # Each worker learns for itself which keys the upstream accepts.
            until(lambda: [reason(COMMITS[0]) for _ in range(6)] == [""] * 6, "hits from both workers")

            def new_ones():
                """What was told of questions that were never asked, and cannot be exact repeats."""
                return {reason(f"A question of {next(numbers)} kinds?") for _ in range(4)}

            wordings = cycle(COMMITS[1:])

            def all_stop():
                reason(next(wordings))
                return new_ones() == {"budget"}

            def is_told():
                return 'bsc_budget_stopped{class="all"} 1.0' in get(served.admin_url, "/metrics", TOKEN).text

            until(all_stop, "a stop in both workers")
            until(is_told, "a word of it in the metrics")
        with serving_process(*arguments, folder=tmp_path) as served:
            assert is_told()
            until(lambda: "budget" in new_ones(), "a stop that outlived the processes")
            reset = httpx.post(
                f"{served.admin_url}/api/budget/reset",
                json={"class": "all"},
                headers={"authorization": f"Bearer {TOKEN}"},
                trust_env=False,
            )
            assert reset.json() == {"class": "all", "was_stopped": True}
            until(lambda: "budget" not in new_ones(), "a reset in both workers")
