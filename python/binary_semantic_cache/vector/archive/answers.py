"""The answers of any archive of `BinarySemanticCache`, whatever encoder made its codes."""

import json
from dataclasses import dataclass
from pathlib import Path

from binary_semantic_cache.errors import CorruptFileError
from binary_semantic_cache.vector.archive import load
from binary_semantic_cache.vector.archive.folders import Answer, read_folder
from binary_semantic_cache.vector.archive.npz import open_npz

__all__ = ["Answer", "read_answers"]

_MOST_HEADER = 64 * 1024
_MOST_BITS = 1 << 20


@dataclass(frozen=True, slots=True)
class _Declared:
    """The encoder that the file names: its codes are not used, so any will do."""

    embedding_dim: int
    code_bits: int
    n_words: int
    seed: int | None
    projection_checksum: str


def read_answers(path: Path) -> list[Answer]:
    """The answers in a file of `BinarySemanticCache.save`, of Phase 1, or in a folder of formats 2 and 3.

    Raises:
        MissingFileError: there is nothing at the path.
        CorruptFileError: it is damaged, hostile or no archive.
        FormatVersionError: of a version that this package does not read.
        StoreError: it could not be read.
    """
    if path.is_dir():
        return read_folder(path)
    contents = load(path, _declared(path))
    return [
        Answer(float(at), response)
        for at, response in zip(contents.created_at, contents.responses, strict=True)
    ]


def _declared(path: Path) -> _Declared:
    with open_npz(path) as npz:
        if "header.npy" not in npz:
            words = npz.find("codes.npy", "<u8", (None, None)).shape[1]
            return _Declared(1, 64 * words, words, None, "")
        member = npz.find("header.npy", "|u1", (None,))
        if member.data_size > _MOST_HEADER:
            raise npz.corrupt(f"header.npy: expected at most {_MOST_HEADER} bytes, got {member.data_size}")
        try:
            header = json.loads(npz.read(member, verify=True).tobytes())
            dimension, bits = header["embedding_dim"], header["code_bits"]
            seed, checksum = header["seed"], header["projection_checksum"]
        except (ValueError, RecursionError, KeyError, TypeError) as exc:
            raise npz.corrupt("header.npy: not the header of an archive") from exc
    if type(bits) is not int or not 1 <= bits <= _MOST_BITS:
        raise CorruptFileError(f"{path}: header.npy: code_bits: expected 1 to {_MOST_BITS}")
    return _Declared(dimension, bits, (bits + 63) // 64, seed, checksum)
