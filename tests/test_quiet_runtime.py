"""What is embedded or compared stays here: ONNX Runtime reports nothing of its use."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

EMBEDDING = """
from binary_semantic_cache.embedders.local import LocalEmbedder
embedder = LocalEmbedder(runtime="onnxruntime")
print(embedder.embed(["What is a leap year?"]).shape)
"""
LOADING = """
import os
from binary_semantic_cache.embedders.{module} import {name}
{name}()
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""


def ran(source: str, home: Path, **environment: str) -> str:
    """What a process says that has its home in `home`, and none of the caller's variables for this."""
    kept = {
        name: value
        for name, value in os.environ.items()
        if name not in ("ORT_DISABLE_TELEMETRY", "XDG_CACHE_HOME")
    }
    run = subprocess.run(
        [sys.executable, "-c", source],
        env=kept | {"HOME": str(home)} | environment,
        capture_output=True,
        text=True,
        check=True,
    )
    return run.stdout.strip()


def test_embedding_leaves_nothing_in_the_home_folder(tmp_path, int8_model):
    # Where it reports, its queue of events and an id of the machine lie in .cache/Microsoft.
    assert ran(EMBEDDING, tmp_path, BSC_MODEL_DIR=str(int8_model)) == "(1, 384)"
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("module", "name"), [("onnx_model", "import_runtime"), ("quiet_runtime", "keep_onnxruntime_quiet")]
)
def test_it_is_told_before_it_is_loaded(tmp_path, module, name):
    assert ran(LOADING.format(module=module, name=name), tmp_path) == "1"


def test_whoever_wants_reports_keeps_them(tmp_path):
    source = LOADING.format(module="quiet_runtime", name="keep_onnxruntime_quiet")
    assert ran(source, tmp_path, ORT_DISABLE_TELEMETRY="0") == "0"
