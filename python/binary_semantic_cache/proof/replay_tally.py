"""What each simulated cache did, counted."""

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, NamedTuple

from binary_semantic_cache.proof.bounds import upper_bound
from binary_semantic_cache.proof.replay_cells import Variant
from binary_semantic_cache.proof.replay_formats import Logged
from binary_semantic_cache.proof.shares import wilson
from binary_semantic_cache.text.admission import Usage, cost_of

__all__ = ["Judged", "Tally", "Worth", "share_of", "worth_of"]

_ONE_SIDED = 0.975
_CHARACTERS_A_TOKEN = 4
"""Where the log has no usage: a rule of thumb of English text. Source: OpenAI's help page on tokens."""


class Worth(NamedTuple):
    """What the call of one request cost."""

    input_tokens: int
    output_tokens: int
    estimated: bool
    """Whether the tokens are guessed from the length of the texts."""
    cost: float | None
    seconds: float | None


def worth_of(request: Logged, prices: Mapping[str, tuple[float, float]]) -> Worth:
    """What the call cost: by its own usage, and by `prices` or else by the cost that the log has."""
    usage, estimated = request.usage, False
    if usage is None:
        asked = len(request.text)
        if not isinstance(request.prompt, str):
            asked += len(request.prompt.context)
        usage = Usage(asked // _CHARACTERS_A_TOKEN, len(request.answer or "") // _CHARACTERS_A_TOKEN)
        estimated = True
    cost = cost_of(usage, request.model, prices)
    return Worth(*usage, estimated, request.cost if cost is None else cost, request.seconds)


@dataclass(slots=True)
class Judged:
    """Hits for which it is known, or guessed, whether their answer was right."""

    n: int = 0
    wrong: int = 0

    def add(self, *, right: bool) -> None:
        """Counts one."""
        self.n += 1
        self.wrong += not right

    def summary(self) -> dict[str, Any]:
        """Counts, share and 95 % intervals."""
        return share_of(self.wrong, self.n)


@dataclass(slots=True)
class Tally:
    """The figures of one cache."""

    variant: Variant
    requests: int = 0
    exact: int = 0
    semantic: int = 0
    misses: Counter[str] = field(default_factory=Counter)
    """By reason."""
    guards: Counter[str] = field(default_factory=Counter)
    """Vetoes of the best candidate that was refused, by guard, where that made a miss."""
    input_tokens: int = 0
    output_tokens: int = 0
    estimated_calls: int = 0
    """Saved calls whose tokens are guessed."""
    cost: float = 0.0
    unpriced_calls: int = 0
    seconds: float = 0.0
    untimed_calls: int = 0
    wrong_exact: Judged = field(default_factory=Judged)
    wrong_semantic: Judged = field(default_factory=Judged)

    @property
    def hits(self) -> int:
        """Calls that would not have been made."""
        return self.exact + self.semantic

    def hit(self, kind: str, worth: Worth, *, right: bool | None) -> None:
        """Counts a hit; `right` is `None` where nothing tells."""
        semantic = kind == "semantic"
        if semantic:
            self.semantic += 1
        else:
            self.exact += 1
        self.input_tokens += worth.input_tokens
        self.output_tokens += worth.output_tokens
        self.estimated_calls += worth.estimated
        if worth.cost is None:
            self.unpriced_calls += 1
        else:
            self.cost += worth.cost
        if worth.seconds is None:
            self.untimed_calls += 1
        else:
            self.seconds += worth.seconds
        if right is not None:
            (self.wrong_semantic if semantic else self.wrong_exact).add(right=right)

    def summary(self, *, entries: int, evictions: int) -> dict[str, Any]:
        """All of it as plain data; rates are shares of all requests."""
        hits, n = self.hits, max(1, self.requests)
        both = Judged(
            self.wrong_exact.n + self.wrong_semantic.n, self.wrong_exact.wrong + self.wrong_semantic.wrong
        )
        return {
            "threshold": self.variant.threshold,
            "threshold_of": "cosine" if self.variant.judge_from is None else "probability",
            "least_cosine": self.variant.least_cosine,
            "max_entries": self.variant.max_entries,
            "ttl_seconds": self.variant.ttl_seconds,
            "requests": self.requests,
            "hits": hits,
            "hit_rate": hits / n,
            "exact_hits": self.exact,
            "semantic_hits": self.semantic,
            "misses": dict(self.misses.most_common()),
            "guard_vetoes": dict(self.guards.most_common()),
            "saved": {
                "calls": hits,
                "input_tokens": self.input_tokens,
                "output_tokens": self.output_tokens,
                "calls_with_estimated_tokens": self.estimated_calls,
                "cost": self.cost if self.unpriced_calls < hits else None,
                "calls_without_cost": self.unpriced_calls,
                "seconds": self.seconds if self.untimed_calls < hits else None,
                "calls_without_seconds": self.untimed_calls,
            },
            "wrong": {
                "semantic": self.wrong_semantic.summary(),
                "exact": self.wrong_exact.summary(),
                "all": both.summary(),
            },
            "entries": entries,
            "evictions": evictions,
        }


def share_of(k: int, n: int) -> dict[str, Any]:
    """`k` of `n` with both intervals at 95 %; no share of none."""
    return {
        "judged": n,
        "wrong": k,
        "share": k / n if n else None,
        "wilson": list(wilson(k, n)),
        "clopper_pearson": list(_clopper_pearson(k, n)),
    }


def _clopper_pearson(k: int, n: int) -> tuple[float, float]:
    """The exact two-sided interval of 95 %: two one-sided bounds of 97.5 %; see `bounds`."""
    return (1.0 - upper_bound(n - k, n, _ONE_SIDED), upper_bound(k, n, _ONE_SIDED)) if n else (0.0, 1.0)
