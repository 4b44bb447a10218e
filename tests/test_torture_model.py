"""SemanticCache on a file against a plain dictionary, under random steps."""

import shutil
import tempfile
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule, run_state_machine_as_test

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.text import clock
from binary_semantic_cache.text.vectors import radius
from torture import FOLDER, TIMES, Words, make_cache, state

SCOPES = [None, "other"]
SUBJECTS = ["river", "castle", "bakery"]
PROMPTS = [
    f"{extra}what is known of the old {subject} {subject}s{end}"
    for subject in SUBJECTS
    for extra, end in (("", ""), ("please ", ""), ("", " today"))
]
MADE = Words().embed(PROMPTS)
UNIT = MADE / np.linalg.norm(MADE, axis=1, keepdims=True)
COSINES = UNIT @ UNIT.T
# Half-way in the widest gap between two cosines: rounding of the kept vectors changes no decision.
_ORDERED = np.sort(COSINES[np.triu_indices(len(PROMPTS), 1)])
_GAP = int(np.argmax(np.diff(_ORDERED)))
THRESHOLD = float(_ORDERED[_GAP : _GAP + 2].mean())
ROUNDING = 0.006
assert _ORDERED[_GAP + 1] - _ORDERED[_GAP] > 3 * ROUNDING


def check_radius() -> None:
    """No pair is among those few that the radius of a search misses."""
    codes = RustBinaryEncoder(64, 256, 42).encode(MADE.astype(np.float32))
    for i in range(len(PROMPTS)):
        for j in range(len(PROMPTS)):
            distance = sum(int(a ^ b).bit_count() for a, b in zip(codes[i], codes[j], strict=True))
            assert COSINES[i, j] < THRESHOLD or distance <= radius(THRESHOLD, 256)


NUMBERS, WHERE, TTLS = (
    st.integers(0, len(PROMPTS) - 1),
    st.sampled_from(SCOPES),
    st.sampled_from([None, 5.0, 50.0]),
)
STEPS = 0


class Clock:
    """A time that goes on when it is told to."""

    now = 0.0


