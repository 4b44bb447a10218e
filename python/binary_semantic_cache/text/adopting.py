"""Answers of older archives into a cache's file, where they say what they answer.

The archives of `BinarySemanticCache` hold codes and responses. A code says neither what was asked nor who may
know, and guards, exact matches and another embedder all need the prompt. So only a response that is a dict
with its prompt in one field and its answer in another can become an entry; it is embedded anew.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import InvalidValueError, UnsavableResponseError
from binary_semantic_cache.stores import Entry
from binary_semantic_cache.stores.rebuilding import building, install
from binary_semantic_cache.stores.sqlite import SQLiteStore
from binary_semantic_cache.text.admission import refusal_to_store
from binary_semantic_cache.text.canonical import JSON
from binary_semantic_cache.text.coding import Coder
from binary_semantic_cache.text.exchange import Progress
from binary_semantic_cache.text.fingerprint import Fingerprint, Fingerprinter
from binary_semantic_cache.text.identity import identity, parse_identity
from binary_semantic_cache.text.importing import Imported, enter
from binary_semantic_cache.text.payload import encode_response
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.vectors import VectorFormat, pack
from binary_semantic_cache.vector.archive.answers import Answer, read_answers

__all__ = ["ANSWER_FIELDS", "PROMPT_FIELDS", "Adopted", "adopt"]

PROMPT_FIELDS = ("prompt", "query", "question")
ANSWER_FIELDS = ("response", "answer")
_BATCH = 64
_MOST_RESPONSE_BYTES = 4 * 2**20


@dataclass(frozen=True, slots=True)
class Adopted:
    """What came of it."""

    imported: Imported
    refused: dict[str, int] = field(default_factory=dict)
    """Answers that no cache stores, by reason."""


def adopt(
    archive: Path,
    path: Path,
    embedder: Embedder,
    *,
    prompt_fields: Sequence[str] = PROMPT_FIELDS,
    answer_fields: Sequence[str] = ANSWER_FIELDS,
    scope: JSON = None,
    overwrite: bool = False,
    vectors: VectorFormat = "int8",
    progress: Progress = lambda n: None,
) -> Adopted:
    """Enters the answers of an archive as those of bare prompts of `scope`; nothing, if one has no prompt.

    They keep the time at which they were stored. Of answers to one prompt the latest is entered.

    Args:
        archive: a file that `BinarySemanticCache.save` or Phase 1 wrote, or a folder of formats 2 and 3.
        path: the file of a store, or where to make one.
        embedder: that of the store.
        prompt_fields: the first of them that a response has holds its prompt.
        answer_fields: the same of its answer.
        scope: as given to `SemanticCache.put`.
        overwrite: the archive's answers replace those of the same prompt, which stay otherwise.
        vectors: how embeddings are kept for re-scoring.
        progress: called with the number of answers done since the last call.

    Raises:
        InvalidValueError: a response is no dict with a prompt and an answer.
        FingerprintError: the file was filled with another embedder.
        EmbedderError: the embedder failed.
        CorruptFileError, FormatVersionError, MissingFileError, StoreError: a file could not be read.
    """
    asked = _questions(archive, read_answers(archive), prompt_fields, answer_fields)
    if path.exists() and path.stat().st_size:
        store = SQLiteStore(path, busy_timeout_seconds=10.0)
        try:
            return _fill(store, embedder, asked, scope, overwrite, vectors, progress)
        finally:
            store.close()
    with building(path) as new:
        done = _fill(new, embedder, asked, scope, overwrite, vectors, progress)
    install(new.path, path, None)
    return done


def _questions(
    archive: Path, answers: Sequence[Answer], prompt_fields: Sequence[str], answer_fields: Sequence[str]
) -> list[tuple[float, str, object]]:
    """When, what was asked, and the answer; the latest of each question, in order of time."""
    found: dict[str, tuple[float, str, object]] = {}
    for row, (created_at, response) in enumerate(answers):
        fields = response if isinstance(response, dict) else {}
        prompt = next((fields[name] for name in prompt_fields if name in fields), None)
        answer = next((fields[name] for name in answer_fields if name in fields), None)
        if not isinstance(prompt, str) or not prompt.strip() or answer is None:
            raise InvalidValueError(
                f"{archive}: response {row} is no dict with a prompt ({', '.join(prompt_fields)}) and an "
                f"answer ({', '.join(answer_fields)}): it cannot become an entry of a SemanticCache; "
                + _reader(archive)
            )
        known = found.get(prompt)
        if known is None or known[0] <= created_at:
            found[prompt] = (created_at, prompt, answer)
    return sorted(found.values(), key=lambda question: question[0])


def _reader(archive: Path) -> str:
    if archive.is_dir():
        return "the package that wrote the folder reads it"
    return "BinarySemanticCache.load reads this file"


def _fill(
    store: SQLiteStore,
    embedder: Embedder,
    asked: Sequence[tuple[float, str, object]],
    scope: JSON,
    overwrite: bool,
    vectors: VectorFormat,
    progress: Progress,
) -> Adopted:
    written = store.fingerprint()
    before = None if written is None else parse_identity(written)
    encoder = (
        RustBinaryEncoder(embedder.dimension)
        if before is None or before.seed is None
        else RustBinaryEncoder(embedder.dimension, before.code_bits, before.seed)
    )
    fingerprinter = Fingerprinter(store.open(identity(embedder.fingerprint, encoder)).secret)
    coder, policy = Coder(embedder, encoder), Policy()
    done = Adopted(Imported())
    for at in range(0, len(asked), _BATCH):
        some = list(_admitted(asked[at : at + _BATCH], fingerprinter, scope, done.refused))
        enter(store, _entries(some, coder, policy, vectors), done.imported, overwrite=overwrite)
        progress(len(asked[at : at + _BATCH]))
    return done


def _admitted(
    asked: Sequence[tuple[float, str, object]],
    fingerprinter: Fingerprinter,
    scope: JSON,
    refused: dict[str, int],
) -> Iterator[tuple[float, Fingerprint, str, bytes]]:
    for created_at, prompt, answer in asked:
        try:
            fingerprint = fingerprinter.of(prompt, scope)
            kind, payload = encode_response(answer)
            refusal = refusal_to_store(answer, max_response_bytes=_MOST_RESPONSE_BYTES)
            reason = None if refusal is None else refusal.value
        except (UnsavableResponseError, InvalidValueError):
            reason = "unsavable"
        if reason is None:
            yield created_at, fingerprint, kind, payload
        else:
            refused[reason] = refused.get(reason, 0) + 1


def _entries(
    some: Sequence[tuple[float, Fingerprint, str, bytes]], coder: Coder, policy: Policy, vectors: VectorFormat
) -> list[Entry | None]:
    texts = [fingerprint.text for _, fingerprint, _, _ in some]
    coded = dict(zip(texts, coder.code_many(texts), strict=True))
    made: list[Entry | None] = []
    for created_at, fingerprint, kind, payload in some:
        # What meaning must not answer is kept for its exact repeat, as a cache keeps it.
        code = None if policy.classify(fingerprint.text) else coded[fingerprint.text]
        made.append(
            Entry(
                key=fingerprint.key,
                scope=fingerprint.scope,
                owner=fingerprint.owner,
                code=b"" if code is None else code.code,
                vector=b"" if code is None else pack(code.embedding, vectors),
                prompt=fingerprint.text,
                kind=kind,
                payload=payload,
                created_at=created_at,
                expires_at=None,
            )
        )
    return made
