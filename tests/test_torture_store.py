"""A store that misbehaves on purpose: whatever it says, no answer is served to another's question."""

import random
from dataclasses import replace

import pytest

from binary_semantic_cache.errors import StoreError
from binary_semantic_cache.stores import Change, ChangeKind, Stored
from binary_semantic_cache.stores.memory import MemoryStore
from binary_semantic_cache.text import deadline
from torture import TIMES, make_cache

SCOPES = ("left", "right")
SUBJECTS = ("door", "roof", "fence", "wall", "lamp", "table", "garden", "window")
PROMPTS = [f"{subject} {subject}s {subject}ing in which colour" for subject in SUBJECTS]
NEAR = [f"{prompt} now" for prompt in PROMPTS]
EVERYTHING = [(prompt, scope) for prompt in PROMPTS for scope in SCOPES]


def answer(prompt: str, scope: str, version: int = 0) -> str:
    return f"{scope} | {prompt} | {version}"


class MisbehavingStore:
    """A `MemoryStore` of which one promise, named by `fault`, is broken now and then."""

    bounded = True

    def __init__(self, fault: str = "", seed: int = 0, share: float = 0.5):
        self.inner = MemoryStore()
        self.fault, self.share = fault, share
        self.random = random.Random(seed)
        self.old: list[Stored] = []
        self.broken = 0

    def __getattr__(self, name):
        return getattr(self.inner, name)

    def breaks(self, *faults: str) -> bool:
        broken = self.fault in faults and self.random.random() < self.share
        self.broken += broken
        return broken

    def put_many(self, entries):
        ids = self.inner.put_many(entries)
        self.old += map(Stored, ids, entries)
        if self.breaks("ids of others"):
            return [self.random.choice(self.old).id for _ in ids]
        return ids

    def any_entry(self) -> Stored:
        return self.random.choice(self.old)

    def find(self, key, now):
        if self.breaks("another body"):
            return self.any_entry()
        if self.breaks("expired bodies"):
            return next((stored for stored in self.old if stored.entry.key == key), None)
        return self.mixed(self.inner.find(key, now))

    def get(self, entry_id, scope, code, now):
        if self.breaks("another body"):
            return self.any_entry()
        if self.breaks("re-issued ids"):
            return Stored(entry_id, self.any_entry().entry)
        if self.breaks("expired bodies"):
            return next((stored for stored in self.old if stored.id == entry_id), None)
        return self.mixed(self.inner.get(entry_id, scope, code, now))

    def mixed(self, stored: Stored | None) -> Stored | None:
        """The row of one entry with the body of another, as a join on a re-issued id gives."""
        if stored is None:
            return None
        # Of another prompt: an answer alone in another's place is what only the store itself can see.
        others = [old.entry for old in self.old if old.entry.prompt != stored.entry.prompt]
        if not others:
            return stored
        other = self.random.choice(others)
        body = {name: getattr(other, name) for name in ("prompt", "kind", "payload", "vector", "tags")}
        if self.breaks("mixed rows"):
            return Stored(stored.id, replace(stored.entry, **body))
        if self.breaks("mixed prompts"):
            del body["vector"]
            return Stored(stored.id, replace(stored.entry, **body))
        if self.breaks("unreadable answers"):
            kind = self.random.choice(["text", "data", "nonsense"])
            return Stored(stored.id, replace(stored.entry, kind=kind, payload=b"\xff\xc1\x00"))
        return stored

    def vectors(self, ids):
        packed = self.inner.vectors(ids)
        if self.breaks("vectors of others"):
            return [self.any_entry().entry.vector for _ in ids]
        if self.breaks("too few vectors"):
            return packed[:-1]
        if self.breaks("damaged vectors"):
            return [self.random.choice([b"\x01", b"\x07abc", b"\x03" + b"\xff" * 256, b"x"]) for _ in packed]
        return packed

    def changes(self, cursor, limit):
        lines, end = self.inner.changes(cursor, limit)
        return self.worsened(lines), end

    def snapshot(self):
        cursor, chunks = self.inner.snapshot()
        return cursor, iter([self.worsened(chunk) for chunk in chunks])

    def worsened(self, lines: list[Change]) -> list[Change]:
        if not lines:
            return lines
        if self.breaks("lost lines"):
            return [line for line in lines if self.random.random() < 0.6]
        if self.breaks("repeated lines"):
            return lines + lines
        if self.breaks("lines out of order"):
            return self.random.sample(lines, len(lines))
        if self.breaks("codes of others"):
            return [self.with_code_of_another(line) for line in lines]
        return lines

    def with_code_of_another(self, line: Change) -> Change:
        if line.kind is not ChangeKind.PUT:
            return line
        other = self.any_entry().entry
        return line._replace(code=other.code, scope=other.scope)


