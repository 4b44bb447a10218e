"""The Python in README, docs and examples runs as it stands."""

import os
import re
import subprocess
import sys
from pathlib import Path

import pytest

from embedding_server import EmbeddingServer
from tiny_classifier import write_classifier

ROOT = Path(__file__).parents[1]
DOCUMENTS = [
    "README.md",
    "docs/embedders.md",
    "docs/budget.md",
    "docs/guards.md",
    "docs/semantic-cache.md",
    "examples/quickstart.py",
    "examples/vectors.py",
]


@pytest.mark.parametrize("document", DOCUMENTS)
def test_the_python_in_a_document_runs(document, int8_model, tmp_path):
    text = (ROOT / document).read_text()
    program = (
        text if document.endswith(".py") else "\n".join(re.findall(r"```python\n(.*?)```", text, re.DOTALL))
    )
    assert "import" in program
    command = [sys.executable, "-W", "error", "-c", program]
    with EmbeddingServer(dimension=1536) as server:
        environment = {
            **os.environ,
            "OPENAI_API_KEY": "k",
            "OPENAI_BASE_URL": f"{server.url}/v1",
            "OLLAMA_HOST": server.url,
        }
        result = subprocess.run(
            command, capture_output=True, text=True, cwd=tmp_path, env=environment, check=False
        )
    assert result.returncode == 0, result.stderr


def test_the_python_that_would_download_a_model_names_what_there_is():
    """Fenced as `py`, it is not run: only its imports and its syntax are."""
    blocks = re.findall(r"```py\n(.*?)```", (ROOT / "docs/embedders.md").read_text(), re.DOTALL)
    assert len(blocks) == 2
    for block in blocks:
        compile(block, "docs/embedders.md", "exec")
        exec("\n".join(line for line in block.splitlines() if line.startswith("from ")), {})


def test_the_example_of_a_verifier_says_what_the_model_and_the_cache_say(int8_model, tmp_path):
    folder = write_classifier(tmp_path, {"Where": [-9.0], "can": [9.0]})
    command = [sys.executable, "-W", "error", str(ROOT / "examples/cross_encoder_verifier.py"), str(folder)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=False)
    assert result.returncode == 0, result.stderr
    told = [line.split(" | ") for line in result.stdout.splitlines()]
    assert [line[1].split()[0] for line in told] == ["1.000", "0.000", "0.500"]
    assert [line[2] for line in told] == ["a hit", "a miss: verifier", "a hit"]


def test_the_readme_example_answers_from_the_cache(int8_model, tmp_path):
    programs = re.findall(r"```python\n(.*?)```", (ROOT / "README.md").read_text(), re.DOTALL)
    command = [sys.executable, "-c", "\n".join(programs)]
    result = subprocess.run(command, capture_output=True, text=True, cwd=tmp_path, check=True)
    lines = result.stdout.splitlines()
    assert lines[0] == "Use the link on the sign-in page. | a miss: no_candidate"
    assert lines[-2].startswith("decision   semantic hit")
    assert lines[-1] == "Use the link on the sign-in page."
    assert (tmp_path / "answers.npz").exists()
