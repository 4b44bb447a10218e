"""What commands about files share: text that is safe on a terminal, sizes, ages, progress."""

import math
import sys
import unicodedata
from collections.abc import Callable, Iterator
from contextlib import contextmanager

__all__ = ["age", "progress_bar", "safe", "size"]

_DIRECTIONS = frozenset("\u200e\u200f\u061c\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")


def safe(text: str, width: int | None = None) -> str:
    """`text` on one line, without what could move the cursor or turn the writing round, cut to `width`."""
    shown = "".join(_shown(character) for character in " ".join(text.split()))
    if width is not None and len(shown) > width:
        shown = shown[: width - 1] + "\u2026"
    encoding = getattr(sys.stdout, "encoding", None) or "utf-8"
    return shown.encode(encoding, "replace").decode(encoding)


def size(n_bytes: int) -> str:
    """Bytes as people read them: `912 B`, `3.4 KiB`, `1.2 GiB`."""
    value, unit = float(n_bytes), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if value < 1024:
            break
        value, unit = value / 1024, larger
    return f"{n_bytes} B" if unit == "B" else f"{value:.1f} {unit}"


def age(seconds: float) -> str:
    """A time span in its largest whole unit: `12 s`, `5 min`, `3 h`, `40 d`."""
    if not math.isfinite(seconds):
        return "?"
    for unit, length in (("d", 86400), ("h", 3600), ("min", 60)):
        if seconds >= length:
            return f"{int(seconds // length)} {unit}"
    return f"{max(0, int(seconds))} s"


@contextmanager
def progress_bar(total: int | None, unit: str = "entry") -> Iterator[Callable[[int], object]]:
    """A bar on the standard error, none where nobody watches; call what it gives with what was done."""
    from tqdm import tqdm

    with tqdm(total=total, unit=unit, file=sys.stderr, leave=False, disable=None) as bar:
        yield bar.update


def _shown(character: str) -> str:
    if character in _DIRECTIONS or unicodedata.category(character) in ("Cc", "Cf", "Cs", "Co", "Cn"):
        return "\ufffd"
    return character
