"""The findings as markdown that reads as plain text, too."""

from collections.abc import Iterable, Iterator, Mapping, Sequence

from benches.quality.ablation import DOUBTING
from benches.quality.contenders import PUBLISHED
from benches.quality.findings import NEAR_THRESHOLDS, Finding
from benches.quality.shipped import WITH_JUDGE
from binary_semantic_cache.proof.shares import Point, Share
from binary_semantic_cache.text.guards import GUARDS

__all__ = ["all_tables", "main_table", "table", "whole", "with_interval"]

_PRECISIONS = (0.80, 0.90)


def all_tables(findings: Sequence[Finding]) -> str:
    """Every table under a heading of its own."""
    sections = [
        ("In short", _short(findings)),
        ("Served and traps served wrong", main_table(findings)),
        ("Step by step", _ablation(findings)),
        ("A verifier where the judge is in doubt", _grey_zone(findings)),
        ("Published by others", _published()),
        ("The threshold and its neighbours", _thresholds(findings)),
        ("By category", _categories(findings)),
        ("One guard alone", _guards([(finding, finding.alone) for finding in findings])),
        ("One guard left out", _guards([(finding, finding.without) for finding in findings])),
        ("Why should-hit pairs were served or not", _outcomes(findings)),
        ("Lower-case and misspelt input", _inputs(findings)),
        ("Recall at a precision", _recall(findings)),
    ]
    return "\n\n".join(f"### {heading}\n\n{table}" for heading, table in sections)


def _short(findings: Sequence[Finding]) -> str:
    """Served and traps in one cell, for readers in a hurry."""
    rows = []
    for finding in findings:
        points = {**finding.decisions, **finding.contenders}
        shipped = points.pop("as shipped")
        judged = points.pop(WITH_JUDGE)
        del points["codes"], points["cosine + guards"]
        named = f"{finding.name} ({shipped.served.n:,} / {shipped.traps.n:,})"
        rows.append([named, whole(shipped), _both(judged), *map(_both, points.values())])
    others = ["cosine alone", *findings[0].contenders]
    return table(["pairs (should hit / traps)", "as shipped: served / traps", WITH_JUDGE, *others], rows)


def main_table(findings: Sequence[Finding]) -> str:
    """A line for each set and label, a column for each decision and contender."""
    columns = [*findings[0].decisions, *findings[0].contenders]
    rows = []
    for finding in findings:
        points = {**finding.decisions, **finding.contenders}
        for label, shares in (
            ("served", [point.served for point in points.values()]),
            ("traps", [point.traps for point in points.values()]),
        ):
            if shares[0].n:
                rows.append([f"{finding.name}: {label}", f"{shares[0].n:,}", *map(with_interval, shares)])
    return table(["set", "pairs", *columns], rows)


def _ablation(findings: Sequence[Finding]) -> str:
    """A line for each step, a column for each set."""
    rows = [[step, *(whole(finding.ablation[step]) for finding in findings)] for step in findings[0].ablation]
    return table(["step: served / traps", *(finding.name for finding in findings)], rows)


def _grey_zone(findings: Sequence[Finding]) -> str:
    """How often a verifier would be asked, and what the best and the most credulous would make of it."""
    rows = [
        [
            finding.name,
            with_interval(finding.grey_zone.asked),
            whole(finding.decisions[WITH_JUDGE]),
            whole(finding.grey_zone.best),
            whole(finding.grey_zone.worst),
        ]
        for finding in findings
    ]
    head = ["set", "asked, of all pairs", f"{WITH_JUDGE}: served / traps", "always right", "always yes"]
    return f"`{DOUBTING!r}`\n\n{table(head, rows)}"


def _published() -> str:
    rows = [
        [item.contender, item.set_name, _percent(item.served), _percent(item.traps), item.source]
        for item in PUBLISHED
    ]
    return table(["contender", "set", "served", "traps", "source"], rows)


def _thresholds(findings: Sequence[Finding]) -> str:
    head = ["set", *(f"{at:.2f}" for at in NEAR_THRESHOLDS)]
    rows = [
        [finding.name, *(_bounded(finding.near[threshold]) for threshold in NEAR_THRESHOLDS)]
        for finding in findings
    ]
    return table(head, rows)


