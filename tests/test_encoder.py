"""RustBinaryEncoder: the frozen formula, exact signs, golden codes, bad input."""

import json
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from binary_semantic_cache import RustBinaryEncoder, errors
from oracles.binary_encoder import BinaryEncoder, projection_matrix

FIXTURES = Path(__file__).parent / "fixtures"
GOLDEN = json.loads((FIXTURES / "golden_codes.json").read_text())
finite = st.floats(width=32, allow_nan=False, allow_infinity=False)


def golden_embeddings(dim):
    """Three embeddings by integer arithmetic, so that they depend on no random stream."""
    i = np.arange(3 * dim, dtype=np.int64).reshape(3, dim)
    return ((i * i * 2654435761 + i * 40503) % 65536 - 32768).astype(np.float32) / np.float32(32768)


@pytest.mark.parametrize("key", GOLDEN)
def test_golden_codes_and_projection_checksums_never_change(key, isa):
    dim, seed = map(int, key.split("/"))
    encoder = RustBinaryEncoder(dim, seed=seed, isa=isa)
    assert encoder.projection_checksum == GOLDEN[key]["projection_checksum"]
    codes = encoder.encode(golden_embeddings(dim))
    assert [[f"{word:016x}" for word in code] for code in codes.tolist()] == GOLDEN[key]["codes"]


def test_codes_equal_those_of_the_earlier_format(isa):
    embeddings = np.load(FIXTURES / "phase1" / "embeddings.npy")
    codes = np.load(FIXTURES / "phase1" / "codes.npy")
    encoder = RustBinaryEncoder(384, isa=isa)
    assert np.array_equal(encoder.encode(embeddings), codes)
    assert np.array_equal([encoder.encode(x) for x in embeddings], codes)


@pytest.mark.parametrize("dim", [384, 1536])
def test_bits_equal_the_float64_sign_in_half_a_million_cases(dim, isa):
    x = np.random.default_rng(dim).standard_normal((2_000, dim), dtype=np.float32)
    assert np.array_equal(RustBinaryEncoder(dim, isa=isa).encode(x), BinaryEncoder(dim).encode(x))


@given(x=hnp.arrays(np.float32, (3, 20), elements=finite))
def test_bits_are_the_sign_of_the_exact_product_for_any_finite_numbers(x):
    codes = RustBinaryEncoder(20, code_bits=70).encode(x)
    oracle = BinaryEncoder(20, code_bits=70)
    assert np.array_equal(codes, [oracle.encode_exactly(row) for row in x])


@given(
    x=hnp.arrays(
        np.float32, 12, elements=st.sampled_from([0.0, -0.0, 1.0, -1.0, 2.0**-24, -(2.0**-24), 2.0**24])
    ),
    projection=hnp.arrays(
        np.float32, (12, 65), elements=st.sampled_from([0.0, 1.0, -1.0, 2.0**-24, 1 + 2.0**-23])
    ),
)
def test_bits_are_exact_where_terms_cancel(x, projection):
    encoder = RustBinaryEncoder(12, 65, projection=projection)
    assert np.array_equal(encoder.encode(x), BinaryEncoder(12, 65, projection=projection).encode_exactly(x))


@pytest.mark.parametrize("code_bits", [1, 63, 64, 65, 100, 256, 300])
def test_a_code_does_not_depend_on_batch_size_or_position(code_bits, isa):
    encoder = RustBinaryEncoder(50, code_bits, isa=isa)
    x = np.random.default_rng(3).standard_normal((25, 50), dtype=np.float32)
    expected = BinaryEncoder(50, code_bits).encode(x)
    for n in range(26):
        assert np.array_equal(encoder.encode(x[25 - n :]), expected[25 - n :])
    assert encoder.encode(x[0]).shape == (encoder.n_words,)
    assert encoder.n_words == -(-code_bits // 64)


def test_a_code_does_not_depend_on_the_thread():
    encoder = RustBinaryEncoder(384)
    x = np.random.default_rng(4).standard_normal((400, 384), dtype=np.float32)
    expected = BinaryEncoder(384).encode(x)
    with ThreadPoolExecutor(8) as pool:
        assert np.array_equal(list(pool.map(encoder.encode, x)), expected)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.longdouble, ">f4", ">f8"])
def test_other_float_dtypes_are_converted(dtype):
    x = np.random.default_rng(5).standard_normal((4, 30)).astype(np.float16)
    encoder = RustBinaryEncoder(30)
    assert np.array_equal(encoder.encode(x.astype(dtype)), encoder.encode(x.astype(np.float32)))


def test_strided_reversed_fortran_readonly_and_unaligned_arrays_are_read_right():
    x = np.random.default_rng(6).standard_normal((6, 40), dtype=np.float32)
    encoder = RustBinaryEncoder(20)
    expected = encoder.encode(x[:, ::2].copy())
    readonly = x[:, ::2].copy()
    readonly.flags.writeable = False
    unaligned = np.frombuffer(b"x" + readonly.tobytes(), np.uint8)[1:].view(np.float32).reshape(6, 20)
    for same in (x[:, ::2], np.asfortranarray(x[:, ::2]), x[::-1, ::2][::-1], readonly, unaligned):
        assert np.array_equal(encoder.encode(same), expected)


def test_subclasses_of_arrays_count_as_arrays_but_masked_ones_are_refused():
    x = np.ones((2, 5), dtype=np.float32)
    encoder = RustBinaryEncoder(5)
    assert np.array_equal(encoder.encode(x.view(np.recarray)), encoder.encode(x))
    with pytest.raises(TypeError, match="without a mask"):
        encoder.encode(np.ma.masked_array(x, mask=x > 0))


