"""Many caches at once over one stream of requests: what each would have said to each of them.

Every cache decides as `SemanticCache` does: the exact tier, what is never matched by meaning, candidates
inside the threshold's radius, cosines with int8 vectors, guards, the judge if there is one, and a put after
each miss whose answer may be stored. What the caches have in common is done once a request: fingerprint,
embedding, search, cosines, and the guards' and the judge's word on a pair.

It differs where the difference is rare or cannot be known: entries leave at the moment they expire, not at
the next sweep; an entry beyond the radius of the loosest threshold is not looked at where nothing lies
inside; among more than 64 candidates at one distance others may be left out; and two requests at the same
time, which would share one call, are a miss and a hit. A verifier is not simulated.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from secrets import token_bytes

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder
from binary_semantic_cache.embedders import Embedder
from binary_semantic_cache.errors import InvalidValueError
from binary_semantic_cache.proof.replay_agreement import Agreement
from binary_semantic_cache.proof.replay_cells import MOST_CELLS, Cell, Variant
from binary_semantic_cache.proof.replay_embeddings import Embeddings
from binary_semantic_cache.proof.replay_formats import Logged
from binary_semantic_cache.proof.replay_pool import Near, Pool
from binary_semantic_cache.proof.replay_spool import Put, Spool
from binary_semantic_cache.proof.replay_tally import Tally, Worth, worth_of
from binary_semantic_cache.text.coding import CodedText
from binary_semantic_cache.text.decision import CANDIDATES, PairGuards
from binary_semantic_cache.text.fingerprint import Fingerprint, Fingerprinter
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.text.opening import check_judge
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.verdict import MissReason

__all__ = ["Outcome", "Simulation"]

_CODE_BITS, _SEED = 256, 42
"""As a `SemanticCache` has them unless told otherwise."""
_READ = 8
"""Candidates above the threshold whose prompts are read, as in `text.decision`."""
_MOST_FOR_READERS = 100_000
"""In a larger scope the reason of a miss without candidates is that there is none, as in `text.mirror`."""


@dataclass(frozen=True, slots=True)
class Outcome:
    """What one cache said to one request."""

    kind: str
    """`exact`, `semantic` or `miss`."""
    reason: str = ""
    detail: str = ""
    similarity: float = 1.0
    offset: int = -1
    """The record that was served."""


# The value of a member is a call; these are needed for each request and cache.
_GUARD, _JUDGE = MissReason.GUARD.value, MissReason.JUDGE.value
_FAR = Outcome("miss", MissReason.BELOW_THRESHOLD.value)
_NOBODY = Outcome("miss", MissReason.NO_CANDIDATE.value)


@dataclass(slots=True)
class _Asked:
    """A request with all that the caches share of it."""

    time: float
    request: Logged
    fingerprint: Fingerprint
    why: tuple[str, str] | None
    """Why meaning must not answer it."""
    coded: CodedText | None
    worth: Worth
    vetoes: dict[int, str]
    probabilities: dict[int, float]
    right: dict[int, bool | None]


Watch = Callable[[Logged, Sequence[Outcome]], None]
Paired = Callable[[str, str, float, bool | None], None]


class Simulation:
    """Simulated caches, fed with requests in order of time.

    Args:
        variants: their settings; the thresholds and sizes to compare.
        embedder: as the caches would have it.
        folder: for what lies on the disk meanwhile.
        guards: what vetoes pairs; `None` for none.
        policy: what is never matched by meaning.
        judge: weighs what the guards let pass in the variants that have `judge_from`; its own limits do not
            count.
        agreement: tells from two answers whether one could stand for the other; labels go before it. `None`
            where answers shall not be compared.
        prices: money per million input and output tokens, by model.
        embeddings_folder: where embeddings are kept for the next run; `None` to keep none.
        watch: told each request with what each cache said, in the order of `variants`.
        paired: told each semantic hit of the cache with the loosest threshold: the prompt that was asked
            first, the one asked now, their cosine, and whether the answer was right, where that is known.

    Raises:
        InvalidValueError: there are no variants, or more than 64, or some have a judge and there is none or
            one of another embedder.
        FingerprintError: `embeddings_folder` holds embeddings of another embedder.
    """

    def __init__(
        self,
        variants: Sequence[Variant],
        *,
        embedder: Embedder,
        folder: Path,
        guards: PairGuards | None,
        policy: Policy,
        judge: Judge | None = None,
        agreement: Agreement | None = None,
        prices: dict[str, tuple[float, float]] | None = None,
        embeddings_folder: Path | None = None,
        watch: Watch | None = None,
        paired: Paired | None = None,
    ) -> None:
        if not 1 <= len(variants) <= MOST_CELLS:
            raise InvalidValueError(
                f"expected 1 to {MOST_CELLS} combinations of thresholds, sizes and times, got {len(variants)}"
            )
        if any(variant.judge_from is not None for variant in variants):
            if judge is None:
                raise InvalidValueError("expected a judge for variants with judge_from, got none")
            check_judge(judge, embedder, "int8", None)
        encoder = RustBinaryEncoder(embedder.dimension, _CODE_BITS, _SEED)
        self.cells = [Cell(i, variant, _CODE_BITS) for i, variant in enumerate(variants)]
        self.tallies = [Tally(variant) for variant in variants]
        self._all = sum(cell.bit for cell in self.cells)
        self._expiring = [cell for cell in self.cells if cell.variant.ttl_seconds is not None]
        self._least = min(variant.least_cosine for variant in variants)
        self._loosest = min(
            self.cells,
            key=lambda cell: (
                cell.variant.threshold,
                -(cell.variant.max_entries or 2**62),
                -(cell.variant.ttl_seconds or 2**62),
            ),
        )
        kept = embeddings_folder is not None
        self.embeddings = Embeddings(embeddings_folder or folder, embedder, encoder, kept=kept)
        self._pool = Pool(self.cells, encoder, folder)
        self._spool = Spool(folder)
        # Nobody sees these fingerprints, so any key will do.
        self._fingerprinter = Fingerprinter(token_bytes(32))
        self._guards = guards
        self._policy = policy
        self._judge = judge
        self._agreement = agreement
        self._prices = prices or {}
        self._watch = watch
        self._paired = paired
        self.unstored: dict[str, int] = {}
        """Answers that no cache would have stored, by reason."""

    def feed(self, requests: Sequence[tuple[float, Logged]]) -> None:
        """Simulates some requests more, their texts embedded together. Raises what the embedder raises."""
        shared = [self._asked(time, request) for time, request in requests]
        texts = [asked.fingerprint.text for asked in shared if asked.why is None]
        coded = self.embeddings.of(texts) if texts else {}
        for asked in shared:
            if asked.why is None:
                asked.coded = coded[asked.fingerprint.text]
                if asked.coded is None:
                    asked.why = self._too_long()
            self._simulate(asked)

    def hits(self) -> list[int]:
        """Hits of each cache so far."""
        return [tally.hits for tally in self.tallies]

    def close(self) -> None:
        """Lets the files go."""
        self._pool.close()
        self._spool.close()
        self.embeddings.close()

    def _asked(self, time: float, request: Logged) -> _Asked:
        fingerprint = self._fingerprinter.of(request.prompt, request.tenant)
        return _Asked(
            time,
            request,
            fingerprint,
            self._exact_only(request.prompt, fingerprint.text),
            None,
            worth_of(request, self._prices),
            {},
            {},
            {},
        )

    def _exact_only(self, prompt: str | Request, text: str) -> tuple[str, str] | None:
        if _is_new_each_time(prompt):
            return MissReason.STATE.value, ""
        if isinstance(prompt, Request) and prompt.exact_only is not None:
            return MissReason.EXACT_ONLY.value, prompt.exact_only.value
        if not text:
            return MissReason.EXACT_ONLY.value, "no_text"
        if self.embeddings.is_hopeless(text):
            return self._too_long()
        classes = self._policy.classify(text)
        return (MissReason.POLICY.value, ", ".join(sorted(classes))) if classes else None

    def _too_long(self) -> tuple[str, str]:
        return MissReason.TOO_LONG.value, f"more than {self.embeddings.window} tokens"

    def _simulate(self, asked: _Asked) -> None:
        pool = self._pool
        for cell in self._expiring:
            for gone in cell.expired(asked.time):
                pool.release(gone, cell)
        row = pool.row_of(asked.fingerprint.key)
        held = pool.holders[row] if row >= 0 else 0
        wanted = self._all & ~held
        near, strong = None, list[int]()
        if wanted and asked.coded is not None:
            near = pool.near(asked.fingerprint.scope, asked.coded, wanted)
            strong = [i for i, score in enumerate(near.similarities) if score >= self._least]
        missed: list[Cell] = []
        outcomes: list[Outcome] = []
        for cell, tally in zip(self.cells, self.tallies, strict=True):
            tally.requests += 1
            if held & cell.bit:
                outcome = Outcome("exact", offset=cell.offset_of(row))
                cell.touch(row)
            elif near is None:
                assert asked.why is not None
                outcome = Outcome("miss", *asked.why)
            else:
                outcome = self._decided(cell, asked, near, strong)
            if outcome.kind == "miss":
                missed.append(cell)
                tally.misses[outcome.reason] += 1
                if outcome.reason == _GUARD:
                    tally.guards[outcome.detail] += 1
            else:
                right = self._right(asked, outcome.offset)
                tally.hit(outcome.kind, asked.worth, right=right)
                if cell is self._loosest and outcome.kind == "semantic" and self._paired is not None:
                    first = self._spool.read(outcome.offset).text
                    self._paired(first, asked.fingerprint.text, outcome.similarity, right)
            if self._watch is not None:
                outcomes.append(outcome)
        if missed:
            self._put(asked, row, missed)
        if self._watch is not None:
            self._watch(asked.request, outcomes)

    def _decided(self, cell: Cell, asked: _Asked, near: Near, strong: Sequence[int]) -> Outcome:
        """What a cache that does not hold the very text says; see `text.decision.Decision.judge`."""
        refused: Outcome | None = None
        judged = cell.variant.judge_from is not None
        for similarity, offset, row in self._ranked(cell, near, strong) if strong else ():
            vetoed = self._vetoed(asked, offset)
            if not vetoed and not (judged and self._probability(asked, offset, row) < cell.variant.threshold):
                cell.touch(row)
                return Outcome("semantic", similarity=similarity, offset=offset)
            refused = refused or Outcome("miss", _GUARD if vetoed else _JUDGE, vetoed)
        if refused is not None:
            return refused
        population = self._pool.population(asked.fingerprint.scope, cell)
        if population > _MOST_FOR_READERS:
            return _FAR if any(_inside(cell, near)) else _NOBODY
        return _FAR if population else _NOBODY

    def _ranked(self, cell: Cell, near: Near, strong: Sequence[int]) -> list[tuple[float, int, int]]:
        """Similarity, record and row of what a cache would look at; the newest first among equals."""
        least, bit, within = cell.variant.least_cosine, cell.bit, cell.radius
        rows, distances, holders, similarities = near
        places = [i for i in strong if holders[i] & bit and similarities[i] >= least]
        if not places:
            return []
        if len(rows) > CANDIDATES or any(distances[i] > within for i in places):
            looked_at = [i for i, inside in enumerate(_inside(cell, near)) if inside][:CANDIDATES]
            if not looked_at:
                # The nearest of all is looked at for the reader of the miss, and served if it is near.
                looked_at = [i for i, held in enumerate(holders) if held & bit][:1]
            places = [i for i in looked_at if similarities[i] >= least]
        ranked = sorted((-similarities[i], distances[i], -cell.offset_of(rows[i]), rows[i]) for i in places)
        return [(-similarity, -offset, row) for similarity, _, offset, row in ranked[:_READ]]

    def _vetoed(self, asked: _Asked, offset: int) -> str:
        """The names of the guards that speak against an entry; empty where none does."""
        if self._guards is None:
            return ""
        found = asked.vetoes.get(offset)
        if found is None:
            (vetoes,) = self._guards.check(asked.fingerprint.text, [self._spool.read(offset).text])
            found = ", ".join(dict.fromkeys(veto.guard for veto in vetoes))
            asked.vetoes[offset] = found
        return found

    def _probability(self, asked: _Asked, offset: int, row: int) -> float:
        """The judge's, that the answer of a record is the one."""
        assert self._judge is not None
        assert asked.coded is not None
        found = asked.probabilities.get(offset)
        if found is None:
            text, embedding = asked.fingerprint.text, asked.coded.embedding
            stored = self._spool.read(offset).text
            (said,) = self._judge.score(text, embedding, [stored], [self._pool.vector(row)])
            found = asked.probabilities[offset] = -1.0 if said is None else said
        return found

    def _right(self, asked: _Asked, offset: int) -> bool | None:
        """Whether the answer of a record was right for the request, by label or else by agreement."""
        request = asked.request
        if request.truth is None and (request.answer is None or self._agreement is None):
            return None
        if offset not in asked.right:
            put, right = self._spool.read(offset), None
            if request.truth is not None:
                right = None if put.truth is None else put.truth == request.truth
            elif put.answer is not None and request.answer is not None and self._agreement is not None:
                right = self._agreement(put.answer, request.answer)
            asked.right[offset] = right
        return asked.right[offset]

    def _put(self, asked: _Asked, row: int, cells: Sequence[Cell]) -> None:
        request, fingerprint = asked.request, asked.fingerprint
        refusal = MissReason.STATE.value if _is_new_each_time(request.prompt) else request.refusal
        if refusal is not None:
            self.unstored[refusal] = self.unstored.get(refusal, 0) + 1
            return
        offset = self._spool.add(Put(fingerprint.text, request.answer, request.truth, asked.time))
        pool = self._pool
        if row < 0:
            row = pool.add(fingerprint.key, fingerprint.scope, asked.coded)
        pool.hold(row, cells)
        for cell in cells:
            gone = cell.put(row, offset, asked.time)
            if gone >= 0:
                pool.release(gone, cell)


def _inside(cell: Cell, near: Near) -> list[bool]:
    """Which candidates a cache holds within its radius."""
    return [
        bool(held & cell.bit) and distance <= cell.radius
        for held, distance in zip(near.holders, near.distances, strict=True)
    ]


def _is_new_each_time(prompt: str | Request) -> bool:
    return isinstance(prompt, Request) and not prompt.is_repeatable