def _bounded(point: Point) -> str:
    """Served, and traps with the upper end of their interval."""
    served = _percent(point.served.value) if point.served.n else "-"
    if not point.traps.n:
        return served
    return f"{served} / {_percent(point.traps.value)} (<= {_percent(point.traps.interval[1])})"


def _categories(findings: Sequence[Finding]) -> str:
    names = ["cosine", "cosine + guards", "as shipped", *findings[0].contenders]
    rows = []
    for finding in findings:
        if len(finding.categories) == 1 or len(finding.categories) > len(finding.evidence) / 4:
            continue
        for category, points in finding.categories.items():
            for label, shares in (
                ("served", [points[name].served for name in names]),
                ("traps", [points[name].traps for name in names]),
            ):
                if shares[0].n:
                    named = f"{finding.name}: {category}, {label}"
                    rows.append([named, f"{shares[0].n:,}", *map(with_interval, shares)])
    return table(["set: category", "pairs", *names], rows)


def _guards(measured: Sequence[tuple[Finding, Mapping[str, Point]]]) -> str:
    names = [finding.name for finding, _ in measured]
    rows = [[guard, *(_both(points[guard]) for _, points in measured)] for guard in GUARDS]
    rows.append(["*all*", *(_both(finding.decisions["as shipped"]) for finding, _ in measured)])
    return table(["guard: served / traps", *names], rows)


def _outcomes(findings: Sequence[Finding]) -> str:
    counted = [finding.verdicts.reasons(finding.evidence, same=True) for finding in findings]
    reasons = sorted({reason for counter in counted for reason in counter})
    rows = [
        [finding.name, *(f"{counter[reason]:,}" if counter[reason] else "" for reason in reasons)]
        for finding, counter in zip(findings, counted, strict=True)
        if counter
    ]
    return table(["set", *reasons], rows)


def _inputs(findings: Sequence[Finding]) -> str:
    """A line for each set, without and with the judge; a column for each way of typing."""
    rows = [
        [f"{finding.name}, {decision}", *(whole(points[decision]) for points in finding.inputs.values())]
        for finding in findings
        for decision in ("as shipped", WITH_JUDGE)
    ]
    return table(["set: served / traps", *findings[0].inputs], rows)


def _recall(findings: Sequence[Finding]) -> str:
    rows = []
    for finding in findings:
        if not all(finding.decisions["as shipped"].hit_rate.n - share.n for share in _shares(finding)):
            continue
        for precision in _PRECISIONS:
            cells = [_best(points, precision) for points in finding.curves.values()]
            rows.append([f"{finding.name}, {precision:.0%}", *cells])
    return table(["set, precision", *findings[0].curves], rows)


def _shares(finding: Finding) -> tuple[Share, Share]:
    point = finding.decisions["as shipped"]
    return point.served, point.traps


def _best(points: Sequence[Point], precision: float) -> str:
    """The greatest share served over the thresholds where so many answers are right."""
    reached = [point.served.value for point in points if point.precision.value >= precision]
    return _percent(max(reached)) if reached and max(reached) > 0 else "never"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f} %"


def with_interval(share: Share) -> str:
    """Percent, and the ends of the interval."""
    low, high = share.interval
    return f"{100 * share.value:.1f} [{100 * low:.0f}-{100 * high:.0f}]"


def whole(point: Point) -> str:
    """Served and traps with their intervals."""
    return " / ".join(with_interval(share) if share.n else "-" for share in (point.served, point.traps))


def _both(point: Point) -> str:
    return " / ".join(f"{100 * share.value:.1f}" if share.n else "-" for share in (point.served, point.traps))


def table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    """In Markdown, columns aligned."""
    return "\n".join(_lines([list(head), *map(list, rows)]))


def _lines(cells: Sequence[Sequence[str]]) -> Iterator[str]:
    widths = [max(len(line[i]) for line in cells) for i in range(len(cells[0]))]
    for number, line in enumerate(cells):
        padded = [cell.ljust(width) for cell, width in zip(line, widths, strict=True)]
        yield "| " + " | ".join(padded) + " |"
        if number == 0:
            yield "|" + "|".join("-" * (width + 2) for width in widths) + "|"
