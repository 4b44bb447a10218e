"""What a replay found as one HTML page: no script, nothing fetched, light and dark."""

import math
from collections.abc import Sequence
from html import escape
from typing import Any

from binary_semantic_cache.proof.replay import Replayed
from binary_semantic_cache.proof.replay_charts import Curve, chart
from binary_semantic_cache.proof.replay_shown import (
    assumptions,
    rows,
    size_name,
    threshold_name,
    titles,
    ttl_name,
    when,
)

__all__ = ["page"]

_STYLE = """
:root { color-scheme: light dark; --ink: #1c2430; --paper: #fff; --faint: #d9dee6; --soft: #5b6675;
  --c0: #0b62c4; --c1: #c2410c; --c2: #15803d; --c3: #7e22ce; --c4: #a16207; --c5: #be185d; --c6: #0e7490;
  --c7: #4d5563; }
@media (prefers-color-scheme: dark) { :root { --ink: #e4e8ee; --paper: #14181f; --faint: #333b47;
  --soft: #9aa5b4; --c0: #6cb0ff; --c1: #ff9a5c; --c2: #5fd58a; --c3: #c99bff; --c4: #e6c04d; --c5: #ff8cc0;
  --c6: #5fd3e6; --c7: #b4bdc9; } }
body { font: 15px/1.5 system-ui, sans-serif; color: var(--ink); background: var(--paper); margin: 2rem auto;
  max-width: 72rem; padding: 0 1rem; }
h1 { font-size: 1.5rem; } h2 { font-size: 1.15rem; margin-top: 2rem; }
.charts { display: grid; grid-template-columns: repeat(auto-fit, minmax(26rem, 1fr)); gap: 1.5rem; }
figure { margin: 0; } figcaption { font-weight: 600; } svg { width: 100%; height: auto; }
svg text { font: 11px system-ui, sans-serif; fill: var(--soft); } .grid { stroke: var(--faint); }
.line { fill: none; stroke: var(--c); stroke-width: 2; } .dot { fill: var(--c); }
.band { fill: var(--c); opacity: .14; }
.legend { display: flex; flex-wrap: wrap; gap: .2rem 1rem; font-size: .85rem; color: var(--soft); }
.legend i { display: inline-block; width: .8rem; height: .8rem; margin-right: .35rem; background: var(--c); }
.table { overflow-x: auto; } table { border-collapse: collapse; font-variant-numeric: tabular-nums; }
th, td { padding: .25rem .7rem; text-align: right; white-space: nowrap;
  border-bottom: 1px solid var(--faint); }
th { color: var(--soft); font-weight: 600; }
""" + "".join(f".c{i} {{ --c: var(--c{i}); }}\n" for i in range(8))


def page(found: Replayed) -> str:
    """The page as a whole; it holds figures, and no text of a prompt or an answer."""
    between = " to ".join(filter(None, (when(found.first_time), when(found.last_time))))
    head = f"{found.requests:,} requests{f', {between}' if between else ''}"
    notes = "".join(f"<li>{escape(sentence)}</li>" for sentence in assumptions(found))
    names = "".join(f"<th>{escape(title)}</th>" for title in titles)
    body = "".join(
        "<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in row) + "</tr>" for row in rows(found)
    )
    return (
        '<!doctype html>\n<html lang="en"><head><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>Replay</title><style>{_STYLE}</style></head><body>"
        f"<h1>What a cache would have served</h1><p>{escape(head)}</p>"
        f'<div class="charts">{"".join(_charts(found))}</div>'
        f'<h2>All caches</h2><div class="table"><table><thead><tr>{names}</tr></thead>'
        f"<tbody>{body}</tbody></table></div>"
        f"<h2>What the figures stand on</h2><ul>{notes}</ul></body></html>\n"
    )


def _charts(found: Replayed) -> list[str]:
    caches = found.variants
    contents = list(dict.fromkeys((c["max_entries"], c["ttl_seconds"]) for c in caches))
    thresholds = sorted({c["threshold"] for c in caches})
    largest = contents[-1]
    by_threshold = [_of(caches, max_entries=size, ttl_seconds=ttl) for size, ttl in contents]
    drawn = [
        chart(
            [
                Curve(_content(*content), thresholds, [c["hit_rate"] for c in some])
                for content, some in zip(contents, by_threshold, strict=True)
            ],
            "threshold",
            "hits, share of requests",
        )
    ]
    sizes = list(dict.fromkeys(c["max_entries"] for c in caches))
    if len(sizes) > 1:
        # No limit stands behind the largest one, as far as one step of ten.
        limits = [size for size in sizes if size is not None]
        places = [math.log10(size or 10 * max(limits)) for size in sizes]
        drawn.append(
            chart(
                [
                    Curve(
                        f"threshold {threshold_name(threshold)}",
                        places,
                        [c["hit_rate"] for c in _of(caches, threshold=threshold, ttl_seconds=largest[1])],
                    )
                    for threshold in thresholds
                ],
                "entries",
                "hits against size, share of requests",
                x_ticks=[(at, size_name(size)) for at, size in zip(places, sizes, strict=True)],
            )
        )
    wrong = [c for c in by_threshold[-1] if c["wrong"]["semantic"]["judged"]]
    if wrong:
        shares = [c["wrong"]["semantic"] for c in wrong]
        drawn.append(
            chart(
                [
                    Curve(
                        f"{_content(*largest)}, 95 % Clopper-Pearson",
                        [c["threshold"] for c in wrong],
                        [share["share"] for share in shares],
                        [share["clopper_pearson"][0] for share in shares],
                        [share["clopper_pearson"][1] for share in shares],
                    )
                ],
                "threshold",
                "wrong hits, share of hits by meaning",
            )
        )
    places_of = [i for i, c in enumerate(caches) if (c["max_entries"], c["ttl_seconds"]) == largest]
    points = [(0, 0.0, [0] * len(caches)), *found.timeline.points]
    drawn.append(
        chart(
            [
                Curve(
                    f"threshold {threshold_name(caches[i]['threshold'])}, {_content(*largest)}",
                    [n for n, _, _ in points],
                    [hits[i] for _, _, hits in points],
                )
                for i in places_of
            ],
            "requests",
            "calls saved so far",
            percent=False,
        )
    )
    return drawn


def _of(caches: Sequence[dict[str, Any]], **settings: object) -> list[dict[str, Any]]:
    return [c for c in caches if all(c[name] == value for name, value in settings.items())]


def _content(size: int | None, ttl: float | None) -> str:
    entries = "no limit" if size is None else f"{size:,} entries"
    return entries if ttl is None else f"{entries}, {ttl_name(ttl)}"
