"""Cosines with packed embeddings, and the memory that keeps them between lookups."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache import errors
from binary_semantic_cache.binary_semantic_cache_rs import available_isas, cosines
from binary_semantic_cache.text.vector_memory import VectorMemory
from binary_semantic_cache.text.vectors import pack, unit
from oracles.rescoring import cosine

FORMATS = ("int8", "float16", "float32")


def a_unit(seed: int, dimension: int) -> np.ndarray:
    return unit(np.random.default_rng(seed).standard_normal(dimension).astype(np.float32))


@pytest.mark.parametrize("form", FORMATS)
@pytest.mark.parametrize("dimension", [1, 7, 8, 9, 384, 1536, 3071])
def test_cosines_are_those_of_the_definition(form, dimension):
    query = a_unit(1, dimension)
    packed = [pack(a_unit(seed, dimension), form) for seed in range(2, 30)] + [pack(query, form)]
    found = cosines(query, packed)
    atol = 1e-8 if form == "int8" else 1e-12  # the query is brought to whole numbers of 30 bits
    np.testing.assert_allclose(found, [cosine(query, blob) for blob in packed], rtol=0, atol=atol)
    assert found[-1] == pytest.approx(1.0, abs=1e-4 if form == "int8" else 1e-6)


@pytest.mark.parametrize("form", FORMATS)
def test_cosines_are_the_same_bits_with_every_instruction_set(form):
    query = a_unit(1, 385)
    packed = [pack(a_unit(seed, 385), form) for seed in range(2, 30)]
    for isa in available_isas():
        assert cosines(query, packed, isa=isa) == cosines(query, packed), isa


def test_an_instruction_set_that_nobody_has_is_refused():
    with pytest.raises(errors.UnsupportedIsaError, match="mmx"):
        cosines(a_unit(1, 4), [], isa="mmx")


def test_formats_may_be_mixed_and_vectors_missing():
    query = a_unit(1, 32)
    near = a_unit(2, 32)
    found = cosines(query, [pack(near, "int8"), b"", pack(near, "float32"), pack(near, "float16")])
    assert found[1] is None
    assert [found[0], found[3]] == pytest.approx([found[2]] * 2, abs=0.01)


@given(st.lists(st.binary(max_size=40), max_size=8), st.integers(1, 33))
def test_whatever_bytes_are_stored_the_answer_is_that_of_the_definition(blobs, dimension):
    query = a_unit(3, dimension)
    expected = [cosine(query, blob) for blob in blobs]
    for found, known in zip(cosines(query, blobs), expected, strict=True):
        if known is None:
            assert found is None
        else:
            assert found == pytest.approx(known, rel=1e-6, abs=1e-6, nan_ok=True)


def test_what_is_no_bytes_object_counts_as_damaged():
    found = cosines(a_unit(1, 4), [bytearray(9), None, "text", 7])  # type: ignore[list-item]
    assert np.isnan(found).all()


@pytest.mark.parametrize(
    "query", [[1.0, 0.0], np.zeros(2), np.zeros((1, 2), np.float32), np.zeros(4, np.float32)[::2]]
)
def test_a_query_that_is_no_row_of_float32_is_refused(query):
    with pytest.raises(errors.BinarySemanticCacheError, match="query"):
        cosines(query, [])


def test_a_memory_keeps_what_came_last():
    memory = VectorMemory(3 * (100 + 160))
    for entry_id in range(5):
        memory.keep(entry_id, bytes(100))
    assert [memory.get(i) is not None for i in range(5)] == [False, False, True, True, True]
    assert memory.nbytes == 3 * 260


def test_a_memory_of_nothing_keeps_nothing():
    memory = VectorMemory(0)
    memory.keep(1, b"vector")
    assert memory.get(1) is None
    assert memory.nbytes == 0


def test_a_vector_that_is_larger_than_the_memory_drives_nobody_out():
    memory = VectorMemory(1000)
    memory.keep(1, b"small")
    memory.keep(2, bytes(2000))
    assert memory.get(1) == b"small"
    assert memory.get(2) is None


def test_forgetting_gives_the_bytes_back():
    memory = VectorMemory(1000)
    memory.keep(1, b"one")
    memory.keep(1, b"one")
    memory.keep(2, b"two")
    memory.forget(1)
    memory.forget(1)
    assert memory.get(1) is None
    memory.clear()
    assert memory.nbytes == 0
