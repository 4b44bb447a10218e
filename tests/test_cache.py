"""`BinarySemanticCache` as its users see it."""

import gc
import weakref

import numpy as np
import pytest

from binary_semantic_cache import BinarySemanticCache, CacheStats, HammingSimilarity, RustBinaryEncoder
from binary_semantic_cache.errors import (
    CorruptFileError,
    DimensionError,
    InvalidTypeError,
    InvalidValueError,
    StoreError,
    UnsavableResponseError,
)
from binary_semantic_cache.vector import archive
from binary_semantic_cache.vector.archive import Contents
from binary_semantic_cache.vector.response_column import ResponseColumn

DIM = 32
ENCODER = RustBinaryEncoder(DIM)


def embedding(number: int) -> np.ndarray:
    return np.random.default_rng(number).standard_normal(DIM).astype(np.float32)


def embeddings(*numbers: int) -> np.ndarray:
    return np.stack([embedding(number) for number in numbers])


def filled(n: int, **options) -> BinarySemanticCache:
    cache = BinarySemanticCache(ENCODER, **options)
    for number in range(n):
        cache.put(embedding(number), f"answer {number}")
    return cache


def responses(cache: BinarySemanticCache) -> list[object]:
    return [entry.response for entry in cache.get_all_entries()]


class Response:
    """Something that can be referred to weakly."""


# Put and get


def test_what_was_put_is_found():
    cache = filled(5)
    entry = cache.get(embedding(3))
    assert (entry.id, entry.response, entry.similarity) == (3, "answer 3", 1.0)
    assert np.array_equal(entry.code, ENCODER.encode(embedding(3)))


def test_an_empty_cache_misses():
    cache = BinarySemanticCache(ENCODER)
    assert cache.get(embedding(0)) is None
    assert cache.get_many(embeddings(0, 1)) == [None, None]


def test_the_most_similar_entry_is_found():
    cache = filled(20, similarity_threshold=0.0)
    query = embedding(99)
    code = int.from_bytes(ENCODER.encode(query).tobytes(), "little")
    distances = [
        (code ^ int.from_bytes(ENCODER.encode(embedding(i)).tobytes(), "little")).bit_count()
        for i in range(20)
    ]
    entry = cache.get(query)
    assert entry.id == distances.index(min(distances))
    assert entry.similarity == 1 - min(distances) / 256


def test_a_similarity_equal_to_the_threshold_is_a_hit():
    hamming = HammingSimilarity(256)
    similarity = hamming.similarity(ENCODER.encode(embedding(0)), ENCODER.encode(embedding(1)))
    at = BinarySemanticCache(ENCODER, similarity_threshold=similarity)
    above = BinarySemanticCache(ENCODER, similarity_threshold=float(np.nextafter(similarity, 2)))
    for cache in (at, above):
        cache.put(embedding(0), "answer")
    assert at.get(embedding(1)).similarity == similarity
    assert above.get(embedding(1)) is None


def test_putting_a_code_again_replaces_its_response_and_keeps_its_id():
    cache = filled(3)
    cache.get(embedding(0))
    before = cache.get(embedding(0))
    assert cache.put(embedding(0), "newer") == before.id
    entry = cache.get_all_entries()[-1]
    assert (entry.id, entry.response, entry.access_count) == (before.id, "newer", 0)
    assert entry.created_at >= before.last_accessed
    assert len(cache) == 3


def test_a_hit_counts_and_dates_the_access():
    cache = filled(1)
    first, second = cache.get(embedding(0)), cache.get(embedding(0))
    assert (first.access_count, second.access_count) == (1, 2)
    assert first.created_at == second.created_at <= first.last_accessed <= second.last_accessed


def test_an_access_count_stays_at_its_limit():
    cache = filled(1)
    cache._index.columns.access_count[0] = 2**31 - 1
    assert cache.get(embedding(0)).access_count == 2**31 - 1


def test_the_least_recently_used_entry_leaves_first():
    cache = filled(3, max_entries=3)
    cache.get(embedding(0))
    cache.put(embedding(1), "newer")
    cache.put(embedding(9), "answer 9")
    assert responses(cache) == ["answer 0", "newer", "answer 9"]
    assert cache.stats().evictions == 1


def test_a_cache_of_one_entry_holds_the_last():
    cache = filled(5, max_entries=1)
    assert responses(cache) == ["answer 4"]


