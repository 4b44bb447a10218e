"""SemanticCache: files, settings, and who closes what."""

import pytest

from binary_semantic_cache import errors
from binary_semantic_cache.stores.sqlite import SQLiteStore
from semantic_caches import NEAR, QUESTION, make
from words import WordEmbedder


def test_a_file_is_found_again(tmp_path):
    with make(tmp_path / "c.db") as cache:
        cache.put(QUESTION, "Paris", scope="t")
    with make(str(tmp_path / "c.db")) as cache:
        assert cache.lookup(QUESTION, scope="t").response == "Paris"
        assert cache.lookup(NEAR, scope="t").response == "Paris"
        assert not cache.lookup(QUESTION)


def test_two_caches_of_one_file_share_puts_and_removals(tmp_path):
    with make(tmp_path / "c.db") as one, make(tmp_path / "c.db") as other:
        one.put(QUESTION, "Paris", tags=["t"])
        assert other.lookup(NEAR).response == "Paris"
        other.invalidate(tag="t")
        assert not one.lookup(NEAR)
        assert not one.lookup(QUESTION)


def test_a_cache_filled_with_another_embedder_is_refused(tmp_path):
    make(tmp_path / "c.db").close()
    with pytest.raises(errors.FingerprintError, match="bsc reembed"):
        make(tmp_path / "c.db", embedder=WordEmbedder(name="other"))


@pytest.mark.parametrize("place", ["redis://host", "", b"bytes", 7])
def test_a_place_that_is_none_is_refused(place):
    with pytest.raises((errors.InvalidValueError, errors.InvalidTypeError)):
        make(place)


@pytest.mark.parametrize(
    "wrong",
    [
        {"threshold": 1.5},
        {"threshold": "high"},
        {"max_entries": 0},
        {"max_bytes": 0},
        {"vectors": "int4"},
        {"timeout_seconds": 0},
        {"embedder": lambda texts: texts},
        {"ttl_seconds": -1},
        {"eviction": "fifo"},
        {"prices": {"m": 3}},
        {"prices": {"m": (1.0, -1.0)}},
    ],
)
def test_settings_that_make_no_sense_are_refused(wrong):
    with pytest.raises((errors.InvalidValueError, errors.InvalidTypeError)):
        make(None, **wrong)


def test_a_sqlite_store_that_was_passed_in_stays_open(tmp_path):
    store = SQLiteStore(tmp_path / "c.db")
    with make(store) as cache:
        cache.put(QUESTION, "Paris")
    assert store.stats().entries == 1
    store.close()