class FileAgainstDictionary(RuleBasedStateMachine):
    """`model` maps scope and number of a prompt to `(answer, expiry, tag)`."""

    @initialize()
    def start(self):
        self.folder = tempfile.mkdtemp(dir=FOLDER)
        self.path = Path(self.folder) / "c.db"
        Clock.now = 1_800_000_000.0
        self.cache, self.second = make_cache(self.path, threshold=THRESHOLD), None
        self.model: dict[tuple[str | None, int], tuple[str, float | None, str]] = {}
        self.forbidden: set[tuple[str | None, frozenset[int]]] = set()
        self.counter = self.checks = 0

    def teardown(self):
        if hasattr(self, "folder"):
            self.cache.close()
            if self.second is not None:
                self.second.close()
            shutil.rmtree(self.folder)

    def live(self) -> dict[tuple[str | None, int], tuple[str, float | None, str]]:
        return {at: held for at, held in self.model.items() if held[1] is None or held[1] > Clock.now}

    def a_cache(self, second: bool):
        """The cache, or another one on the same file."""
        if not second:
            return self.cache
        if self.second is None:
            self.second = make_cache(self.path, threshold=THRESHOLD)
        return self.second

    @rule(number=NUMBERS, scope=WHERE, ttl=TTLS, second=st.booleans())
    def put(self, number, scope, ttl, second):
        self.counter += 1
        answer, tag = f"{scope} | {PROMPTS[number]} | {self.counter}", f"tag {number % 2}"
        self.a_cache(second).put(PROMPTS[number], answer, scope=scope, ttl_seconds=ttl, tags=[tag])
        self.model[scope, number] = answer, None if ttl is None else Clock.now + ttl, tag

    def expected(self, number, scope, exact_only) -> set[tuple[str, str]]:
        """Kind and answer of the hits that are right; more than one where cosines are as good as equal."""
        live = self.live()
        if (scope, number) in live:
            return {("exact", live[scope, number][0])}
        near = [
            (COSINES[number, other], held[0])
            for (where, other), held in live.items()
            if where == scope
            and COSINES[number, other] > THRESHOLD
            and (scope, frozenset((number, other))) not in self.forbidden
        ]
        if exact_only or not near:
            return set()
        best = max(cosine for cosine, _ in near)
        return {("semantic", answer) for cosine, answer in near if cosine > best - ROUNDING}

    @rule(number=NUMBERS, scope=WHERE, exact_only=st.booleans(), second=st.booleans())
    def look_up(self, number, scope, exact_only, second):
        verdict = self.a_cache(second).lookup(PROMPTS[number], scope=scope, exact_only=exact_only)
        right = self.expected(number, scope, exact_only)
        assert (verdict.kind, verdict.response) in right if verdict else not right

    @rule(number=NUMBERS, scope=WHERE, second=st.booleans())
    def report(self, number, scope, second):
        hit = self.a_cache(second).lookup(PROMPTS[number], scope=scope)
        if hit:
            assert self.cache.report(hit)
            other = PROMPTS.index(hit.prompt)
            del self.model[scope, other]
            if hit.kind == "semantic":
                self.forbidden.add((scope, frozenset((number, other))))

    @rule(number=NUMBERS, scope=WHERE, second=st.booleans())
    def compute(self, number, scope, second):
        self.counter += 1
        answer = f"{scope} | {PROMPTS[number]} | {self.counter}"
        right = {held for _, held in self.expected(number, scope, exact_only=False)}
        got = self.a_cache(second).get_or_compute(PROMPTS[number], lambda: answer, scope=scope)
        assert got in (right or {answer})
        if not right:
            self.model[scope, number] = answer, None, ""

    @rule(number=NUMBERS, scope=WHERE)
    def invalidate_prompt(self, number, scope):
        gone = self.cache.invalidate(prompt=PROMPTS[number], scope=scope)
        assert len(gone) == ((scope, number) in self.model)
        self.model.pop((scope, number), None)

    @rule(number=st.integers(0, 1), scope=WHERE)
    def invalidate_tag(self, number, scope):
        tag = f"tag {number}"
        gone = [at for at, held in self.model.items() if held[2] == tag and at[0] == scope]
        assert len(self.cache.invalidate(tag=tag, scope=scope)) == len(gone)
        for at in gone:
            del self.model[at]

    @rule(scope=WHERE)
    def clear_scope(self, scope):
        gone = [at for at in self.model if at[0] == scope]
        assert self.cache.clear(scope=scope) == len(gone)
        for at in gone:
            del self.model[at]

    @rule(sure=st.integers(0, 3))
    def clear(self, sure):
        if sure == 0:
            assert self.cache.clear() == len(self.model)
            self.model.clear()

    @rule(seconds=st.sampled_from([1.0, 4.0, 5.0, 49.0]))
    def go_on(self, seconds):
        Clock.now += seconds

    @rule()
    def sweep(self):
        expired = len(self.model) - len(self.live())
        assert self.cache.store.sweep(Clock.now, 1000) == expired
        self.model = self.live()

    @rule()
    def reopen(self):
        self.cache.close()
        self.cache = make_cache(self.path, threshold=THRESHOLD)

    @rule()
    def compact(self):
        self.cache.store.compact()

    @invariant()
    def the_file_holds_what_the_dictionary_holds(self):
        global STEPS
        STEPS += 1
        if hasattr(self, "cache"):
            assert len(self.cache) == len(self.model)
            self.checks += 1
            if self.checks % 10 == 0:
                assert sorted(prompt for _, prompt in self.cache.store.select()) == sorted(
                    PROMPTS[number] for _, number in self.model
                )
                assert len(state(self.cache.store)) == len(self.model)


@pytest.mark.timeout(3600)
def test_a_cache_on_a_file_equals_a_dictionary(monkeypatch):
    check_radius()
    monkeypatch.setattr(clock, "time", lambda: Clock.now)
    monkeypatch.setattr(clock, "monotonic", lambda: 0.0)
    examples = round(150 * TIMES)
    run_state_machine_as_test(
        FileAgainstDictionary,
        settings=settings(
            max_examples=examples,
            stateful_step_count=100,
            deadline=None,
            suppress_health_check=list(HealthCheck),
        ),
    )
    assert 10_000 * TIMES <= STEPS
