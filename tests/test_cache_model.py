"""The cache against a plain dict, under random steps."""

import tempfile
from pathlib import Path

import numpy as np
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, rule

from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder

DIM, BITS, N = 8, 70, 12
ENCODER = RustBinaryEncoder(DIM, code_bits=BITS)
EMBEDDINGS = np.random.default_rng(5).standard_normal((N, DIM)).astype(np.float32)
CODES = [int.from_bytes(code.tobytes(), "little") for code in ENCODER.encode(EMBEDDINGS)]
assert len(set(CODES)) == N

NUMBERS = st.integers(0, N - 1)


class CacheAgainstDict(RuleBasedStateMachine):
    """`model` maps a code to `[id, response, access count]`, least recently used first."""

    @initialize(max_entries=st.integers(1, 8), threshold=st.sampled_from([0.0, 0.5, 0.6, 0.8, 1.0]))
    def start(self, max_entries, threshold):
        self.folder = tempfile.TemporaryDirectory()
        self.path = Path(self.folder.name) / "cache.npz"
        self.cache = BinarySemanticCache(ENCODER, max_entries, threshold)
        self.model, self.saved = {}, None
        self.seen_ids, self.counter = set(), 0
        self.hits = self.misses = self.evictions = 0

    def teardown(self):
        if hasattr(self, "folder"):
            self.folder.cleanup()

    def model_put(self, number, entry_id):
        code = CODES[number]
        known = self.model.pop(code, None)
        if known is not None:
            assert entry_id == known[0]
        else:
            assert entry_id not in self.seen_ids
            self.seen_ids.add(entry_id)
            if len(self.model) == self.cache.max_entries:
                del self.model[next(iter(self.model))]
                self.evictions += 1
        self.model[code] = [entry_id, self.counter, 0]
        self.counter += 1

    def model_get(self, number, entry):
        nearest = min(((code ^ CODES[number]).bit_count() for code in self.model), default=None)
        if nearest is None or 1 - nearest / BITS < self.cache.similarity_threshold:
            assert entry is None
            self.misses += 1
            return
        self.hits += 1
        code = int.from_bytes(entry.code.tobytes(), "little")
        assert (code ^ CODES[number]).bit_count() == nearest
        assert entry.similarity == 1 - nearest / BITS
        known = self.model.pop(code)
        known[2] += 1
        self.model[code] = known
        assert [entry.id, entry.response, entry.access_count] == known

    @rule(number=NUMBERS)
    def put(self, number):
        self.model_put(number, self.cache.put(EMBEDDINGS[number], self.counter))

    @rule(numbers=st.lists(NUMBERS, max_size=6))
    def put_many(self, numbers):
        ids = self.cache.put_many(EMBEDDINGS[numbers], range(self.counter, self.counter + len(numbers)))
        for number, entry_id in zip(numbers, ids, strict=True):
            self.model_put(number, entry_id)

    @rule(number=NUMBERS)
    def get(self, number):
        self.model_get(number, self.cache.get(EMBEDDINGS[number]))

    @rule(numbers=st.lists(NUMBERS, max_size=6))
    def get_many(self, numbers):
        entries = self.cache.get_many(EMBEDDINGS[numbers])
        for number, entry in zip(numbers, entries, strict=True):
            self.model_get(number, entry)

    @rule(number=NUMBERS)
    def delete(self, number):
        known = self.model.pop(CODES[number], None)
        if known is not None:
            assert self.cache.delete(known[0])
            assert not self.cache.delete(known[0])

    @rule()
    def delete_what_is_not_there(self):
        gone = self.seen_ids - {entry_id for entry_id, _, _ in self.model.values()}
        assert not any(entry_id in self.cache or self.cache.delete(entry_id) for entry_id in gone)

    @rule()
    def clear(self):
        self.cache.clear()
        self.model = {}

    @rule()
    def save(self):
        self.cache.save(self.path)
        self.saved = [(code, known[1], known[2]) for code, known in self.model.items()]

    @rule(mmap=st.booleans())
    def load(self, mmap):
        if self.saved is None:
            return
        self.cache.load(self.path, mmap=mmap)
        ids = [entry.id for entry in self.cache.get_all_entries()]
        assert self.seen_ids.isdisjoint(ids)
        self.seen_ids.update(ids)
        self.model = {
            code: [entry_id, response, count]
            for entry_id, (code, response, count) in zip(ids, self.saved, strict=True)
        }

    @invariant()
    def content_and_order_of_use_agree(self):
        if not hasattr(self, "cache"):
            return
        assert [
            (int.from_bytes(entry.code.tobytes(), "little"), entry.id, entry.response, entry.access_count)
            for entry in self.cache.get_all_entries()
        ] == [(code, *known) for code, known in self.model.items()]
        assert all(known[0] in self.cache for known in self.model.values())

    @invariant()
    def counters_agree(self):
        if hasattr(self, "cache"):
            stats = self.cache.stats()
            assert (stats.size, stats.hits, stats.misses, stats.evictions) == (
                len(self.model),
                self.hits,
                self.misses,
                self.evictions,
            )


CacheAgainstDict.TestCase.settings = settings(max_examples=60, stateful_step_count=40, deadline=None)
TestCacheAgainstDict = CacheAgainstDict.TestCase
