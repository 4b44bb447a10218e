"""What a replay found, in words: a table, notes on what the figures stand on, plain data."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from binary_semantic_cache.proof.replay import Replayed

__all__ = ["as_data", "assumptions", "rows", "size_name", "threshold_name", "titles", "ttl_name", "when"]

titles = (
    "threshold",
    "entries",
    "ttl",
    "hits",
    "exact",
    "meaning",
    "guard",
    "policy",
    "tokens saved",
    "money",
    "seconds",
    "wrong by meaning (95 %)",
)


def rows(found: Replayed) -> list[tuple[str, ...]]:
    """A row a simulated cache, under `titles`; shares are of all requests, wrong ones of hits by meaning."""
    return [_row(figures) for figures in found.variants]


def as_data(found: Replayed) -> dict[str, Any]:
    """All of it for a program to read."""
    return {
        "requests": found.requests,
        "formats": dict(found.formats),
        "first_time": found.first_time,
        "last_time": found.last_time,
        "rows_passed_over": found.passed_over,
        "rows_unreadable": found.unreadable,
        "unreadable_examples": found.examples,
        "out_of_order": found.ordered.late,
        "without_time": found.ordered.timeless,
        "with_answer": found.with_answer,
        "with_label": found.with_truth,
        "with_usage": found.with_usage,
        "with_seconds": found.with_seconds,
        "with_tenant": found.with_tenant,
        "texts_embedded": found.embedded,
        "answers_not_stored": found.unstored,
        "assumptions": assumptions(found),
        "caches": found.variants,
        "timeline": [{"requests": n, "time": time, "hits": hits} for n, time, hits in found.timeline.points],
        "pairs_at_loosest_threshold": found.n_pairs,
    }


def assumptions(found: Replayed) -> list[str]:
    """What the figures stand on, and what in the log makes them doubtful; a sentence each."""
    n = found.requests
    said = [
        "One process with one cache is simulated; requests at the same time count one after the other.",
        "Each answer is stored at once, and nothing is ever invalidated or reported.",
        "Eviction is least recently used; the guards and the policy are the shipped ones.",
        *_judged(found),
        "Users may ask otherwise once answers come at once; a log cannot tell.",
    ]
    if not found.with_tenant:
        said.append(
            "The whole log is one tenant: anybody may get anybody's answer. --tenant-field parts them."
        )
    if found.with_answer < n:
        said.append(
            f"{n - found.with_answer:,} of {n:,} requests have no answer in the log: "
            "it is taken for one that may be stored, unless the log says that the call failed."
        )
    if found.with_usage < n:
        said.append(
            f"{n - found.with_usage:,} of {n:,} requests have no token counts in the log: "
            "theirs are estimated at four characters a token."
        )
    if found.with_seconds < n:
        said.append(
            f"{n - found.with_seconds:,} of {n:,} requests have no latency in the log: "
            "seconds are those of the others alone."
        )
    if found.with_truth:
        said.append("Right and wrong come from the log's labels.")
    elif any(figures["wrong"]["all"]["judged"] for figures in found.variants):
        said.append(
            "Right and wrong are guessed by comparing the served answer with the logged one. "
            "That is a stand-in: right answers differ in words, as the wrong share of exact hits shows."
        )
    else:
        said.append("Nothing in the log tells right hits from wrong ones.")
    said.append("Intervals take hits for independent; many hits on one entry make them too narrow.")
    if found.ordered.late:
        said.append(
            f"{found.ordered.late:,} requests came later in the log than their times say, "
            "and count as made when they came; --sort puts them in order."
        )
    if found.ordered.timeless:
        said.append(f"{found.ordered.timeless:,} requests have no time and keep their place in the log.")
    if found.unreadable:
        said.append(f"{found.unreadable:,} rows could not be read: {found.examples[0]}")
    if found.passed_over:
        said.append(f"{found.passed_over:,} rows are no requests for text.")
    return said


def _judged(found: Replayed) -> list[str]:
    if found.judge_from is None:
        return []
    return [
        "The shipped judge stands behind the guards: thresholds are its least probabilities, "
        f"and it is asked from a cosine of {found.judge_from:g}."
    ]


def when(time: float | None) -> str:
    """A time as people read it; empty for none."""
    if not time:
        return ""
    try:
        return datetime.fromtimestamp(time, UTC).strftime("%Y-%m-%d %H:%M")
    except (ValueError, OverflowError, OSError):
        return ""


def threshold_name(threshold: float) -> str:
    """A threshold in two digits, or in as many as it has."""
    return f"{threshold:.2f}" if round(threshold, 2) == threshold else f"{threshold:g}"


def size_name(entries: int | None) -> str:
    """A limit of entries in words."""
    return "no limit" if entries is None else f"{entries:,}"


def ttl_name(seconds: float | None) -> str:
    """A time to live in words."""
    return "none" if seconds is None else f"{seconds:,g} s"


def _row(figures: Mapping[str, Any]) -> tuple[str, ...]:
    n = max(1, figures["requests"])
    saved, wrong = figures["saved"], figures["wrong"]["semantic"]
    guess = "~" if saved["calls_with_estimated_tokens"] else ""
    low, high = wrong["clopper_pearson"]
    return (
        threshold_name(figures["threshold"]),
        size_name(figures["max_entries"]),
        ttl_name(figures["ttl_seconds"]),
        f"{figures['hit_rate']:.2%}",
        f"{figures['exact_hits'] / n:.2%}",
        f"{figures['semantic_hits'] / n:.2%}",
        f"{figures['misses'].get('guard', 0) / n:.2%}",
        f"{figures['misses'].get('policy', 0) / n:.2%}",
        f"{guess}{saved['input_tokens'] + saved['output_tokens']:,}",
        _partly(saved["cost"], saved["calls_without_cost"], ".2f"),
        _partly(saved["seconds"], saved["calls_without_seconds"], ",.0f"),
        "unknown" if wrong["share"] is None else f"{wrong['share']:.1%} ({low:.1%} to {high:.1%})",
    )


def _partly(value: float | None, missing: int, form: str) -> str:
    if value is None:
        return "unknown" if missing else "0"
    return f"{'>= ' if missing else ''}{value:{form}}"
