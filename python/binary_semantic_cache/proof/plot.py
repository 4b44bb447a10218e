"""An evaluation's two curves as a PNG file, by matplotlib (extra `plot`)."""

from importlib.util import find_spec
from io import BytesIO

from binary_semantic_cache.errors import MissingExtraError
from binary_semantic_cache.proof.curves_shown import precision_line, served_line
from binary_semantic_cache.proof.evaluation import Evaluation

__all__ = ["png", "require_matplotlib"]

_COLOUR = "#1f5fa8"


def require_matplotlib() -> None:
    """Raises `MissingExtraError` if matplotlib is not installed."""
    if find_spec("matplotlib") is None:
        raise MissingExtraError(
            "a PNG wants matplotlib: pip install 'binary-semantic-cache[plot]'; a page by --html does not"
        )


def png(evaluation: Evaluation) -> bytes:
    """The bytes of a PNG file.

    Raises:
        MissingExtraError: matplotlib is not installed.
    """
    require_matplotlib()
    # Here, since it is optional and takes a second.
    from matplotlib.figure import Figure

    drawn = [
        (served_line(evaluation), "served wrong, %", "served right, %"),
        (precision_line(evaluation), "pairs answered, %", "answers that are right, %"),
    ]
    figure = Figure(figsize=(9.6, 4.0), dpi=110, layout="constrained")
    for axes, (line, x_label, y_label) in zip(figure.subplots(1, 2), drawn, strict=True):
        axes.set(xlabel=x_label, ylabel=y_label, xlim=(-2, 102), ylim=(-2, 102))
        axes.grid(visible=True, color="#e6e6e6", linewidth=0.6)
        if line is None:
            axes.set_title("no such labels", fontsize=9)
            continue
        axes.fill_between(line.x, line.low, line.high, color=_COLOUR, alpha=0.15, linewidth=0)
        axes.plot(line.x, line.y, color=_COLOUR, linewidth=1.8)
        assert line.marked is not None
        axes.plot(line.x[line.marked], line.y[line.marked], "o", color=_COLOUR, markersize=6)
    raw = BytesIO()
    # `Figure` without pyplot draws by Agg, and so needs no display.
    figure.savefig(raw, format="png", metadata={"Software": None})
    return raw.getvalue()
