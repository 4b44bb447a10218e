"""`bsc replay`: what simulated caches say is what a cache says, and what comes of it is counted right."""

import gzip
import json
import random
from itertools import pairwise

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.proof import replay as replaying
from binary_semantic_cache.proof.remembering import RememberingEmbedder
from binary_semantic_cache.proof.replay import Plan, replay, variants_of
from binary_semantic_cache.proof.replay_agreement import agreement_named, token_overlap
from binary_semantic_cache.proof.replay_cells import Cell, Variant
from binary_semantic_cache.proof.replay_formats import Fields, Logged, read_requests
from binary_semantic_cache.proof.replay_order import Ordered, in_order
from binary_semantic_cache.proof.replay_simulation import Simulation
from binary_semantic_cache.proof.replay_tally import share_of
from binary_semantic_cache.text.clock import Clock
from binary_semantic_cache.text.guards import Guards
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import Veto
from words import WordEmbedder

SUBJECTS = (
    "invoice",
    "passport",
    "router",
    "battery",
    "mortgage",
    "visa",
    "keyboard",
    "garden",
    "tax",
    "kiln",
)
FORMS = (
    "how does the {} renewal process work for companies",
    "How does the {} renewal process work for companies",
    "how does a {} renewal process work for new companies",
    "how does the {} renewal process not work for companies",
    "how does the {} renewal process work for 30 companies",
    "explain how the {} renewal process works for companies please",
    "what is my {} balance today",
    "cancel my {} order",
)


def asked(n, *, seed=0, tenants=1, chat=False, step=1.0):
    """Requests about few things in few forms: many are exact or near repeats."""
    draw = random.Random(seed)
    made = []
    for i in range(n):
        prompt = draw.choice(FORMS).format(draw.choice(SUBJECTS))
        if chat:
            turns = [{"role": "user", "content": prompt}]
            if draw.random() < 0.3:
                turns = [{"role": "user", "content": "hello"}, {"role": "assistant", "content": "hi"}, *turns]
            request = {"model": draw.choice(["small", "large"]), "messages": turns}
            stop = draw.choice(["stop", "stop", "stop", "length"])
            row = {
                "request": request,
                "response": {
                    "object": "chat.completion",
                    "choices": [{"message": {"content": f"about {prompt}"}, "finish_reason": stop}],
                    "usage": {"prompt_tokens": 10, "completion_tokens": 5},
                },
            }
        else:
            row = {"prompt": prompt, "response": f"about {prompt}"}
        made.append({**row, "time": 1000.0 + i * step, "who": f"tenant {draw.randrange(tenants)}"})
    return made


def requests_of(rows, reader=replaying.FORMATS["plain"]):
    return [(row["time"], reader(row, Fields(tenant="who"))) for row in rows]


def simulated(requests, variants, tmp_path, embedder, guards, feed=64):
    said = []
    simulation = Simulation(
        variants,
        embedder=embedder,
        folder=tmp_path,
        guards=guards,
        policy=Policy(),
        judge=judge_of(variants[0]),
        watch=lambda request, outcomes: said.append(list(outcomes)),
    )
    for first in range(0, len(requests), feed):
        simulation.feed(requests[first : first + feed])
    simulation.close()
    return said


def judge_of(variant):
    if variant.judge_from is None:
        return None
    return Judge(least_probability=variant.threshold, least_cosine=variant.judge_from)


def told_by_a_cache(requests, variant, embedder, guards, monkeypatch):
    """Kind, reason, similarity and answer of a real cache that is asked, and filled after each miss."""
    now = [0.0]
    monkeypatch.setattr(Clock, "now", lambda self: now[0])
    said = []
    with SemanticCache(
        embedder=embedder,
        guards=guards,
        threshold=variant.least_cosine,
        judge=judge_of(variant),
        max_entries=variant.max_entries or 100_000,
        ttl_seconds=variant.ttl_seconds,
    ) as cache:
        for time, request in requests:
            now[0] = time
            if variant.ttl_seconds is not None:
                # What has expired counts for a cache's limits until it is swept, by a clock of its own.
                cache.store.sweep(time, 1000)
            verdict = cache.lookup(request.prompt, scope=request.tenant)
            if verdict:
                said.append((verdict.kind, "", round(verdict.similarity, 6), verdict.prompt))
                continue
            said.append(("miss", verdict.reason.value, None, None))
            if request.refusal is None:
                cache.put(request.prompt, request.answer, scope=request.tenant)
    return said


