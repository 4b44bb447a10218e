"""The learned policy: what it makes of labels, and what its budget promises."""

import json

import pytest
from benches.learned.run import run
from benches.learned.trial import Case, made_up, run_learned, run_static

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.text.learned import LearnedPolicy
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import Hit, MissReason
from words import NoGuards, WordEmbedder


def test_what_nothing_is_known_of_is_not_served():
    policy = LearnedPolicy(0.05)
    assert not policy.choose(1, 0.99).serve


def test_nearer_prompts_are_more_likely_right():
    policy = LearnedPolicy()
    rights = [policy.right(1, similarity) for similarity in (0.3, 0.6, 0.8, 0.9, 1.0)]
    assert rights == sorted(rights)
    assert rights[0] == 0.0


def test_a_label_tells_of_its_own_entry():
    policy = LearnedPolicy()
    before = policy.right(1, 0.9)
    policy.observe(1, 0.9, right=True)
    policy.observe(2, 0.9, right=False)
    assert policy.right(2, 0.9) < before < policy.right(1, 0.9)
    assert policy.right(3, 0.9) == before


def test_labels_of_all_entries_are_the_belief_about_a_new_one():
    policy = LearnedPolicy()
    before = policy.right(999, 0.95)
    for entry in range(200):
        policy.observe(entry, 0.93, right=True)
    assert policy.right(999, 0.95) > before + 0.1


def test_an_entry_that_is_forgotten_is_a_new_one():
    policy = LearnedPolicy()
    fresh = policy.right(1, 0.9)
    policy.observe(1, 0.9, right=False)
    policy.forget([1])
    assert policy.right(1, 0.9) == fresh


def test_labels_beyond_the_newest_64_of_an_entry_count_no_more():
    once, longer = LearnedPolicy(), LearnedPolicy()
    for _ in range(10):
        longer.observe(1, 0.95, right=False)
    for policy in (once, longer):
        for _ in range(64):
            policy.observe(1, 0.9, right=True)
    assert longer.right(1, 0.92) == pytest.approx(once.right(1, 0.92), abs=1e-3)


def test_over_hits_nothing_is_served_before_the_labels_prove_it():
    policy = LearnedPolicy(0.05, audit=0.0)
    served_after = None
    for n in range(400):
        if policy.choose(n % 10, 0.95).serve:
            served_after = n
            break
        policy.observe(n % 10, 0.95, right=True)
    assert served_after is not None
    assert served_after > 59  # a single look needs as many, ln(0.05) / ln(0.95)


def test_over_hits_wrong_audits_end_the_serving():
    policy = LearnedPolicy(0.05, audit=0.0)
    while not policy.choose(1, 0.95).serve:
        policy.observe(1, 0.95, right=True)
    for _ in range(3):  # what is believed of the entry itself hardly changes, what is proven of all does
        policy.observe(1, 0.99, right=False)
    assert policy.right(1, 0.97) >= 0.95
    assert not policy.choose(1, 0.97).serve


def test_the_same_seed_and_order_decide_the_same():
    outcomes = [
        run_learned(
            made_up(3, requests=800), LearnedPolicy(0.05, promise="requests", seed=5), noise=0.02, seed=1
        )
        for _ in range(2)
    ]
    assert outcomes[0] == outcomes[1]
    assert outcomes[0].hits > 0


@pytest.mark.parametrize(("promise", "budget"), [("hits", 0.1), ("requests", 0.02)])
def test_the_budget_is_kept_in_a_made_up_world(promise, budget):
    within = 0
    for seed in range(3):
        policy = LearnedPolicy(budget, promise=promise, seed=seed)
        outcome = run_learned(made_up(seed, requests=1500, entries=20), policy, noise=0.0, seed=seed)
        assert outcome.hits > 0
        share = outcome.wrong_of_hits if promise == "hits" else outcome.wrong_of_requests
        within += share <= budget
    assert within == 3


def test_a_small_measurement_writes_every_run_and_counts_those_within_the_budget(tmp_path, capsys):
    assert run(["--smoke", "--file", str(tmp_path / "none"), "--out", str(tmp_path)]) == 0
    (raw,) = tmp_path.glob("*.json")
    rows = json.loads(raw.read_text())["results"]
    assert {(row["promise"], row["budget"], row["noise"]) for row in rows if row["policy"] == "learned"} == {
        (promise, budget, noise)
        for promise, budget in (("hits", 0.01), ("hits", 0.1), ("requests", 0.01))
        for noise in (0.0, 0.02, 0.05)
    }
    for row in rows:
        assert len(row["outcomes"]) == 2
        shares = [one["wrong"] / max(1, one[row["promise"]]) for one in row["outcomes"]]
        assert row["within"] == sum(share <= row["budget"] for share in shares)
    assert f"{len(rows) + 2}" == str(len(capsys.readouterr().out.splitlines()))


