"""Fixtures that more than one file uses."""

import signal

import pytest
from hypothesis import settings

from binary_semantic_cache.binary_semantic_cache_rs import available_isas
from semantic_caches import make

settings.register_profile("ordinary", deadline=None, max_examples=100)
settings.load_profile("ordinary")

# In the background of a shell Ctrl-C is ignored, and would be by all programs that tests start and interrupt.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)

pytest_plugins = ["embedding_libraries", "filled_caches", "http_embedders", "model_fixture"]


@pytest.fixture(params=["scalar", "popcnt", "avx2", "avx512", "neon"])
def isa(request):
    """Each instruction set by name; those this machine lacks are reported as skipped."""
    if request.param not in available_isas():
        pytest.skip(f"{request.param} is not available on this machine")
    return request.param


@pytest.fixture(params=["memory", "sqlite"])
def where(request, tmp_path):
    """What to make a semantic cache of, twice: each call names a new one."""
    return (
        (lambda: None)
        if request.param == "memory"
        else (lambda: tmp_path / f"{len(list(tmp_path.iterdir()))}.db")
    )


@pytest.fixture
def cache(where):
    """A semantic cache, twice: in memory and in a file."""
    with make(where()) as made:
        yield made
