"""Conversations whose earlier turns are compared by meaning instead of being equal: what that would serve.

The last message must match as in the cache: same text, or near enough and without objection. Then the earlier
turns of both sides are compared in one of several ways, each of which gives a score. What would be served at
the loosest score that lets at most 3 % of the traps through is chosen on the very pairs that are measured: no
way does better than that, and in use each would do worse.
"""

import re
from collections.abc import Callable, Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from benches.quality.evidence import JUDGE
from binary_semantic_cache import Guards, SemanticCache
from binary_semantic_cache.proof.pairs import Messages, Pair, last_text
from binary_semantic_cache.proof.remembering import RememberingEmbedder
from binary_semantic_cache.text.vectors import pack, unit

__all__ = ["MOST_TRAPS", "Compared", "compare", "digest_table"]

MOST_TRAPS = 0.03

_LAST = (2, 8, None)
"""How many of the earlier turns count; `None` for all."""
_REFUSED = -1.0
_BLANK = re.compile(r"\s+")

Turns = Sequence[str]
Embed = Callable[[str], NDArray[np.float32]]


class Compared:
    """The ways to compare the earlier turns of two conversations: the higher the score, the more alike.

    Args:
        embeddings: embeds turns and digests.
    """

    def __init__(self, embeddings: RememberingEmbedder) -> None:
        self._embeddings = embeddings
        self._guards = Guards()

    def text(self, old: Turns, new: Turns) -> float:
        """Cosine of the turns joined to one text; the model cuts what is beyond its window."""
        return float(self._of(_joined(old)) @ self._of(_joined(new)))

    def mean(self, old: Turns, new: Turns) -> float:
        """Cosine of the sums of the turns' embeddings: no window, no order."""
        return float(self._sum(old) @ self._sum(new))

    def guarded(self, old: Turns, new: Turns) -> float:
        """As `mean`, and no guard objects to the joined texts."""
        (vetoes,) = self._guards.check(_joined(new), [_joined(old)])
        return _REFUSED if vetoes else self.mean(old, new)

    def judged(self, old: Turns, new: Turns) -> float:
        """The judge's probability for the joined texts, their embeddings as for `mean`."""
        packed = pack(self._sum(old), "int8")
        (probability,) = JUDGE.score(_joined(new), self._sum(new), [_joined(old)], [packed])
        assert probability is not None
        return probability

    def each(self, old: Turns, new: Turns) -> float:
        """The least cosine of a turn, on either side, with the turn nearest to it on the other."""
        if not old or not new:
            return float(len(old) == len(new))
        table = np.stack([self._of(turn) for turn in old]) @ np.stack([self._of(turn) for turn in new]).T
        return float(min(table.max(axis=0).min(), table.max(axis=1).min()))

    def contained(self, old: Turns, new: Turns) -> float:
        """As `each`, but the new side may have turns beyond those of the old one."""
        if not old or not new:
            return float(not old)
        table = np.stack([self._of(turn) for turn in old]) @ np.stack([self._of(turn) for turn in new]).T
        return float(table.max(axis=1).min())

    def last_matches(self, old: str, new: str, threshold: float) -> bool:
        """Whether the last messages match as in a cache without a judge."""
        if old == new:
            return True
        (vetoes,) = self._guards.check(new, [old])
        return not vetoes and float(self._of(old) @ self._of(new)) >= threshold

    def _of(self, text: str) -> NDArray[np.float32]:
        return unit(self._embeddings.of(text))

    def _sum(self, turns: Turns) -> NDArray[np.float32]:
        if not turns:
            return self._of("")
        return unit(np.sum([self._of(turn) for turn in turns], axis=0, dtype=np.float32))


def compare(
    pairs: Sequence[Pair], embeddings: RememberingEmbedder
) -> Mapping[tuple[str, int | None, bool], NDArray[np.float64]]:
    """By way, number of turns and whether they are the user's alone: the scores of the pairs.

    -1.0 where the last messages do not match.

    Args:
        pairs: both sides are lists of messages.
        embeddings: embeds.
    """
    compared = Compared(embeddings)
    with SemanticCache(embedder=embeddings) as cache:
        threshold = cache.threshold
    matching = [
        compared.last_matches(last_text(pair.a).strip(), last_text(pair.b).strip(), threshold)
        for pair in pairs
    ]
    ways = {
        "one embedding of all turns, cut at the window": compared.text,
        "sum of the turns' embeddings": compared.mean,
        "the same, and no guard objects": compared.guarded,
        "the judge on the joined turns": compared.judged,
        "each turn has one near it on the other side": compared.each,
        "each turn of the stored side has one near it": compared.contained,
    }
    return {
        (name, last, user): np.array(
            [
                way(_earlier(pair.a, last, user=user), _earlier(pair.b, last, user=user))
                if matches
                else _REFUSED
                for pair, matches in zip(pairs, matching, strict=True)
            ]
        )
        for name, way in ways.items()
        for user in (True, False)
        for last in _LAST
    }


def digest_table(pairs: Sequence[Pair], embeddings: RememberingEmbedder) -> str:
    """A line a way of comparing, a column for what is compared: area under the curve, served at best."""
    labels = np.array([pair.same is True for pair in pairs])
    scores = compare(pairs, embeddings)
    columns = [(last, user) for user in (True, False) for last in _LAST]
    head = [
        f"{'all' if last is None else f'last {last}'}{' of the user' if user else ''}"
        for last, user in columns
    ]
    lines = ["| earlier turns compared by | " + " | ".join(head) + " |", "|---|" + "---|" * len(head)]
    for name in dict.fromkeys(name for name, _, _ in scores):
        cells = [_cell(scores[name, last, user], labels) for last, user in columns]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    n = labels.sum()
    lines += [
        "",
        f"area under the curve, then percent of {n} pairs served at the loosest score that serves at most "
        f"{MOST_TRAPS:.0%} of {len(labels) - n} traps",
    ]
    return "\n".join(lines)


def _cell(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> str:
    served = scores[labels] > _cut(scores, labels)
    return f"{_area(scores, labels):.2f}, {100 * served.mean():.1f}"


def _cut(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The score above which at most `MOST_TRAPS` of the traps lie."""
    traps = np.sort(scores[~labels])[::-1]
    allowed = int(MOST_TRAPS * len(traps))
    return max(_REFUSED, float(traps[allowed])) if len(traps) else _REFUSED


def _area(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> float:
    """The chance that a pair that should hit scores above a trap; ties count half."""
    above = scores[labels][:, None] - scores[~labels][None, :]
    return float(((above > 0).mean() + (above >= 0).mean()) / 2)


def _earlier(side: str | Messages, last: int | None, *, user: bool) -> list[str]:
    """Texts of the turns before the last message, of all or of the user's alone."""
    assert not isinstance(side, str)
    texts = [message["content"] for message in side[:-1] if not user or message["role"] == "user"]
    return texts if last is None else texts[-last:]


def _joined(turns: Turns) -> str:
    return _BLANK.sub(" ", " ".join(turns))