def test_an_empty_batch_gives_no_codes():
    assert RustBinaryEncoder(5).encode(np.empty((0, 5), np.float32)).shape == (0, 4)
    assert RustBinaryEncoder(5).encode_batch(np.empty((0, 5), np.float32)).shape == (0, 4)


@pytest.mark.parametrize("x", [[0.0] * 5, None, "text", 1.0, memoryview(b"")])
def test_what_is_no_array_is_a_type_error(x):
    with pytest.raises(TypeError, match="expected an embedding as a NumPy array, got"):
        RustBinaryEncoder(5).encode(x)


@pytest.mark.parametrize("dtype", [np.int32, np.bool_, np.complex64, np.object_, "U3"])
def test_other_dtypes_are_a_type_error(dtype):
    with pytest.raises(errors.InvalidTypeError, match="float32"):
        RustBinaryEncoder(5).encode(np.zeros(5, dtype))


@pytest.mark.parametrize("shape", [(4,), (6,), (2, 4), (0,), (5, 0), (), (1, 1, 5), (5, 1)])
def test_wrong_shapes_are_dimension_errors_that_name_the_dimension(shape):
    with pytest.raises(errors.DimensionError, match="5"):
        RustBinaryEncoder(5).encode(np.zeros(shape, np.float32))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("dtype", [np.float16, np.float32, np.float64])
def test_nan_and_infinity_are_value_errors_that_name_the_place(bad, dtype):
    x = np.zeros((9, 5), dtype)
    x[7, 2] = bad
    with pytest.raises(errors.InvalidValueError, match="row 7, column 2"):
        RustBinaryEncoder(5).encode(x)


def test_a_float64_beyond_float32_is_a_value_error_and_no_warning():
    with pytest.raises(ValueError, match="infinity"):
        RustBinaryEncoder(2).encode(np.array([1e300, 0.0]))


def test_encode_batch_refuses_a_single_embedding():
    with pytest.raises(errors.DimensionError, match=r"\(n, 5\)"):
        RustBinaryEncoder(5).encode_batch(np.zeros(5, np.float32))


@pytest.mark.parametrize(("dim", "bits"), [(0, 256), (384, 0), (2**40, 256), (256, 2**40), (2**30, 256)])
def test_absurd_sizes_are_value_errors_before_any_allocation(dim, bits):
    with pytest.raises(ValueError, match="expected"):
        RustBinaryEncoder(dim, bits)


@pytest.mark.parametrize("arguments", [(-1,), (8, -1), (8, 64, -1), (8, 64, 2**64), (2**64,)])
def test_negative_and_huge_numbers_are_value_errors(arguments):
    with pytest.raises(errors.InvalidValueError, match="whole number"):
        RustBinaryEncoder(*arguments)


@pytest.mark.parametrize("bad", ["8", 8.0, None])
def test_sizes_that_are_no_whole_numbers_are_type_errors(bad):
    with pytest.raises(errors.InvalidTypeError, match="whole number"):
        RustBinaryEncoder(bad)


def test_a_projection_may_be_given_instead_of_a_seed():
    matrix = projection_matrix(30, 100, seed=9)
    x = np.random.default_rng(1).standard_normal((3, 30), dtype=np.float32)
    given_matrix, seeded = RustBinaryEncoder(30, 100, projection=matrix), RustBinaryEncoder(30, 100, seed=9)
    assert given_matrix.seed is None
    assert seeded.seed == 9
    assert given_matrix.projection_checksum == seeded.projection_checksum
    assert np.array_equal(given_matrix.encode(x), seeded.encode(x))


@pytest.mark.parametrize("shape", [(30, 99), (100, 30), (3000,)])
def test_a_projection_of_another_shape_is_a_dimension_error(shape):
    with pytest.raises(errors.DimensionError, match="projection"):
        RustBinaryEncoder(30, 100, projection=np.zeros(shape, np.float32))


def test_a_projection_with_nan_is_a_value_error():
    with pytest.raises(ValueError, match="projection"):
        RustBinaryEncoder(2, 2, projection=np.full((2, 2), np.nan, np.float32))


def test_a_numpy_that_draws_other_numbers_is_a_fingerprint_error():
    program = """
import numpy as np
class Other(np.random.Generator):
    def standard_normal(self, *args, **kwargs):
        return -super().standard_normal(*args, **kwargs)
np.random.default_rng = lambda seed: Other(np.random.PCG64(seed))
from binary_semantic_cache import RustBinaryEncoder, errors
try:
    RustBinaryEncoder(384)
except errors.FingerprintError as error:
    print(error)
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert "expected numpy to draw the numbers with checksum" in result.stdout
    assert np.__version__ in result.stdout


def test_the_seed_and_sizes_can_be_read_back():
    encoder = RustBinaryEncoder(7, 65, seed=3)
    assert (encoder.embedding_dim, encoder.code_bits, encoder.n_words, encoder.seed) == (7, 65, 2, 3)
    assert "embedding_dim=7" in repr(encoder)


def test_a_projection_whose_padded_columns_would_not_fit_is_refused_before_it_is_drawn():
    with pytest.raises(errors.InvalidValueError, match="embedding_dim from 1 to 16777216"):
        RustBinaryEncoder(2**24 + 1, code_bits=1)
