"""The package as it is installed: the extension is mandatory, importing is quiet, the wheel is whole."""

import re
import shutil
import subprocess
import sys
import tomllib
import zipfile
from pathlib import Path

import pytest

import binary_semantic_cache
from binary_semantic_cache import errors

ROOT = Path(__file__).parents[1]
PACKAGE = ROOT / "python" / "binary_semantic_cache"


def test_without_the_extension_importing_says_what_to_build(tmp_path):
    shutil.copytree(
        PACKAGE, tmp_path / PACKAGE.name, ignore=shutil.ignore_patterns("*.so", "*.pyd", "__pycache__")
    )
    program = f"import sys; sys.path.insert(0, {str(tmp_path)!r}); import binary_semantic_cache"
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert result.returncode != 0
    last = result.stderr.strip().splitlines()[-1]
    assert last.startswith("ImportError: Build required")
    assert "pip install ." in last


def test_importing_starts_and_reads_and_opens_nothing():
    program = """
import sys, threading
import numpy, os
events = []
read = []
real = os.environ.__class__.__getitem__
def watch(self, key):
    read.append(key)
    return real(self, key)
os.environ.__class__.__getitem__ = watch
sys.addaudithook(lambda event, args: events.append(event))
import binary_semantic_cache
assert threading.active_count() == 1
print(sorted({e for e in events if e.startswith(("socket", "subprocess", "pickle", "urllib"))}))
print(sorted({key for key in read if "BSC" in key}))
print(sorted({"torch", "onnxruntime", "tokenizers", "tqdm", "argparse"} & set(sys.modules)))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.split("\n")[:3] == ["[]", "[]", "[]"]


@pytest.fixture(scope="module")
def wheel(tmp_path_factory):
    """The release wheel, built anew."""
    folder = tmp_path_factory.mktemp("wheel")
    command = [
        sys.executable,
        "-m",
        "maturin",
        "build",
        "--release",
        "--locked",
        "--quiet",
        "--out",
        str(folder),
    ]
    subprocess.run(command, cwd=ROOT, check=True, capture_output=True, timeout=280)
    (path,) = folder.glob("*.whl")
    return path


def test_the_wheel_is_one_for_all_versions_of_python(wheel):
    assert re.search(r"-cp311-abi3-", wheel.name)


def test_the_wheel_holds_the_package_and_nothing_of_the_tests(wheel):
    names = zipfile.ZipFile(wheel).namelist()
    here = {path.relative_to(PACKAGE.parent).as_posix() for path in PACKAGE.rglob("*") if path.is_file()}
    packed = {name for name in names if ".dist-info/" not in name}
    assert packed == {name for name in here if "__pycache__" not in name}
    assert any(name.endswith(".abi3.so") for name in names)
    assert {"py.typed", "binary_semantic_cache_rs.pyi"} <= {Path(name).name for name in names}
    assert not any("oracle" in name or "test" in name for name in packed)
    assert any(name.endswith("LICENSE") for name in names)


def test_versions_agree():
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
    workspace = tomllib.loads((ROOT / "Cargo.toml").read_text())["workspace"]["package"]["version"]
    assert project == workspace == binary_semantic_cache.__version__


def test_every_public_name_is_documented_in_the_readme():
    readme = (ROOT / "README.md").read_text()
    public = [name for name in binary_semantic_cache.__all__ if not name.startswith("_")]
    assert [name for name in public if f"`{name}" not in readme] == []


def test_every_error_stands_in_the_tree_and_is_the_builtin_it_names():
    drawn = dict(re.findall(r"\+-- (\w+)\s+\((\w+)\)", errors.__doc__))
    classes = {name: cls for name, cls in vars(errors).items() if isinstance(cls, type)}
    root = classes.pop("BinarySemanticCacheError")
    assert drawn.keys() == classes.keys()
    for name, cls in classes.items():
        assert issubclass(cls, root)
        builtin = __builtins__[drawn[name]]
        assert issubclass(cls, builtin)
        assert cls.__doc__


def test_every_error_of_the_core_becomes_a_class_of_the_tree():
    source = (ROOT / "rust" / "binding" / "src" / "error.rs").read_text()
    core = (ROOT / "rust" / "core" / "src" / "error.rs").read_text()
    variants = re.findall(
        r"^    (\w+)(?: \{|\()", core.split("pub enum Error {")[1].split("\n}")[0], re.MULTILINE
    )
    assert len(variants) >= 8
    assert [variant for variant in variants if f"Error::{variant}" not in source] == []
    assert all(hasattr(errors, name) for name in re.findall(r'"(\w+Error)"', source))
