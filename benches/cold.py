"""What the first call after other work costs: searches and gets with the caches of the processor emptied."""

from collections.abc import Iterator
from dataclasses import replace

import numpy as np

from benches import get, search
from benches.harness import Case, Row, measure
from benches.published import NAME
from benches.subject import Setting
from benches.vectors import embeddings, queries, random_codes

__all__ = ["run"]

_FLUSHED_BYTES = 128 * 2**20
"""More than any cache of the machines that this runs on; all of it is read and written."""
_DIMENSION = 384
_N_QUERIES = 16
_CALLS = 2


def run(setting: Setting) -> Iterator[Row]:
    """Searches at two sizes and whole gets, each call after 128 MiB were read and written."""
    buffer = np.ones(setting.size(_FLUSHED_BYTES, 2**20) // 8, np.uint64)
    for n in (2000,) if setting.smoke else (100_000, 1_000_000):
        codes = random_codes(n, seed=n)
        for kind in ("miss", "near"):
            asked = queries(codes, kind, _N_QUERIES, seed=n + 1)
            yield from _cold(setting, search.case(setting, codes, asked, kind, search.THRESHOLD), buffer)
    stored = embeddings(setting.size(100_000, 2000), _DIMENSION, seed=3)
    for case in get.cases(setting, stored, search.THRESHOLD):
        yield from _cold(setting, case, buffer)


def _cold(setting: Setting, case: Case, buffer: "np.ndarray[tuple[int], np.dtype[np.uint64]]") -> list[Row]:
    """The same case without its figures, which are for warm caches, and without those that say no more."""

    def flush() -> None:
        np.add(buffer, 1, out=buffer)

    kept = [
        replace(contender, figure=None)
        for contender in case.contenders
        if contender.name in (search.FAISS, NAME) or contender.name.startswith("read ")
    ]
    ours = replace(case.ours, figure=None)
    cold = replace(
        case, what=f"{case.what}, cold caches", ours=ours, contenders=kept, calls=_CALLS, before_each=flush
    )
    return measure(cold, setting.effort)