def test_one_threshold_serves_what_is_near():
    cases = [Case(1, 0.9, True), Case(2, 0.9, False), Case(3, 0.7, True), Case()]
    outcome = run_static(cases, 0.8)
    assert (outcome.requests, outcome.hits, outcome.wrong) == (4, 2, 1)


@pytest.mark.parametrize(
    ("given", "error"),
    [
        ({"budget": 0.0}, InvalidValueError),
        ({"budget": 0.5}, InvalidValueError),
        ({"budget": "1%"}, InvalidTypeError),
        ({"promise": "all"}, InvalidValueError),
        ({"audit": 1.0}, InvalidValueError),
        ({"seed": 1.5}, InvalidTypeError),
        ({"confidence": 1.0}, InvalidValueError),
    ],
)
def test_wrong_settings_are_refused(given, error):
    with pytest.raises(error, match="expected"):
        LearnedPolicy(**given)


def test_a_cache_learns_from_the_answers_that_follow_and_then_serves():
    learned = LearnedPolicy(0.1, audit=0.0, per_minute=10_000.0)
    with SemanticCache(
        embedder=WordEmbedder(),
        guards=NoGuards(),
        policy=Policy(exact_only=()),
        threshold=0.8,
        learned=learned,
    ) as cache:
        cache.put("what is the capital city of france", "Paris")
        served = None
        for n in range(300):
            prompt = f"what is the capital city of france {n}"
            verdict = cache.lookup(prompt)
            if isinstance(verdict, Hit):
                served = verdict
                break
            assert verdict.reason is MissReason.LEARNING
            cache.put(prompt, " paris ")
            assert cache.settle()
        assert served is not None
        assert learned.labels > 20
        assert cache.stats().misses == {"learning": learned.labels}


def learning_cache(learned):
    cache = SemanticCache(
        embedder=WordEmbedder(),
        guards=NoGuards(),
        policy=Policy(exact_only=()),
        threshold=0.8,
        learned=learned,
    )
    cache.put("what is the capital city of france", "Paris")
    return cache


NEAR = "what is the capital city of france then"


def test_an_explanation_tells_what_the_learned_policy_would_do():
    with learning_cache(LearnedPolicy(0.1)) as cache:
        explained = cache.explain(NEAR)
    assert explained.learned.needed == pytest.approx(0.9)
    assert explained.learned.right < explained.learned.needed
    assert (explained.learned.served, explained.learned.labels) == (0.0, 0)
    assert explained.verdict.reason is MissReason.LEARNING
    assert "learned    right with 0." in str(explained)
    assert "0.900 needed: asked anew" in str(explained)


def test_an_explanation_tells_of_a_trial_and_of_its_end():
    learned = LearnedPolicy(0.1, audit=0.02)
    told = []
    with learning_cache(learned) as cache:
        (candidate,) = cache.explain(NEAR).candidates
        for _ in range(300):
            learned.observe(candidate.entry_id, candidate.similarity, right=True)
            told.append(cache.explain(NEAR))
    trials = [explained for explained in told if explained.learned.on_trial]
    assert all(explained.verdict.reason is MissReason.LEARNING for explained in trials)
    assert "fit to be served, and asked anew until the budget is proven" in str(trials[0])
    assert isinstance(told[-1].verdict, Hit)
    assert told[-1].learned.served == pytest.approx(0.98)
    assert "served in 98 of 100 requests, else asked anew" in str(told[-1])


def test_over_requests_an_explanation_has_the_share_that_is_served():
    learned = LearnedPolicy(0.01, promise="requests", audit=0.0, seed=3)
    for right in (True, True, True, False) * 5:
        learned.observe(1, 0.95, right=right)
    outlook = learned.outlook(1, 0.95)
    assert 0.5 < outlook.right < 0.99
    assert outlook.served == pytest.approx(0.01 / (1.0 - outlook.right))
    drawn = sum(learned.choose(1, 0.95).serve for _ in range(4000)) / 4000
    assert drawn == pytest.approx(outlook.served, abs=0.02)


def test_an_explanation_takes_nothing_from_chance():
    told, silent = (LearnedPolicy(0.05, promise="requests", seed=4) for _ in range(2))
    for policy in (told, silent):
        for _ in range(30):
            policy.observe(1, 0.95, right=True)
    chosen = []
    for policy in (told, silent):
        for _ in range(200):
            if policy is told:
                policy.outlook(1, 0.9)
            chosen.append(policy.choose(1, 0.9))
    assert chosen[:200] == chosen[200:]


def test_of_an_exact_repeat_the_learned_policy_is_not_asked():
    with learning_cache(LearnedPolicy(0.1)) as cache:
        explained = cache.explain("what is the capital city of france")
    assert explained.learned is None
    assert explained.verdict.kind == "exact"
