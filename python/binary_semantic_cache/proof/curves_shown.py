"""The two curves of an evaluation, as lines that a page or a picture draws."""

from collections.abc import Sequence

from binary_semantic_cache.proof.curve import At
from binary_semantic_cache.proof.drawing import Line
from binary_semantic_cache.proof.evaluation import Evaluation

__all__ = ["precision_line", "served_line"]


def served_line(evaluation: Evaluation) -> Line | None:
    """Right answers served against wrong ones; `None` where one kind of label is missing."""
    if not evaluation.whole.served.n or not evaluation.whole.traps.n:
        return None
    points = evaluation.curve
    return Line(
        x=[100 * at.point.traps.value for at in points],
        y=[100 * at.point.served.value for at in points],
        low=[100 * at.point.served.interval[0] for at in points],
        high=[100 * at.point.served.interval[1] for at in points],
        marked=_nearest(points, evaluation.threshold),
        notes=[_note(at) for at in points],
    )


def precision_line(evaluation: Evaluation) -> Line | None:
    """The share of answers that are right against the share of pairs answered; `None` without labels."""
    points = [at for at in evaluation.curve if at.point.precision.n]
    if not points:
        return None
    return Line(
        x=[100 * at.point.hit_rate.value for at in points],
        y=[100 * at.point.precision.value for at in points],
        low=[100 * at.point.precision.interval[0] for at in points],
        high=[100 * at.point.precision.interval[1] for at in points],
        marked=_nearest(points, evaluation.threshold),
        notes=[_note(at) for at in points],
    )


def _nearest(points: Sequence[At], threshold: float) -> int:
    return min(range(len(points)), key=lambda i: abs(points[i].threshold - threshold))


def _note(at: At) -> str:
    served, wrong = at.point.served, at.point.traps
    return (
        f"threshold {at.threshold:.2f}: {served.count} of {served.n} served, "
        f"{wrong.count} of {wrong.n} served wrong"
    )
