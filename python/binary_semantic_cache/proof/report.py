"""An evaluation as one page of HTML: no script, nothing from elsewhere, light or dark as the reader likes."""

from collections.abc import Iterable, Sequence
from html import escape

from binary_semantic_cache.proof.asking import Asked
from binary_semantic_cache.proof.curve import At
from binary_semantic_cache.proof.curves_shown import precision_line, served_line
from binary_semantic_cache.proof.drawing import chart
from binary_semantic_cache.proof.evaluation import Evaluation, shown_side
from binary_semantic_cache.proof.shares import Share

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1d2430; --soft: #5b6675; --paper: #fff; --grid: #e3e6ea;
  --line: #1f5fa8; --band: #1f5fa826 }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --soft: #9aa5b4; --paper: #14181f;
  --grid: #2c333e; --line: #79b0f2; --band: #79b0f226 } }
body { background: var(--paper); color: var(--ink); font: 15px/1.5 system-ui, sans-serif; max-width: 980px;
  margin: 2rem auto; padding: 0 1rem }
h1 { font-size: 1.4rem }
h2 { font-size: 1.1rem; margin-top: 2rem }
p, small, figcaption { color: var(--soft) }
table { border-collapse: collapse; font-variant-numeric: tabular-nums }
td, th { padding: .25rem .8rem .25rem 0; text-align: left; vertical-align: top;
  border-bottom: 1px solid var(--grid); overflow-wrap: anywhere }
.both { display: flex; flex-wrap: wrap; gap: 1.5rem }
figure { margin: 0; flex: 1 1 380px }
svg { width: 100%; height: auto }
svg text { fill: var(--soft); font: 11px system-ui, sans-serif }
.grid { stroke: var(--grid) }
.line { fill: none; stroke: var(--line); stroke-width: 2 }
.band { fill: var(--band) }
.point, .dot { fill: var(--line) }
.scroll { overflow-x: auto }
"""
_MOST_CHARACTERS = 2_000


def page(evaluation: Evaluation, *, show: int, texts: bool) -> str:
    """The page.

    Args:
        evaluation: the figures.
        show: how many wrong serves and lost hits to list.
        texts: whether with their prompts.
    """
    whole = evaluation.whole
    facts = [
        ("pairs", f"{len(evaluation.asked):,}"),
        ("threshold", evaluation.threshold_said),
        ("embedder", evaluation.embedder),
        ("served, of the pairs that one answer serves", _share(whole.served)),
        ("wrong, of the others", _share(whole.traps)),
    ]
    if evaluation.unlabelled.n:
        facts.append(("served, of the pairs without a label", _share(evaluation.unlabelled)))
    if whole.served.n + whole.traps.n:
        facts += [
            ("right, of the answers served", _share(whole.precision)),
            (
                "area under precision against hit rate",
                f"{evaluation.area.area:.3f}, up to a hit rate of {100 * evaluation.area.hit_rate:.1f} %",
            ),
            (f"loosest threshold, wrong &lt;= {100 * evaluation.budget:g} %", _best(evaluation.by_budget)),
            ("threshold of the greatest F1", _best(evaluation.by_f1)),
        ]
    parts = [
        "<!doctype html><html lang=en><meta charset=utf-8>",
        '<meta name=viewport content="width=device-width,initial-scale=1">',
        f"<title>Evaluation of a semantic cache</title><style>{_STYLE}</style>",
        "<h1>Evaluation of a semantic cache</h1>",
        "<p>The first prompt of each pair was put, the second looked up, each pair in a scope of its own. "
        "Shares in percent, with 95 % intervals (Wilson).</p>",
        "<table>",
        # The names are written here and may hold markup; the embedder's is not.
        *(f"<tr><th>{name}</th><td>{escape(value)}</td></tr>" for name, value in facts),
        "</table>",
        *_charts(evaluation),
        "<h2>By category</h2>",
        _table(
            ["category", "served", "wrong"],
            (
                [name, _share(point.served), _share(point.traps)]
                for name, point in evaluation.by_category.items()
            ),
        ),
    ]
    if evaluation.guards:
        parts.append("<h2>What the guards stopped</h2>")
        rows = (
            [name, f"{stopped.traps}", f"{stopped.should_hit}", f"{stopped.alone}"]
            for name, stopped in evaluation.guards.items()
        )
        parts.append(_table(["guard", "traps", "right answers", "the only one to object"], rows))
    parts += _mistakes("Served wrong", evaluation.wrong_serves, show, texts=texts)
    parts += _mistakes(
        "Not served though right, the most similar first", evaluation.lost_hits, show, texts=texts
    )
    return "".join(parts) + "\n"


def _charts(evaluation: Evaluation) -> list[str]:
    drawn = [
        (served_line(evaluation), "served wrong, %", "served right, %"),
        (precision_line(evaluation), "pairs answered, %", "answers that are right, %"),
    ]
    figures = [
        f"<figure>{chart(line, x, y)}<figcaption>{y} against {x}; band: 95 % interval, dot: the threshold; "
        "point at the line for others.</figcaption></figure>"
        for line, x, y in drawn
        if line is not None
    ]
    return ["<h2>Over thresholds</h2><div class=both>", *figures, "</div>"] if figures else []


def _mistakes(heading: str, mistakes: Sequence[Asked], show: int, *, texts: bool) -> list[str]:
    if not mistakes or not show:
        return []
    columns = ["similarity", "category", "outcome", "first prompt", "second prompt"]
    rows = (
        [
            "-" if one.similarity is None else f"{one.similarity:.3f}",
            one.pair.category,
            f"{one.outcome}: {', '.join(one.guards)}" if one.guards else one.outcome,
            *((_cut(shown_side(one.pair.a)), _cut(shown_side(one.pair.b))) if texts else (one.pair.id,)),
        ]
        for one in mistakes[:show]
    )
    return [
        f"<h2>{heading}</h2>",
        _table(columns if texts else [*columns[:3], "pair"], rows),
        f"<small>the most similar first, {min(show, len(mistakes)):,} of {len(mistakes):,}</small>",
    ]


def _table(columns: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    head = "".join(f"<th>{escape(column)}</th>" for column in columns)
    body = "".join(f"<tr>{''.join(f'<td>{escape(cell)}</td>' for cell in row)}</tr>" for row in rows)
    return f"<div class=scroll><table><tr>{head}</tr>{body}</table></div>"


def _share(share: Share) -> str:
    if not share.n:
        return "-"
    low, high = share.interval
    return f"{100 * share.value:.1f} [{100 * low:.1f} to {100 * high:.1f}], {share.count:,} of {share.n:,}"


def _best(at: At | None) -> str:
    if at is None:
        return "none"
    served, wrong = at.point.served.value, at.point.traps.value
    return f"{at.threshold:.2f}: served {100 * served:.1f}, wrong {100 * wrong:.1f}"


def _cut(text: str) -> str:
    return text if len(text) <= _MOST_CHARACTERS else text[: _MOST_CHARACTERS - 1] + "\N{HORIZONTAL ELLIPSIS}"
