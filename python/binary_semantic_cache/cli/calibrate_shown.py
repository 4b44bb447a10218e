"""A calibration as lines for a terminal."""

from collections.abc import Iterator, Mapping

from binary_semantic_cache.cli.evaluate_shown import table
from binary_semantic_cache.cli.shown import safe
from binary_semantic_cache.proof.calibration import Calibration

__all__ = ["classes", "outcome", "steps"]

_OF = {
    "hits": "answers served by meaning",
    "traps": "pairs labelled different",
    "pairs": "pairs",
}


def steps(calibration: Calibration) -> Iterator[str]:
    """The walk, a line a threshold."""
    yield f"labels     {calibration.labels:,}"
    if calibration.steps:
        yield from table(
            ["threshold", "wrong", "of", "share %", f"at most % ({100 * calibration.confidence:g} %)", ""],
            [
                [
                    _shown(step.threshold),
                    f"{step.wrong:,}",
                    f"{step.n:,}",
                    f"{100 * step.wrong / step.n:.2f}",
                    f"{100 * step.bound:.2f}",
                    "" if step.bound <= calibration.budget else "too many",
                ]
                for step in calibration.steps
            ],
        )


def outcome(calibration: Calibration) -> Iterator[str]:
    """What was chosen, or what is missing."""
    budget = f"{100 * calibration.budget:g} % of {_OF[calibration.of]}"
    if calibration.chosen is not None:
        sure = f"{100 * calibration.confidence:g} %"
        yield (
            f"threshold  {_shown(calibration.chosen.threshold)}: at most {budget} are wrong, "
            f"with confidence {sure}, on traffic like these labels"
        )
        return
    yield f"no threshold can be promised for at most {budget}"
    assert calibration.missing is not None
    if not calibration.steps:
        have = calibration.needed - calibration.missing
        yield (
            f"{calibration.needed:,} labels without a wrong one would prove it, there are {have:,}: "
            f"{calibration.missing:,} more are needed"
        )
        return
    first = calibration.steps[0]
    yield (
        f"with {first.wrong:,} wrong of {first.n:,} at {_shown(first.threshold)}, "
        f"{calibration.missing:,} more labels would be needed there, and none of them wrong"
    )
    if first.wrong > calibration.budget * first.n:
        yield "more wrong ones than the budget were seen: more labels alone will hardly help"


def classes(by: Mapping[str, Calibration]) -> Iterator[str]:
    """A line a class; each has the confidence by itself, not all of them together."""
    yield from table(
        ["class", "threshold", "wrong", "of", "at most %", "more labels needed"],
        [
            [
                safe(name, 40),
                "none" if one.chosen is None else _shown(one.chosen.threshold),
                "-" if one.chosen is None else f"{one.chosen.wrong:,}",
                "-" if one.chosen is None else f"{one.chosen.n:,}",
                "-" if one.chosen is None else f"{100 * one.chosen.bound:.2f}",
                "-" if one.missing is None else f"{one.missing:,}",
            ]
            for name, one in by.items()
        ],
    )


def _shown(threshold: float) -> str:
    """Two digits, or as many as there are."""
    return f"{threshold:.2f}" if round(threshold, 2) == threshold else f"{threshold:.9g}"
