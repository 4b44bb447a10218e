"""The published package, binary-semantic-cache 1.0.1, as far as it runs.

Its wheel does not import (its `core/encoder.py` needs a package named `src` that is not in it), so its
extension module is loaded from the file, and `PublishedCache` composes the calls that its Python cache makes.
"""

import hashlib
import os
import subprocess
import sys
import tempfile
import threading
import time
import zipfile
from importlib.machinery import ExtensionFileLoader
from importlib.util import module_from_spec, spec_from_loader
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

__all__ = [
    "NAME",
    "Published",
    "PublishedCache",
    "PublishedEntry",
    "PublishedUnavailableError",
    "load_published",
]

VERSION = "1.0.1"
NAME = f"published {VERSION}"
_MODULE = "binary_semantic_cache_rs"
_FETCH_SECONDS = 120


class PublishedUnavailableError(RuntimeError):
    """The published package cannot be fetched or loaded here; the message says why."""


class Published:
    """The extension of the published wheel."""

    def __init__(self, module: Any, wheel: Path) -> None:
        self.module = module
        self.wheel = wheel.name
        self.digest = hashlib.sha256(wheel.read_bytes()).hexdigest()

    def encoder(self, projection: NDArray[np.float32]) -> Any:
        """Its encoder with our `projection`, `(dimension, code_bits)`; its own default is another matrix."""
        dimension, code_bits = projection.shape
        return self.module.RustBinaryEncoder(dimension, code_bits, np.ascontiguousarray(projection.T))

    def cache(self, projection: NDArray[np.float32], max_entries: int, threshold: float) -> "PublishedCache":
        """A cache as its Python module composes it."""
        storage = self.module.RustCacheStorage(max_entries, projection.shape[1])
        return PublishedCache(self.encoder(projection), storage, max_entries, threshold)


class PublishedEntry(NamedTuple):
    """What its `get` returns: the same fields, in the same kind of tuple."""

    id: int
    code: NDArray[np.uint64]
    response: Any
    created_at: float
    last_accessed: float
    access_count: int
    similarity: float


class PublishedCache:
    """Its `BinarySemanticCache.get` and `put`, call for call.

    get: lock, encode, `storage.search`, the response by index, `mark_used` with whole seconds,
    `get_metadata` (a dict), `get_code` (a list), an array made of it and copied once more, a NamedTuple.
    put: lock, encode, and at capacity `evict_lru` (a scan for the oldest second) and `replace`; else `add`.
    Left out: handlers of errors that do not occur here, and their log lines. Nothing was added.
    """

    def __init__(self, encoder: Any, storage: Any, max_entries: int, threshold: float) -> None:
        self.encoder = encoder
        self.storage = storage
        self.evictions = self.hits = self.misses = 0
        self._responses: list[Any] = [None] * max_entries
        self._max_entries = max_entries
        self._threshold = threshold
        self._lock = threading.RLock()

    def fill(self, codes: NDArray[np.uint64], response: object) -> None:
        """Adds `codes` without encoding, which takes this encoder two minutes for a million."""
        now = int(time.time())
        for code in codes:
            self._responses[self.storage.add(code, now)] = response

    def get(self, embedding: NDArray[np.float32]) -> PublishedEntry | None:
        """The entry most similar to `embedding`, or `None`."""
        with self._lock:
            if len(self.storage) == 0:
                self.misses += 1
                return None
            found = self.storage.search(self.encoder.encode(embedding), threshold=self._threshold)
            if found is None:
                self.misses += 1
                return None
            index, similarity = found
            response = self._responses[index] if 0 <= index < len(self._responses) else None
            if response is None:
                self.misses += 1
                return None
            self.storage.mark_used(index, int(time.time()))
            meta = self.storage.get_metadata(index)
            code = np.array(self.storage.get_code(index), dtype=np.uint64)
            self.hits += 1
            return PublishedEntry(
                id=index,
                code=code.copy(),
                response=response,
                created_at=float(meta["created_at"]),
                last_accessed=float(meta["last_accessed"]),
                access_count=int(meta["access_count"]),
                similarity=float(similarity),
            )

    def put(self, embedding: NDArray[np.float32], response: object) -> int:
        """Stores `response`; returns the index of its slot."""
        with self._lock:
            code = self.encoder.encode(embedding)
            now = int(time.time())
            if len(self.storage) >= self._max_entries:
                index: int = self.storage.evict_lru()
                self._responses[index] = None
                self.storage.replace(index, code, now)
                self._responses[index] = response
                self.evictions += 1
                return index
            index = self.storage.add(code, now)
            self._responses[index] = response
            return index


def load_published() -> Published:
    """Fetches the wheel with pip, once for all runs, and loads its extension under a name of its own.

    Raises:
        PublishedUnavailableError: no wheel for this machine, no network, or it does not load.
    """
    root = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    folder = root / "binary-semantic-cache" / "benches" / f"{VERSION}-{sys.implementation.cache_tag}"
    try:
        wheels = list(folder.glob("*.whl")) or _fetch(folder)
        return Published(_load(wheels[0]), wheels[0])
    except (OSError, ImportError, zipfile.BadZipFile, subprocess.SubprocessError) as exc:
        # Of what pip prints, the last line says it.
        said = (getattr(exc, "stderr", None) or str(exc)).strip().splitlines() or [type(exc).__name__]
        raise PublishedUnavailableError(said[-1].removeprefix("ERROR: ")) from exc


def _fetch(folder: Path) -> list[Path]:
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder) as fetched:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
        command += [
            "--no-deps",
            "--only-binary=:all:",
            "--dest",
            fetched,
            f"binary-semantic-cache=={VERSION}",
        ]
        subprocess.run(command, check=True, capture_output=True, text=True, timeout=_FETCH_SECONDS)
        return [wheel.replace(folder / wheel.name) for wheel in Path(fetched).glob("*.whl")]


def _load(wheel: Path) -> Any:
    file = _extracted(wheel)
    # A last name equal to the file's finds its init function; the package before it keeps it apart from ours.
    name = f"published.{_MODULE}"
    loader = ExtensionFileLoader(name, str(file))
    spec = spec_from_loader(name, loader)
    assert spec is not None
    module = module_from_spec(spec)
    loader.exec_module(module)
    return module


def _extracted(wheel: Path) -> Path:
    """The extension module beside `wheel`; never written over, as another process may have it mapped."""
    with zipfile.ZipFile(wheel) as archive:
        members = [name for name in archive.namelist() if Path(name).name.startswith(_MODULE)]
        if len(members) != 1:
            raise ImportError(f"expected one extension module in {wheel.name}, got {members}")
        file = wheel.parent / Path(members[0]).name
        if not file.exists():
            with tempfile.TemporaryDirectory(dir=wheel.parent) as folder:
                Path(archive.extract(members[0], folder)).replace(file)
    return file