def assert_told_alike(requests, variants, tmp_path, monkeypatch, embedder=None, guards=None):
    embedder = WordEmbedder() if embedder is None else embedder
    guards = guards or Guards()
    simulation = simulated(requests, variants, tmp_path, embedder, guards)
    kinds = set()
    for at, variant in enumerate(variants):
        real = told_by_a_cache(requests, variant, embedder, guards, monkeypatch)
        for (_, request), outcomes, (kind, reason, similarity, _) in zip(
            requests, simulation, real, strict=True
        ):
            outcome = outcomes[at]
            assert (outcome.kind, outcome.reason) == (kind, reason), (variant, request.text)
            if kind == "semantic":
                assert outcome.similarity == pytest.approx(similarity, abs=1e-6)
            kinds.add(reason or kind)
    return kinds


def test_every_verdict_is_the_one_of_a_real_cache_over_thresholds_and_sizes(tmp_path, monkeypatch):
    requests = requests_of(asked(300))
    kinds = assert_told_alike(requests, variants_of([0.75, 0.9, 0.97], [5, None]), tmp_path, monkeypatch)
    assert {"exact", "semantic", "guard", "policy", "below_threshold", "no_candidate"} <= kinds


def test_every_verdict_about_conversations_of_tenants_is_the_one_of_a_real_cache(tmp_path, monkeypatch):
    requests = requests_of(asked(250, seed=1, tenants=3, chat=True), read_requests)
    assert any(request.refusal == "truncated" for _, request in requests)
    kinds = assert_told_alike(requests, variants_of([0.75, 0.9], [10, None]), tmp_path, monkeypatch)
    assert {"exact", "semantic", "no_candidate"} <= kinds


def test_what_each_answer_changes_is_simulated_as_the_miss_that_it_is(tmp_path, monkeypatch):
    answer = {
        "object": "response",
        "status": "completed",
        "output": [{"type": "message", "content": [{"type": "output_text", "text": "a"}]}],
        "usage": {"input_tokens": 1, "output_tokens": 1},
    }
    bodies = [{"model": "m", "input": "go on", **more} for more in ({"conversation": "c"}, {})]
    rows = [
        {"request": body, "response": answer, "time": 1000.0 + i, "who": "tenant"}
        for i, body in enumerate(2 * bodies)
    ]
    requests = requests_of(rows, replaying.FORMATS["openai"])
    kinds = assert_told_alike(requests, [Variant(0.9, None, None)], tmp_path, monkeypatch)
    assert kinds == {"state", "no_candidate", "exact"}


def test_every_verdict_with_a_time_to_live_is_the_one_of_a_real_cache(tmp_path, monkeypatch):
    requests = requests_of(asked(250, seed=2, step=7.0))
    variants = [Variant(0.8, size, ttl) for size, ttl in ((8, 50.0), (8, 700.0), (None, 200.0))]
    kinds = assert_told_alike(requests, variants, tmp_path, monkeypatch)
    assert {"exact", "semantic", "no_candidate"} <= kinds


def test_every_verdict_with_a_judge_is_the_one_of_a_real_cache(tmp_path, monkeypatch, int8_model):
    requests = requests_of(asked(200, seed=3))
    variants = variants_of([0.5, 0.904, 0.98], [8, None], judge_from=0.6)
    embedder = RememberingEmbedder(LocalEmbedder(int8_model))
    kinds = assert_told_alike(requests, variants, tmp_path, monkeypatch, embedder)
    assert {"exact", "semantic", "guard", "judge"} <= kinds


def test_variants_with_a_judge_need_one_of_their_embedder(tmp_path):
    variants = variants_of([0.9], [None], judge_from=0.66)
    with pytest.raises(errors.InvalidValueError, match="expected a judge for variants with judge_from"):
        replay([written(tmp_path / "log.jsonl", asked(3))], plan(variants=variants))
    with pytest.raises(errors.InvalidValueError, match="expected an embedder whose fingerprint begins with"):
        replay([written(tmp_path / "log.jsonl", asked(3))], plan(variants=variants, judge=Judge()))


def test_verdicts_are_those_of_a_real_cache_where_more_entries_are_near_than_are_looked_at(
    tmp_path, monkeypatch
):
    class Cloud(WordEmbedder):
        def _one(self, text):
            return 4 * self._word("all") + self._word(text)

    embedder = Cloud()
    requests = [
        (float(i), replaying.FORMATS["plain"]({"prompt": f"question {i}", "response": "yes"}, Fields()))
        for i in range(250)
    ]

    class Refusing:
        def check(self, prompt, candidates):
            return [
                [] if (int(prompt.split()[-1]) + int(text.split()[-1])) % 5 == 0 else [Veto("tests", "")]
                for text in candidates
            ]

    kinds = assert_told_alike(
        requests, variants_of([0.8, 0.93, 0.95], [None]), tmp_path, monkeypatch, embedder, Refusing()
    )
    assert {"semantic", "guard"} <= kinds