FAULTS = {
    "another body",
    "re-issued ids",
    "expired bodies",
    "mixed rows",
    "mixed prompts",
    "unreadable answers",
    "ids of others",
    "vectors of others",
    "too few vectors",
    "damaged vectors",
    "lost lines",
    "repeated lines",
    "lines out of order",
    "codes of others",
}


def see(hit, asked: str, scope: str) -> None:
    """An answer names what it answers: only the very prompt's, or the one that was near, will do."""
    said_scope, prompt, _ = hit.response.split(" | ")
    assert (said_scope, prompt) == (scope, hit.prompt), (asked, scope, hit)
    assert hit.prompt in (asked, asked.removesuffix(" now"), f"{asked} now"), (asked, hit)
    assert hit.kind == "semantic" or hit.prompt == asked


@pytest.fixture
def no_breaker(monkeypatch):
    """Every lookup asks the store, however often it failed before."""
    monkeypatch.setattr(deadline, "_FAILURES_TO_OPEN", 10**9)


@pytest.mark.parametrize("share", [0.1, 0.5, 1.0])
@pytest.mark.parametrize("fault", sorted(FAULTS))
def test_no_fault_of_a_store_makes_a_wrong_answer(fault, share, no_breaker):
    hits = 0
    for seed in range(round(3 * TIMES)):
        store = MisbehavingStore(fault, seed, share)
        rng = random.Random(f"{fault} {seed}")
        cache = make_cache(store)
        for step in range(300):
            prompt, scope = rng.choice(EVERYTHING)
            asked, chance = rng.choice([prompt, f"{prompt} now"]), rng.random()
            try:
                if chance < 0.2:
                    cache.put(prompt, answer(prompt, scope, step), scope=scope, tags=["t"])
                elif chance < 0.25:
                    cache.invalidate(prompt=prompt, scope=scope)
                elif chance < 0.3:
                    made = cache.get_or_compute(asked, lambda a=asked, s=scope: answer(a, s), scope=scope)
                    said_scope, said, _ = made.split(" | ")
                    assert said_scope == scope
                    assert said.removesuffix(" now") == asked.removesuffix(" now")
                elif chance < 0.32 and store.old:
                    cache = make_cache(store)
                else:
                    hit = cache.lookup(asked, scope=scope)
                    if hit:
                        hits += 1
                        see(hit, asked, scope)
                        if chance > 0.98:
                            cache.report(hit)
            except StoreError:
                pass
        assert store.broken > 0
    assert hits > 0 or share == 1.0


def test_a_store_that_behaves_serves_both_ways(no_breaker):
    cache = make_cache(MisbehavingStore())
    for prompt, scope in EVERYTHING:
        cache.put(prompt, answer(prompt, scope), scope=scope)
    for prompt, near in zip(PROMPTS, NEAR, strict=True):
        assert cache.lookup(prompt, scope="left").kind == "exact"
        hit = cache.lookup(near, scope="right")
        assert (hit.kind, hit.response) == ("semantic", answer(prompt, "right"))


def test_a_store_that_serves_what_has_expired_is_not_believed():
    class Timeless(MisbehavingStore):
        def find(self, key, now):
            return self.inner.find(key, 0.0 if not self.old else self.old[0].entry.created_at)

        def get(self, entry_id, scope, code, now):
            return self.inner.get(entry_id, scope, code, self.old[0].entry.created_at)

    store = Timeless()
    cache = make_cache(store)
    cache.put(PROMPTS[0], answer(PROMPTS[0], "left"), scope="left", ttl_seconds=1e-6)
    assert not cache.lookup(PROMPTS[0], scope="left")
    assert not cache.lookup(NEAR[0], scope="left")


def test_an_answer_that_the_store_no_longer_holds_is_not_served_from_the_index():
    store = MisbehavingStore()
    cache = make_cache(store)
    cache.put(PROMPTS[0], answer(PROMPTS[0], "left"), scope="left")
    store.inner._entries.clear()
    assert not cache.lookup(PROMPTS[0], scope="left")
    assert not cache.lookup(NEAR[0], scope="left")
