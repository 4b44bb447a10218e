"""What a lookup says: `Hit` or `Miss`, with reasons a program can count and a person can read."""

from dataclasses import dataclass, field
from enum import StrEnum
from typing import Literal

from binary_semantic_cache.stores import Saving

__all__ = ["Candidate", "Hit", "Miss", "MissReason", "Verdict", "Veto"]


class MissReason(StrEnum):
    """Why nothing was served."""

    NO_CANDIDATE = "no_candidate"
    """The scope holds nothing that meaning may match."""
    BELOW_THRESHOLD = "below_threshold"
    """The nearest prompt is not near enough."""
    GUARD = "guard"
    """A guard saw that the nearest prompts ask for something else."""
    JUDGE = "judge"
    """The judge finds it too unlikely that an answer of the nearest prompts is the one."""
    VERIFIER = "verifier"
    """The caller's verifier refused the nearest prompts."""
    REPORTED = "reported"
    """The nearest prompt was reported as a wrong match for this one."""
    POLICY = "policy"
    """Prompts of this class are answered by exact matches only."""
    EXACT_ONLY = "exact_only"
    """The request is never matched by meaning: a tool call, an attachment, or as the caller asked."""
    STATE = "state"
    """The request continues what each answer changes on the provider's server: not even its repeat asks the
    same."""
    TOO_LONG = "too_long"
    """The embedder would not see the whole text."""
    SHADOW = "shadow"
    """Nothing is served in shadow mode; `would_serve` has the hit."""
    BUDGET = "budget"
    """Too many hits of this class were wrong: it is answered by exact matches only until it is reset."""
    AUDIT = "audit"
    """It would have been served, but is asked anew: whether that would have been right is judged."""
    LEARNING = "learning"
    """The learned policy does not yet know the nearest entry well enough to serve it."""
    UNUSABLE = "unusable"
    """The prompt is no Unicode text, or the request cannot be read."""
    EMBEDDER_FAILED = "embedder_failed"
    EMBEDDER_TIMEOUT = "embedder_timeout"
    STORE_FAILED = "store_failed"
    STORE_TIMEOUT = "store_timeout"
    FAILED = "failed"
    """A part of the cache raised what it must not; the log has the class of it."""
    VERIFIER_FAILED = "verifier_failed"
    VERIFIER_TIMEOUT = "verifier_timeout"


@dataclass(frozen=True, slots=True)
class Veto:
    """One guard's objection to serving an answer."""

    guard: str
    """The guard's name."""
    detail: str
    """What it saw, in words of the two prompts."""

    def __str__(self) -> str:
        return f"{self.guard}: {self.detail}" if self.detail else self.guard


@dataclass(frozen=True, slots=True)
class Candidate:
    """An entry that came near, and what was thought of it."""

    entry_id: int
    distance: int
    """Bits in which its code differs."""
    similarity: float
    """Cosine of the embeddings; where no vectors are kept, the one that the distance stands for."""
    prompt: str | None = None
    """Its prompt, where it was looked at."""
    vetoes: tuple[Veto, ...] = ()
    probability: float | None = None
    """That its answer is the one, by the judge; `None` where none was asked."""
    refused: MissReason | None = None
    """Why it was not served; `None` for the one that was, and for those not looked at."""


@dataclass(frozen=True, slots=True)
class Hit:
    """An answer that was given before. True in a boolean context."""

    response: object
    kind: Literal["exact", "semantic"]
    similarity: float
    """Cosine of the two prompts' embeddings; 1.0 for an exact hit."""
    entry_id: int
    prompt: str
    """The prompt that the answer was made for."""
    age_seconds: float
    saved: Saving
    """What serving it saved."""
    id: str
    """Names this hit for `SemanticCache.report`; holds no text."""
    probability: float | None = None
    """That the answer is the one, by the judge; `None` where none was asked."""

    def __bool__(self) -> Literal[True]:
        return True


@dataclass(frozen=True, slots=True)
class Miss:
    """No answer, and why. False in a boolean context."""

    reason: MissReason
    nearest: Candidate | None = None
    """The entry that came nearest, if any did."""
    detail: str = field(default="", compare=False)
    """More about the reason: the guard, the policy class, the class of an error. Never text of a prompt."""
    would_serve: Hit | None = field(default=None, compare=False)
    """In shadow mode: what would have been served."""

    def __bool__(self) -> Literal[False]:
        return False


Verdict = Hit | Miss