def test_put_many_equals_puts_in_order():
    numbers = [0, 1, 0, 2, 3, 1, 4, 0]
    one_by_one = BinarySemanticCache(ENCODER, max_entries=3)
    ids = [one_by_one.put(embedding(number), i) for i, number in enumerate(numbers)]
    at_once = BinarySemanticCache(ENCODER, max_entries=3)
    assert at_once.put_many(embeddings(*numbers), range(len(numbers))) == ids
    assert responses(at_once) == responses(one_by_one)


def test_get_many_equals_gets_in_order():
    numbers = [2, 7, 0, 2, 9]
    one_by_one, at_once = filled(4), filled(4)
    expected = [one_by_one.get(embedding(number)) for number in numbers]
    found = at_once.get_many(embeddings(*numbers))
    assert [entry and (entry.id, entry.access_count, entry.similarity) for entry in found] == [
        entry and (entry.id, entry.access_count, entry.similarity) for entry in expected
    ]
    assert responses(at_once) == responses(one_by_one)
    assert at_once.stats().hits == 3
    assert at_once.stats().misses == 2


def test_batches_of_nothing_are_fine():
    cache, nothing = filled(1), np.empty((0, DIM), np.float32)
    assert cache.put_many(nothing, []) == []
    assert cache.get_many(nothing) == []


def test_an_entry_holds_a_copy_of_its_code():
    cache = filled(1)
    cache.get(embedding(0)).code[:] = 0
    assert cache.get(embedding(0)).similarity == 1.0


def test_codes_of_a_size_that_fills_no_word_are_found():
    encoder = RustBinaryEncoder(DIM, code_bits=100)
    cache = BinarySemanticCache(encoder)
    cache.put(embedding(0), "answer")
    assert cache.get(embedding(0)).response == "answer"


# Delete and clear


def test_a_deleted_entry_is_gone_and_its_id_stays_unused():
    cache = filled(3)
    assert cache.delete(1) is True
    assert cache.delete(1) is False
    assert 1 not in cache
    assert cache.get(embedding(1)) is None
    assert cache.put(embedding(1), "again") != 1
    assert len(cache) == 3


def test_deleting_before_the_first_put_after_a_load_works(tmp_path):
    cache = filled(3)
    cache.save(tmp_path / "cache.npz")
    cache.load(tmp_path / "cache.npz")
    entry = cache.get(embedding(1))
    assert cache.delete(entry.id)
    assert cache.put(embedding(1), "again") != entry.id


def test_membership_is_of_ids():
    cache = filled(2)
    assert 0 in cache
    assert np.int64(1) in cache
    assert 2 not in cache
    assert "0" not in cache
    assert -1 not in cache


@pytest.mark.parametrize("how", ["delete", "clear", "evict", "replace", "load"])
def test_a_response_that_leaves_is_let_go_at_once(how, tmp_path):
    cache = BinarySemanticCache(ENCODER, max_entries=2)
    BinarySemanticCache(ENCODER).save(tmp_path / "empty.npz")
    response = Response()
    gone = weakref.ref(response)
    entry_id = cache.put(embedding(0), response)
    cache.put(embedding(1), "other")
    del response
    assert gone() is not None
    gc.disable()
    try:
        if how == "delete":
            cache.delete(entry_id)
        elif how == "clear":
            cache.clear()
        elif how == "evict":
            cache.put(embedding(2), "third")
        elif how == "replace":
            cache.put(embedding(0), "newer")
        else:
            cache.load(tmp_path / "empty.npz")
        assert gone() is None
    finally:
        gc.enable()


def test_a_finaliser_may_use_the_cache():
    cache, seen = BinarySemanticCache(ENCODER, max_entries=1), []

    class Curious:
        def __del__(self):
            seen.append(responses(cache))

    cache.put(embedding(0), Curious())
    cache.put(embedding(1), "next")
    assert seen == [["next"]]


def test_clear_leaves_nothing_but_the_counters():
    cache = filled(3)
    cache.get(embedding(0))
    cache.clear()
    assert len(cache) == 0
    assert cache.get(embedding(0)) is None
    assert cache.get_all_entries() == []
    assert (cache.stats().hits, cache.stats().misses) == (1, 1)
    assert cache.put(embedding(0), "again") > 2


# Counters


def test_stats_count_hits_misses_and_entries():
    cache = filled(4, max_entries=3)
    cache.get(embedding(3))
    cache.get(embedding(3))
    cache.get(embedding(0))
    stats = cache.stats()
    assert (stats.size, stats.max_size, stats.hits, stats.misses, stats.evictions) == (3, 3, 2, 1, 1)
    assert stats.hit_rate == 2 / 3
    assert stats.memory_mb == stats.memory_bytes / 2**20 > 0


