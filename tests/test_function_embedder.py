"""`FunctionEmbedder`, and what `as_embedder` takes for an embedder."""

import numpy as np
import pytest

from binary_semantic_cache.embedders.function import FunctionEmbedder, as_embedder
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import EmbedderError, InvalidTypeError, InvalidValueError


def test_a_function_gets_a_list_and_its_rows_are_copied():
    rows = np.ones((2, 3), dtype=np.float32)
    seen = []

    def function(texts):
        seen.append(texts)
        return rows

    vectors = FunctionEmbedder(function, 3, "ones").embed(("a", "b"))
    rows[:] = 5
    assert seen == [["a", "b"]]
    np.testing.assert_array_equal(vectors, np.ones((2, 3)))


def test_a_function_is_not_called_for_no_texts():
    def never(texts):
        raise AssertionError

    assert FunctionEmbedder(never, 3, "none").embed([]).shape == (0, 3)


@pytest.mark.parametrize("dtype", [np.float16, np.float64, np.int32, np.uint8])
def test_rows_of_any_numbers_become_float32(dtype):
    vectors = FunctionEmbedder(lambda texts: np.full((len(texts), 2), 3, dtype), 2, "threes").embed(["a"])
    assert vectors.dtype == np.float32
    np.testing.assert_array_equal(vectors, [[3, 3]])


@pytest.mark.parametrize(
    ("answer", "message"),
    [
        ([[1.0, 2.0]], "expected 2 vectors, got an array of shape"),
        ([1.0, 2.0], "expected 2 vectors, got an array of shape"),
        ([[1.0], [2.0]], "expected vectors of 2 dimensions, got 1"),
        ([[1.0, 2.0], [3.0]], "something else"),
        ([["1", "2"], ["3", "4"]], "something else"),
        (np.ones((2, 2), dtype=bool), "something else"),
        (np.ones((2, 2), dtype=np.complex64), "something else"),
        (None, "something else"),
        ([[1.0, np.nan], [1.0, 2.0]], "finite"),
        ([[1.0, 1e300], [1.0, 2.0]], "finite"),
    ],
)
def test_what_a_function_gives_is_checked(answer, message):
    with pytest.raises(EmbedderError, match=message):
        FunctionEmbedder(lambda texts: answer, 2, "odd").embed(["a", "b"])


def test_a_function_that_fails_is_an_embedder_error_with_the_cause_and_without_the_text():
    def fail(texts):
        raise KeyError(texts[0])

    with pytest.raises(EmbedderError, match=r"^the function of mine/2 raised KeyError$") as caught:
        FunctionEmbedder(fail, 2, "mine/2").embed(["secret"])
    assert isinstance(caught.value.__cause__, KeyError)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ((3, 2, "f"), InvalidTypeError),
        ((len, 0, "f"), InvalidValueError),
        ((len, 2.0, "f"), InvalidTypeError),
        ((len, True, "f"), InvalidTypeError),
        ((len, 2, ""), InvalidValueError),
        ((len, 2, "line\nbreak"), InvalidValueError),
        ((len, 2, None), InvalidTypeError),
    ],
)
def test_an_odd_argument_of_a_function_embedder_is_refused(arguments, error):
    with pytest.raises(error):
        FunctionEmbedder(*arguments)
    with pytest.raises(InvalidValueError):
        FunctionEmbedder(len, 2, "f", max_tokens=0)


def test_a_bare_function_is_told_to_be_wrapped():
    def my_model(texts):
        return texts

    with pytest.raises(InvalidTypeError, match=r"FunctionEmbedder\(my_model, dimension, fingerprint\)"):
        as_embedder(my_model)


def test_a_class_is_told_to_be_instantiated():
    with pytest.raises(InvalidTypeError, match=r"got the class LocalEmbedder; make an instance"):
        as_embedder(LocalEmbedder)


@pytest.mark.parametrize("candidate", [None, 3, "local", object(), dict])
def test_what_is_no_embedder_is_told_what_it_lacks(candidate):
    with pytest.raises(InvalidTypeError, match="dimension, fingerprint, max_tokens, embed"):
        as_embedder(candidate)


def test_an_embedder_is_recognized_without_asking_it_anything():
    class Costly:
        fingerprint = "costly"
        max_tokens = None

        def __init__(self):
            self.embed = None

        @property
        def dimension(self):
            raise AssertionError

    costly = Costly()
    assert as_embedder(costly) is costly
