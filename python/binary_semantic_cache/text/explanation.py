"""`Explanation`: why a prompt would or would not be answered from the cache."""

from dataclasses import dataclass

from binary_semantic_cache.text.learned import Outlook
from binary_semantic_cache.text.verdict import Candidate, Hit, MissReason, Verdict

__all__ = ["Explanation"]

_SHOWN = 96


@dataclass(frozen=True, slots=True)
class Explanation:
    """Every step of a decision. Print it to read it; it holds text of prompts, so mind where it goes."""

    text: str
    """What is matched by meaning."""
    scope: str
    """The keyed hash of all else, in hexadecimal: equal for requests that may share an answer."""
    exact_key: str
    """The keyed hash of scope and text, in hexadecimal."""
    exact_match: bool
    """Whether an entry has that very key."""
    policy: str | None
    """The class of questions that the text belongs to, if meaning must not answer it."""
    exact_only: str | None
    """Why the request is never matched by meaning, if it is not."""
    threshold: float
    """Least cosine of a semantic hit."""
    radius: int
    """Hamming distance within which candidates are looked for."""
    candidates: tuple[Candidate, ...]
    """The nearest entries of the scope, most similar first, those below the threshold too."""
    learned: Outlook | None
    """What the learned policy makes of the entry that would be served; `None` without one, and of no such."""
    verdict: Verdict
    """What a lookup would say now; a hit, where it is for chance to say whether it is served."""

    def __str__(self) -> str:
        lines = [
            f"prompt     {_short(self.text)}",
            f"scope      {self.scope}",
            f"exact key  {self.exact_key}  {'present' if self.exact_match else 'absent'}",
        ]
        if self.policy is not None:
            lines.append(f"policy     {self.policy}: answered by exact matches only")
        if self.exact_only is not None:
            lines.append(f"exact only {self.exact_only}")
        lines.append(f"threshold  cosine {self.threshold:.3f}, within {self.radius} bits")
        if self.candidates:
            lines.append("candidates distance  cosine  entry")
        for candidate in self.candidates:
            lines.append(
                f"           {candidate.distance:8d}  {candidate.similarity:6.3f}  {candidate.entry_id:5d}  "
                f"{_short(candidate.prompt or '')}"
            )
            lines += [f"{'':37}veto {veto}" for veto in candidate.vetoes]
            if not candidate.vetoes and candidate.refused is not MissReason.REPORTED:
                lines.append(f"{'':37}no guard objects")
            if candidate.probability is not None:
                lines.append(f"{'':37}judge {candidate.probability:.3f}")
            if candidate.refused is not None and not candidate.vetoes:
                lines.append(f"{'':37}{candidate.refused.value}")
        if self.learned is not None:
            lines.append(f"learned    {self.learned}")
        lines.append(f"decision   {_decision(self.verdict)}")
        return "\n".join(lines)


def _decision(verdict: Verdict) -> str:
    if isinstance(verdict, Hit):
        return f"{verdict.kind} hit, entry {verdict.entry_id}, similarity {verdict.similarity:.3f}"
    return f"miss: {verdict.reason.value}" + (f" ({verdict.detail})" if verdict.detail else "")


def _short(text: str) -> str:
    line = " ".join(text.split())
    line = "".join(c if c.isprintable() else "\N{REPLACEMENT CHARACTER}" for c in line)
    return line if len(line) <= _SHOWN else line[: _SHOWN - 1] + "\N{HORIZONTAL ELLIPSIS}"
