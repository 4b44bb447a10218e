"""Importing is part of the first call: what a program may never need is not loaded with the package."""

import subprocess
import sys

import pytest

BASE = "import binary_semantic_cache"
TEXT = "from binary_semantic_cache import SemanticCache"


@pytest.mark.parametrize(
    ("statement", "unneeded"),
    [
        (
            BASE,
            ["importlib.metadata", "zipfile", "tempfile", "asyncio", "sqlite3", "binary_semantic_cache.text"],
        ),
        (TEXT, ["importlib.metadata", "zipfile", "asyncio", "ssl", "subprocess", "difflib"]),
    ],
)
def test_an_import_loads_nothing_that_waits_for_its_use(statement, unneeded):
    program = f"import sys, numpy\nbefore = set(sys.modules)\n{statement}\nprint(*set(sys.modules) - before)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.split())
    assert "binary_semantic_cache.vector.cache" in loaded
    assert loaded.isdisjoint(unneeded)
