"""An evaluation as lines for a terminal."""

from collections.abc import Iterator, Sequence

from binary_semantic_cache.cli.shown import safe
from binary_semantic_cache.proof.asking import Asked
from binary_semantic_cache.proof.curve import At
from binary_semantic_cache.proof.evaluation import Evaluation, shown_side
from binary_semantic_cache.proof.shares import Share

__all__ = ["lines", "table"]

_TEXT_WIDTH = 100
_NAME_WIDTH = 40
_SHOWN_STEPS = (0.95, 0.9, 0.88, 0.86, 0.84, 0.82, 0.8, 0.78, 0.76, 0.74, 0.7, 0.6)


def lines(evaluation: Evaluation, *, show: int, texts: bool) -> Iterator[str]:
    """What `bsc evaluate` prints.

    Args:
        evaluation: the figures.
        show: how many wrong serves and lost hits to list.
        texts: whether with their prompts.
    """
    whole = evaluation.whole
    labelled = whole.served.n + whole.traps.n
    yield f"pairs      {len(evaluation.asked):,}: {whole.served.n:,} same, {whole.traps.n:,} different, " + (
        f"{evaluation.unlabelled.n:,} without a label"
    )
    yield f"embedder   {safe(evaluation.embedder.split('/')[0], 70)}"
    yield f"threshold  {evaluation.threshold_said}"
    if whole.served.n:
        yield f"served     {_share(whole.served)} of the pairs that one answer serves"
    if whole.traps.n:
        yield f"wrong      {_share(whole.traps)} of the pairs that it does not"
    if whole.precision.n and labelled:
        yield f"right      {_share(whole.precision)} of the answers served"
    if evaluation.unlabelled.n:
        yield f"served     {_share(evaluation.unlabelled)} of the pairs without a label, rightly or not"
    if labelled:
        yield ""
        yield from _categories(evaluation)
        yield ""
        yield from _curve(evaluation)
    for name, heading in (("should_hit", "same"), ("traps", "different"), ("unlabelled", "without a label")):
        if counts := evaluation.outcomes[name]:
            yield ""
            yield f"outcomes of pairs {heading}: " + ", ".join(f"{key} {n:,}" for key, n in counts.items())
    if evaluation.guards:
        yield ""
        yield from table(
            ["guard objected to", "traps", "right answers", "as the only one"],
            [
                [name, f"{one.traps:,}", f"{one.should_hit:,}", f"{one.alone:,}"]
                for name, one in evaluation.guards.items()
            ],
        )
    yield from _mistakes("served wrong", evaluation.wrong_serves, show, texts=texts)
    yield from _mistakes("not served though right", evaluation.lost_hits, show, texts=texts)


def table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> Iterator[str]:
    """Columns side by side: the first to the left, the others to the right."""
    widths = [max(len(row[i]) for row in [head, *rows]) for i in range(len(head))]
    for row in [head, *rows]:
        cells = [
            cell.ljust(width) if i == 0 else cell.rjust(width)
            for i, (cell, width) in enumerate(zip(row, widths, strict=True))
        ]
        yield "  ".join(cells).rstrip()


def _categories(evaluation: Evaluation) -> Iterator[str]:
    yield from table(
        ["category", "served %", "95 %", "of", "wrong %", "95 %", "of"],
        [
            [safe(name, _NAME_WIDTH), *_cells(point.served), *_cells(point.traps)]
            for name, point in evaluation.by_category.items()
        ],
    )


def _curve(evaluation: Evaluation) -> Iterator[str]:
    points = [at for at in evaluation.curve if at.threshold in _SHOWN_STEPS]
    yield from table(
        ["threshold", "served %", "wrong %", "at most", "right answers %", "hit rate %"],
        [
            [
                f"{at.threshold:.2f}",
                _percent(at.point.served),
                _percent(at.point.traps),
                f"{100 * at.point.traps.interval[1]:.1f}" if at.point.traps.n else "-",
                _percent(at.point.precision),
                _percent(at.point.hit_rate),
            ]
            for at in points
        ],
    )
    reach = evaluation.area
    yield (
        f"area under right answers against hit rate (P-CHR AUC) {reach.area:.3f}, "
        f"up to a hit rate of {100 * reach.hit_rate:.1f} % (mean {reach.mean_precision:.3f})"
    )
    if evaluation.whole.traps.n:
        best = _best(evaluation.by_budget)
        yield f"loosest threshold with at most {100 * evaluation.budget:g} % wrong: {best}"
    if evaluation.whole.served.n:
        yield f"threshold of the greatest F1: {_best(evaluation.by_f1)}"


def _mistakes(heading: str, mistakes: Sequence[Asked], show: int, *, texts: bool) -> Iterator[str]:
    if not mistakes or not show:
        return
    yield ""
    yield f"{heading}, the most similar first ({min(show, len(mistakes)):,} of {len(mistakes):,})"
    for one in mistakes[:show]:
        near = "   -  " if one.similarity is None else f"{one.similarity:6.3f}"
        why = ", ".join(one.guards) if one.outcome == "guard" else one.outcome
        yield f"{near}  {safe(one.pair.category, 20)}  {why}  {safe(one.pair.id, _NAME_WIDTH)}"
        if texts:
            yield f"        a  {safe(shown_side(one.pair.a), _TEXT_WIDTH)}"
            yield f"        b  {safe(shown_side(one.pair.b), _TEXT_WIDTH)}"


def _share(share: Share) -> str:
    low, high = share.interval
    percent = f"{100 * share.value:.1f} % [{100 * low:.1f} to {100 * high:.1f}]"
    return f"{percent}, {share.count:,} of {share.n:,}"


def _cells(share: Share) -> list[str]:
    if not share.n:
        return ["-", "", ""]
    low, high = share.interval
    return [f"{100 * share.value:.1f}", f"{100 * low:.1f}-{100 * high:.1f}", f"{share.n:,}"]


def _percent(share: Share) -> str:
    return f"{100 * share.value:.1f}" if share.n else "-"


def _best(at: At | None) -> str:
    if at is None:
        return "none"
    served, wrong = _percent(at.point.served), _percent(at.point.traps)
    return f"{at.threshold:.2f} (served {served} %, wrong {wrong} %)"