def test_the_hit_rate_before_any_get_is_zero():
    assert CacheStats(0, 1, 0, 0, 0, 0).hit_rate == 0.0


def test_properties_tell_what_was_asked_for():
    cache = BinarySemanticCache(ENCODER, max_entries=7, similarity_threshold=1)
    assert (cache.encoder, cache.max_entries, cache.similarity_threshold) == (ENCODER, 7, 1.0)


def test_listing_entries_counts_as_no_access():
    cache = filled(3)
    assert [(entry.id, entry.access_count, entry.similarity) for entry in cache.get_all_entries()] == [
        (0, 0, 1.0),
        (1, 0, 1.0),
        (2, 0, 1.0),
    ]
    assert cache.stats().hits == 0


# Files


@pytest.mark.parametrize("mmap", [False, True])
def test_a_saved_cache_comes_back_in_its_order_of_use(tmp_path, mmap):
    cache = filled(5)
    cache.get(embedding(1))
    cache.delete(3)
    cache.save(tmp_path / "cache.npz")
    other = BinarySemanticCache(ENCODER)
    other.load(tmp_path / "cache.npz", mmap=mmap)
    for entry, same in zip(cache.get_all_entries(), other.get_all_entries(), strict=True):
        assert np.array_equal(entry.code, same.code)
        assert (entry.response, entry.created_at, entry.last_accessed, entry.access_count) == (
            same.response,
            same.created_at,
            same.last_accessed,
            same.access_count,
        )
    assert other.get(embedding(1)).response == "answer 1"
    assert other.get(embedding(3)) is None


@pytest.mark.parametrize("mmap", [False, True])
def test_a_loaded_cache_can_be_changed_and_saved_over_its_file(tmp_path, mmap):
    path = tmp_path / "cache.npz"
    filled(5).save(path)
    cache = BinarySemanticCache(ENCODER, max_entries=6)
    cache.load(path, mmap=mmap)
    cache.put(embedding(0), "newer")
    cache.put(embedding(7), "answer 7")
    cache.put(embedding(8), "answer 8")
    cache.delete(cache.get(embedding(3)).id)
    cache.save(path)
    expected = ["answer 2", "answer 4", "newer", "answer 7", "answer 8"]
    assert responses(cache) == expected
    cache.load(path, mmap=mmap)
    assert responses(cache) == expected


def test_a_file_with_more_entries_gives_the_most_recently_used(tmp_path):
    cache = filled(5)
    cache.get(embedding(0))
    cache.save(tmp_path / "cache.npz")
    small = BinarySemanticCache(ENCODER, max_entries=2)
    small.load(tmp_path / "cache.npz")
    assert responses(small) == ["answer 4", "answer 0"]


def test_ids_are_not_used_again_after_a_load(tmp_path):
    cache = filled(3)
    cache.save(tmp_path / "cache.npz")
    cache.load(tmp_path / "cache.npz")
    assert {entry.id for entry in cache.get_all_entries()}.isdisjoint({0, 1, 2})


def test_of_entries_with_one_code_in_a_file_the_latest_stays_at_the_first_put(tmp_path):
    codes = ENCODER.encode(embeddings(0, 1, 0, 2))
    answers = ["older", "answer 1", "newer", "answer 2"]
    contents = Contents(codes, np.zeros(4), np.zeros(4), np.zeros(4, np.int32), answers)
    archive.save(tmp_path / "cache.npz", contents, ENCODER)
    cache = BinarySemanticCache(ENCODER)
    cache.load(tmp_path / "cache.npz")
    cache.put(embedding(3), "answer 3")
    assert responses(cache) == ["answer 1", "newer", "answer 2", "answer 3"]
    assert cache.get(embedding(0)).response == "newer"


def test_a_phase1_file_comes_back(tmp_path):
    cache = filled(3)
    cache.save(tmp_path / "cache.npz", phase1=True)
    cache.load(tmp_path / "cache.npz")
    assert sorted(responses(cache)) == ["answer 0", "answer 1", "answer 2"]


def test_an_unsavable_response_is_named_and_the_old_file_stays(tmp_path):
    path = tmp_path / "cache.npz"
    cache = filled(2)
    cache.save(path)
    before = path.read_bytes()
    entry_id = cache.put(embedding(5), Response())
    cache.get(embedding(0))
    with pytest.raises(UnsavableResponseError, match=rf"\b{entry_id}\b"):
        cache.save(path)
    assert path.read_bytes() == before