def test_the_embedder_sees_each_text_once(tmp_path):
    embedder = WordEmbedder()
    simulated(requests_of(asked(300)), variants_of([0.8], [3]), tmp_path, embedder, None)
    policy = Policy()
    texts = {request.text for _, request in requests_of(asked(300)) if not policy.classify(request.text)}
    assert embedder.calls == len(texts)


def plan(**changes):
    settings = {
        "variants": variants_of([0.8, 0.9], [10, None]),
        "embedder": WordEmbedder(),
        "guards": Guards(),
        "policy": Policy(),
    }
    return Plan(**settings | changes)


def written(path, rows):
    with gzip.open(path, "wt") if path.suffix == ".gz" else path.open("w") as file:
        file.writelines(json.dumps(row) + "\n" for row in rows)
    return path


def test_embeddings_in_a_work_dir_serve_the_next_run_and_no_other_embedder(tmp_path):
    log = written(tmp_path / "log.jsonl", asked(50))
    embedder = WordEmbedder()
    first = replay([log], plan(embedder=embedder, work_dir=tmp_path / "work"))
    calls = embedder.calls
    second = replay([log], plan(embedder=embedder, work_dir=tmp_path / "work"))
    assert (first.embedded, second.embedded, embedder.calls) == (calls, 0, calls)
    assert first.variants == second.variants
    with pytest.raises(errors.FingerprintError, match="name another folder"):
        replay([log], plan(embedder=WordEmbedder(name="other"), work_dir=tmp_path / "work"))


