"""Embeddings and codes of a log's texts: each text embedded once, kept on the disk."""

import sqlite3
from collections.abc import Sequence
from hashlib import blake2b
from pathlib import Path

import numpy as np

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import CorruptFileError, FingerprintError
from binary_semantic_cache.text.coding import CodedText, Coder
from binary_semantic_cache.text.identity import identity

__all__ = ["Embeddings"]


class Embeddings:
    """What a cache would search and re-score by, from the embedder the first time and then from a file.

    Args:
        folder: where the file lies; one that is there already saves its embeddings.
        embedder: makes the embeddings.
        encoder: makes the codes.
        kept: whether the file is to outlive this run.

    Raises:
        FingerprintError: the file was filled with another embedder.
        CorruptFileError: the file is none of these.
    """

    def __init__(self, folder: Path, embedder: Embedder, encoder: RustBinaryEncoder, *, kept: bool) -> None:
        self._coder = Coder(embedder, encoder)
        self._dimension = encoder.embedding_dim
        self.embedded = 0
        """Texts that the embedder was given."""
        path = folder / "embeddings.db"
        self._db = sqlite3.connect(path, isolation_level=None)
        try:
            self._db.execute(f"PRAGMA journal_mode = {'WAL' if kept else 'OFF'}")
            self._db.execute(f"PRAGMA synchronous = {'NORMAL' if kept else 'OFF'}")
            self._db.execute("CREATE TABLE IF NOT EXISTS made_by (fingerprint TEXT PRIMARY KEY)")
            self._db.execute(
                "CREATE TABLE IF NOT EXISTS embedding (text BLOB PRIMARY KEY, packed BLOB) WITHOUT ROWID"
            )
            fingerprint = identity(embedder.fingerprint, encoder)
            found = self._db.execute("SELECT fingerprint FROM made_by").fetchone()
            if found is None:
                self._db.execute("INSERT INTO made_by VALUES (?)", (fingerprint,))
        except sqlite3.DatabaseError as exc:
            self._db.close()
            raise CorruptFileError(f"{path}: not a file of embeddings: {exc}") from exc
        if found is not None and found[0] != fingerprint:
            self._db.close()
            raise FingerprintError(
                f"{path}: expected embeddings of {fingerprint}, got {found[0]}; name another folder"
            )

    @property
    def window(self) -> int | None:
        """Tokens of a text that the embedder sees."""
        return self._coder.window

    def is_hopeless(self, text: str) -> bool:
        """Whether `text` is far too long, so that it need not be asked for."""
        return self._coder.is_hopeless(text)

    def of(self, texts: Sequence[str]) -> dict[str, CodedText | None]:
        """Embedding and code by text; `None` where the embedder would not see all of it.

        Raises:
            EmbedderError: the embedder failed.
        """
        by_digest = {blake2b(text.encode(), digest_size=16).digest(): text for text in texts}
        digests = list(by_digest)
        marks = ",".join("?" * len(digests))
        coded = {
            by_digest[digest]: self._unpacked(packed)
            for digest, packed in self._db.execute(
                f"SELECT text, packed FROM embedding WHERE text IN ({marks})",  # noqa: S608 - only marks
                digests,
            )
        }
        # Those of about one length together: a batch takes as long as its longest.
        missing = sorted((text for text in by_digest.values() if text not in coded), key=len)
        if missing:
            made = dict(zip(missing, self._coder.code_many(missing), strict=True))
            self.embedded += len(missing)
            self._db.execute("BEGIN")
            self._db.executemany(
                "INSERT OR IGNORE INTO embedding VALUES (?, ?)",
                ((digest, _packed(made[text])) for digest, text in by_digest.items() if text in made),
            )
            self._db.execute("COMMIT")
            coded.update(made)
        return coded

    def close(self) -> None:
        """Lets the file go."""
        self._db.close()

    def _unpacked(self, packed: bytes) -> CodedText | None:
        if not packed:
            return None
        n = 4 * self._dimension
        return CodedText(np.frombuffer(packed[:n], "<f4").astype(np.float32, copy=False), packed[n:])


def _packed(coded: CodedText | None) -> bytes:
    return b"" if coded is None else coded.embedding.astype("<f4", copy=False).tobytes() + coded.code