def test_a_load_that_fails_leaves_the_cache_as_it_was(tmp_path):
    cache = filled(2)
    (tmp_path / "bad.npz").write_bytes(b"not an archive")
    with pytest.raises(CorruptFileError):
        cache.load(tmp_path / "bad.npz")
    with pytest.raises(StoreError):
        cache.load(tmp_path / "missing.npz")
    assert responses(cache) == ["answer 0", "answer 1"]


class Recording:
    """Responses of a file that note which of them were read."""

    def __init__(self, n):
        self.n, self.read = n, []

    def __len__(self):
        return self.n

    def __getitem__(self, row):
        self.read.append(row)
        return f"base {row}"


def test_loaded_responses_are_read_only_when_asked_for():
    base = Recording(10)
    column = ResponseColumn(base)
    column.replace(3, "newer")
    column.replace(10, "appended")
    column.drop(4)
    picked = column.select(np.array([3, 10, 5, 4], np.int32))
    assert base.read == []
    column.replace(5, "later")
    assert list(picked) == ["newer", "appended", "base 5", None]
    assert picked[1:3] == ["appended", "base 5"]
    assert base.read == [5, 5]


def test_a_base_of_which_nothing_is_left_is_let_go():
    base = Recording(3)
    gone, column = weakref.ref(base), ResponseColumn(base)
    del base
    column.replace(3, "appended")
    for row in (1, 0, 2):
        assert gone() is not None
        column.replace(row, row)
    assert gone() is None
    assert [column[row] for row in range(4)] == [0, 1, 2, "appended"]
    assert column.replace(1, "newer") == 1


# Wrong input


@pytest.mark.parametrize("bad", [0, -1, 2**31 - 2**20 + 1, 10**30])
def test_max_entries_out_of_range_is_refused(bad):
    with pytest.raises(InvalidValueError, match=r"max_entries"):
        BinarySemanticCache(ENCODER, max_entries=bad)


@pytest.mark.parametrize("bad", [True, 1.0, "10", None])
def test_max_entries_of_another_type_is_refused(bad):
    with pytest.raises(InvalidTypeError, match=r"max_entries"):
        BinarySemanticCache(ENCODER, max_entries=bad)


@pytest.mark.parametrize("bad", [-0.1, 1.1, float("nan"), float("inf")])
def test_a_threshold_out_of_range_is_refused(bad):
    with pytest.raises(InvalidValueError, match=r"similarity_threshold"):
        BinarySemanticCache(ENCODER, similarity_threshold=bad)


@pytest.mark.parametrize("bad", [True, "0.8", None, 1j])
def test_a_threshold_of_another_type_is_refused(bad):
    with pytest.raises(InvalidTypeError, match=r"similarity_threshold"):
        BinarySemanticCache(ENCODER, similarity_threshold=bad)


@pytest.mark.parametrize("bad", [None, 384, "encoder", object()])
def test_an_encoder_of_another_type_is_refused(bad):
    with pytest.raises(InvalidTypeError, match=r"encoder"):
        BinarySemanticCache(bad)


def test_put_and_get_take_exactly_one_embedding():
    cache = filled(1)
    for bad in (embeddings(0), embeddings(0, 1), embedding(0)[:-1], np.array(1.0, np.float32)):
        with pytest.raises(DimensionError):
            cache.put(bad, "answer")
        with pytest.raises(DimensionError):
            cache.get(bad)
    assert len(cache) == 1


def test_batches_take_a_matrix_and_as_many_responses():
    cache = filled(1)
    with pytest.raises(DimensionError):
        cache.get_many(embedding(0))
    with pytest.raises(DimensionError):
        cache.put_many(embedding(0), ["answer"])
    with pytest.raises(DimensionError, match=r"expected 2 responses.* got 1"):
        cache.put_many(embeddings(1, 2), ["answer"])
    assert len(cache) == 1


def test_embeddings_with_nan_or_of_no_numbers_are_refused():
    cache, bad = filled(1), embedding(1)
    bad[3] = np.nan
    with pytest.raises(InvalidValueError):
        cache.put(bad, "answer")
    with pytest.raises(InvalidTypeError):
        cache.put([0.0] * DIM, "answer")
    assert len(cache) == 1


@pytest.mark.parametrize("bad", ["0", None, 0.0, True])
def test_an_id_of_another_type_is_refused(bad):
    with pytest.raises(InvalidTypeError, match=r"id"):
        filled(1).delete(bad)


def test_bad_input_is_not_counted_as_a_get():
    cache = filled(1)
    with pytest.raises(DimensionError):
        cache.get(embeddings(0))
    assert (cache.stats().hits, cache.stats().misses) == (0, 0)