def test_savings_are_those_of_the_calls_that_would_not_have_been_made(tmp_path):
    rows = [
        {
            "request": {"model": model, "messages": [{"role": "user", "content": "how do routers work"}]},
            "response": {
                "choices": [{"message": {"content": "by routing"}, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 500},
            },
            "time": i,
            "latency_ms": 250,
        }
        for i, model in enumerate(["small", "small", "small", "large"])
    ]
    found = replay(
        [written(tmp_path / "log.jsonl", rows)],
        plan(variants=variants_of([0.8], [None]), prices={"small": (1.0, 2.0)}),
    )
    (figures,) = found.variants
    assert (figures["exact_hits"], figures["hits"], figures["hit_rate"]) == (2, 2, 0.5)
    saved = figures["saved"]
    assert (saved["input_tokens"], saved["output_tokens"]) == (2000, 1000)
    assert saved["cost"] == pytest.approx(2 * (1000 * 1.0 + 500 * 2.0) / 1e6)
    assert saved["seconds"] == pytest.approx(0.5)
    assert saved["calls_with_estimated_tokens"] == saved["calls_without_cost"] == 0


def test_what_a_log_does_not_say_is_estimated_or_unknown_and_counted_as_such(tmp_path):
    rows = [{"prompt": "x" * 400, "time": i} for i in range(3)]
    (figures,) = replay(
        [written(tmp_path / "log.jsonl", rows)], plan(variants=variants_of([0.8], [None]))
    ).variants
    saved = figures["saved"]
    assert (saved["calls"], saved["calls_with_estimated_tokens"], saved["input_tokens"]) == (2, 2, 200)
    assert (saved["cost"], saved["seconds"]) == (None, None)
    assert figures["wrong"]["all"]["share"] is None


def test_labels_tell_which_hits_are_wrong(tmp_path):
    rows = [
        {"prompt": "how does the passport renewal process work for companies", "set": 1, "time": 0},
        {"prompt": "how does a passport renewal process work for companies", "set": 1, "time": 1},
        {"prompt": "how does passport renewal process work for companies", "set": 2, "time": 2},
        {"prompt": "how does passport renewal process work for companies", "time": 3},
    ]
    (figures,) = replay(
        [written(tmp_path / "log.jsonl", rows)],
        plan(variants=variants_of([0.7], [None]), fields=Fields(truth="set")),
    ).variants
    assert figures["semantic_hits"] == 3
    assert (figures["wrong"]["semantic"]["judged"], figures["wrong"]["semantic"]["wrong"]) == (2, 1)


def test_answers_are_compared_where_there_are_no_labels(tmp_path):
    rows = [
        {"prompt": "how do routers work", "response": "Packets are forwarded by address.", "time": 0},
        {"prompt": "how do routers work", "response": "packets are forwarded, by address", "time": 1},
        {"prompt": "how do routers work", "response": "ask your provider", "time": 2},
    ]
    log = written(tmp_path / "log.jsonl", rows)
    agreement = agreement_named("tokens", WordEmbedder())
    (figures,) = replay([log], plan(variants=variants_of([0.8], [None]), agreement=agreement)).variants
    assert (figures["wrong"]["exact"]["judged"], figures["wrong"]["exact"]["wrong"]) == (2, 1)


@pytest.mark.parametrize("measure", ["exact", "tokens", "embedding"])
def test_answers_that_differ_in_case_and_punctuation_agree_by_every_measure(measure):
    alike = agreement_named(measure, WordEmbedder())
    assert alike("It is Paris.", "it is paris")
    assert not alike("It is Paris.", "Nobody knows where that could be found")


def test_token_overlap_counts_repeats():
    assert token_overlap("a a b", "a b b") == pytest.approx(2 / 3)
    assert token_overlap("", "a") == 0.0


def test_pairs_for_labelling_are_drawn_evenly_and_carry_what_is_known(tmp_path):
    log = written(tmp_path / "log.jsonl", [{**row, "set": 1} for row in asked(400)])
    found = replay([log], plan(pairs=7, fields=Fields(truth="set")))
    again = replay([log], plan(pairs=7, fields=Fields(truth="set")))
    assert len(found.pairs) == 7 < found.n_pairs
    assert found.pairs == again.pairs
    assert {pair["same"] for pair in found.pairs} == {1}
    assert all(pair["a"] != pair["b"] and pair["similarity"] >= 0.8 for pair in found.pairs)


def test_a_log_with_its_newest_lines_first_is_told_of_and_can_be_sorted(tmp_path, monkeypatch):
    monkeypatch.setattr(replaying, "WINDOW", 16)
    rows = asked(200)
    forwards = replay([written(tmp_path / "a.jsonl", rows)], plan())
    backwards = written(tmp_path / "b.jsonl", reversed(rows))
    assert forwards.ordered.late == 0
    assert replay([backwards], plan()).ordered.late > 100
    in_time = replay([backwards], plan(sort=True))
    assert in_time.ordered.late == 0
    assert in_time.variants == forwards.variants


def test_requests_that_ran_at_the_same_time_are_put_in_order():
    def request(time):
        return Logged("x", time, None, None, None, None, None, None, None, None)

    found = Ordered()
    times = [1.0, 3.0, 2.0, None, 4.0]
    ordered = [time for time, _ in in_order(map(request, times), found, window=2)]
    assert ordered == [1.0, 2.0, 2.0, 3.0, 4.0]
    assert (found.late, found.timeless) == (0, 1)


def test_a_cell_forgets_the_least_recently_used_and_what_has_expired():
    cell = Cell(0, Variant(0.8, 2, 10.0), 256)
    assert [cell.put(row, offset, now) for row, offset, now in ((1, 10, 0), (2, 20, 1))] == [-1, -1]
    cell.touch(1)
    assert cell.put(3, 30, 2.0) == 2
    assert list(cell.expired(9.99)) == []
    assert list(cell.expired(10.0)) == [1]
    assert (cell.n, cell.offset_of(3), cell.evictions) == (1, 30, 1)


@pytest.mark.parametrize(
    ("k", "n", "low", "high"),
    # R: binom.test(k, n)$conf.int
    [(0, 10, 0.0, 0.3084971), (1, 10, 0.002528579, 0.4450161), (5, 100, 0.01643188, 0.1128349)],
)
def test_exact_intervals_are_the_published_ones(k, n, low, high):
    assert share_of(k, n)["clopper_pearson"] == pytest.approx([low, high], abs=1e-6)
    assert share_of(n - k, n)["clopper_pearson"] == pytest.approx([1 - high, 1 - low], abs=1e-6)


def test_of_no_hits_there_is_no_share_and_everything_is_possible():
    assert share_of(0, 0) == {
        "judged": 0,
        "wrong": 0,
        "share": None,
        "wilson": [0.0, 1.0],
        "clopper_pearson": [0.0, 1.0],
    }


def test_the_timeline_keeps_few_points_however_long_the_log():
    timeline = replaying.Timeline()
    for n in range(1, 5001):
        timeline.add(n, float(n), lambda: [1])
    timeline.end(5001, 5001.0, [2])
    timeline.end(5001, 5001.0, [2])
    points = [n for n, _, _ in timeline.points]
    assert 64 <= len(points) <= 130
    assert points[-1] == 5001
    assert {b - a for a, b in pairwise(points[:-1])} == {timeline.stride}


def test_too_many_combinations_are_refused(tmp_path):
    log = written(tmp_path / "log.jsonl", asked(3))
    with pytest.raises(errors.InvalidValueError, match=r"expected 1 to 64 combinations .*, got 130"):
        replay([log], plan(variants=variants_of([i / 100 for i in range(30, 95)], [1, 2])))
