"""How well the judge does on pairs of other authors, beside the cosine, with the guards in front of both."""

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from binary_semantic_cache.text.guards import Guards
from training.judge.boosting import logistic
from training.judge.examples import Examples
from training.judge.fitting import Fitted
from training.judge.measuring import area, least_score, served_at

__all__ = ["probabilities_left_out", "report"]

_BOUNDS = (0.03, 0.05, 0.10)
_SHARES = (0.014, 0.03, 0.05, 0.09)
_REFUSED = -1e9
_SHIPPED_COSINE = 0.82


def report(own: Examples, sums: NDArray[np.float64], foreign: Examples, judge: Fitted, guards: Guards) -> str:
    """Tables in Markdown.

    Args:
        own: the training pairs.
        sums: what judges that never saw a pair's domain gave for `own`.
        foreign: pairs of other authors.
        judge: trained on all of `own`.
        guards: stand in front.
    """
    own_scores = np.where(own.passed, probabilities_left_out(sums, judge), _REFUSED)
    raw = logistic(judge.sums(foreign, guards))
    cosine = _cosines(foreign)
    sources = np.array([pair.domain for pair in foreign.pairs])
    lines = [
        "Left out by domain, own pairs: area under the curve, no guards",
        "",
        "| domain | pairs | cosine | judge |",
        "|---|--:|--:|--:|",
    ]
    domains = np.array([pair.domain for pair in own.pairs])
    for domain in sorted(set(domains)):
        rows = domains == domain
        areas = area(_cosines(own)[rows], own.labels[rows]), area(sums[rows], own.labels[rows])
        lines.append(f"| {domain} | {rows.sum()} | {areas[0]:.3f} | {areas[1]:.3f} |")
    lines += ["", "Served at an equal share of traps, percent", ""]
    shares = " | ".join(f"at {share:.1%}" for share in _SHARES)
    lines += [
        f"| source | decision | area | {shares} | recall at precision 80 % |",
        "|---|---|--:|" + "--:|" * (len(_SHARES) + 1),
    ]
    for source in dict.fromkeys(sources):
        rows = sources == source
        labels = foreign.labels[rows]
        if labels.any():
            decisions = {
                "cosine": cosine, "cosine + guards": np.where(foreign.passed, cosine, _REFUSED),
                "judge": raw, "judge + guards": np.where(foreign.passed, raw, _REFUSED),
            }  # fmt: skip
            for name, scores in decisions.items():
                lines.append(f"| {source} | {name} | " + " | ".join(_row(scores[rows], labels)) + " |")
    lines += [
        "",
        "Thresholds fixed on own pairs of domains left out, then applied once: served / traps, percent",
        "",
    ]
    names = list(dict.fromkeys(sources))
    lines += ["| threshold | own | " + " | ".join(names) + " |", "|---|" + "---|" * (len(names) + 1)]
    near = np.array([pair.category != "elsewhere" for pair in own.pairs])
    cosine_own = np.where(own.passed, _cosines(own), _REFUSED)
    guarded = np.where(foreign.passed, cosine, _REFUSED)
    table = [(f"cosine {_SHIPPED_COSINE}", _SHIPPED_COSINE, cosine_own, guarded)]
    for bound in _BOUNDS:
        least = least_score(own_scores[near], own.labels[near], bound)
        title = f"judge, own traps <= {bound:.0%}: {least:.3f}"
        table.append((title, least, own_scores, np.where(foreign.passed, raw, _REFUSED)))
    for title, least, at_home, abroad in table:
        cells = [_served(at_home[near] >= least, own.labels[near])]
        cells += [
            _served(abroad[sources == name] >= least, foreign.labels[sources == name]) for name in names
        ]
        lines.append(f"| {title} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def probabilities_left_out(sums: NDArray[np.float64], judge: Fitted) -> NDArray[np.float64]:
    """What judges that never saw a pair's domain say of it, on the scale of the judge that saw all.

    Args:
        sums: what `out_of_fold` gave.
        judge: trained on all, calibrated.
    """
    slope = judge.for_cosine / Fitted(judge.directions, judge.trees).for_cosine
    return logistic(slope * sums + judge.trees.bias)


def _cosines(examples: Examples) -> NDArray[np.float64]:
    return np.asarray((examples.asked.astype(np.float64) * examples.stored).sum(axis=1))


def _row(scores: NDArray[np.float64], labels: NDArray[np.bool_]) -> Iterator[str]:
    yield f"{area(scores, labels):.3f}"
    yield from (f"{100 * served_at(scores, labels, share):.1f}" for share in _SHARES)
    order = np.argsort(-scores, kind="stable")
    right = np.cumsum(labels[order])
    precise = right / np.arange(1, len(right) + 1) >= 0.8
    yield f"{100 * max([0.0, *(right[precise] / right[-1])]):.1f}"


def _served(served: NDArray[np.bool_], labels: NDArray[np.bool_]) -> str:
    share = f"{100 * served[labels].mean():.1f}" if labels.any() else "-"
    return f"{share} / {100 * served[~labels].mean():.1f}"
