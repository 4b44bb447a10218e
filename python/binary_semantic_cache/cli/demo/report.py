"""The findings of the demonstration as a page to read, or as JSON."""

import textwrap
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict
from statistics import median
from typing import Any

from binary_semantic_cache.cli.demo.findings import Findings, Outcome, Verdict
from binary_semantic_cache.cli.demo.questions import Kind

__all__ = ["as_json", "as_text"]

WIDTH = 92

_VERDICTS: tuple[Verdict, ...] = ("right", "wrong", "missed")

_COLOUR = {"right": "32", "wrong": "31", "missed": "33", "title": "1", "quiet": "2"}

_LATENCY_LABELS = {
    "embed": "embed: question to embedding, one at a time",
    "encode": "encode: embedding to 256-bit code",
    "search": "search: code among {entries:,} codes",
    "search_100k": "search: code among 100,000 random codes",
    "get": "get: embedding to answer",
    "answer": "embed and get: question to answer",
}


def as_json(findings: Findings) -> dict[str, Any]:
    """The findings as plain data, with the totals of each kind of question."""
    data = asdict(findings)
    data["file"] = None if findings.file is None else str(findings.file)
    kinds: tuple[Kind, ...] = ("paraphrase", "unrelated", "trap")
    data["totals"] = {
        kind: {verdict: len(findings.outcomes_of(kind, verdict)) for verdict in _VERDICTS} for kind in kinds
    }
    return data


def as_text(findings: Findings, *, colours: bool = False) -> str:
    """The findings as text, at most 96 columns wide; `colours` adds terminal escapes."""
    return "\n".join(_Page(findings, colours=colours).lines()) + "\n"


class _Page:
    def __init__(self, findings: Findings, *, colours: bool) -> None:
        self._found = findings
        self._colours = colours

    def lines(self) -> Iterator[str]:
        found = self._found
        yield ""
        yield self._paint("title", f"Binary Semantic Cache: {found.entries} questions about {found.subject}")
        yield f"embedder    {_shortened(found.embedder, WIDTH - 12)}"
        yield (
            f"threshold   {found.threshold:g} (--threshold): in a hit at most {found.most_differing_bits} of "
            f"{found.code_bits} bits differ"
        )
        yield f"filled      {found.entries} questions embedded and stored in {found.fill_seconds:.1f} s"
        yield from self._hits_and_misses()
        yield from self._totals()
        yield from self._other_thresholds()
        yield from self._traps_explained()
        yield from self._times()
        yield from self._storage()
        yield from self._savings()

    def _paint(self, colour: str, text: str) -> str:
        return f"\x1b[{_COLOUR[colour]}m{text}\x1b[0m" if self._colours else text

    def _title(self, text: str) -> str:
        return "\n" + self._paint("title", text)

    def _hits_and_misses(self) -> Iterator[str]:
        found = self._found
        right = found.outcomes_of("paraphrase", "right")
        yield self._title("Hits: asked, and the stored question whose answer was served")
        yield from self._examples(_spread(right, 5))
        yield from self._examples(_spread(found.outcomes_of("paraphrase", "wrong"), 2))
        yield self._title("Misses: asked, and the nearest stored question, not near enough")
        yield from self._examples(_spread(found.outcomes_of("paraphrase", "missed"), 3))
        yield from self._examples(_spread(found.outcomes_of("unrelated", "missed"), 3))
        yield self._title("Traps: another answer is needed, nothing should be served")
        yield from self._examples(_spread(found.outcomes_of("trap", "wrong"), 4))
        yield from self._examples(_spread(found.outcomes_of("trap", "missed"), 2))

    def _examples(self, outcomes: list[Outcome]) -> Iterator[str]:
        for outcome in outcomes:
            verdict = self._paint(outcome.verdict, f"{outcome.verdict:<6}")
            yield f"  {outcome.similarity:.3f}  {verdict}  {_shortened(outcome.question, WIDTH - 17)}"
            because = f"  ({outcome.because})" if outcome.because else ""
            nearest = _shortened(outcome.nearest, WIDTH - 20 - len(because))
            yield " " * 17 + self._paint("quiet", f"-> {nearest}{because}")

    def _totals(self) -> Iterator[str]:
        yield self._title("Totals")
        header = (
            f"{'asked':>36}{'served right':>14}{'served wrong':>14}{'missed':>9}{'median similarity':>19}"
        )
        yield self._paint("quiet", header)
        kinds: tuple[tuple[Kind, str], ...] = (
            ("paraphrase", "paraphrases, should hit"),
            ("unrelated", "unrelated, should miss"),
            ("trap", "traps, should miss"),
        )
        for kind, label in kinds:
            right, wrong, missed = [len(self._found.outcomes_of(kind, verdict)) for verdict in _VERDICTS]
            asked = right + wrong + missed
            wrong_cell = self._paint("wrong", f"{wrong:>14}") if wrong else f"{wrong:>14}"
            middle = median(o.similarity for o in self._found.outcomes_of(kind))
            served_right = str(right) if kind == "paraphrase" else "-"
            yield f"  {label:<26}{asked:>8}{served_right:>14}{wrong_cell}{missed:>9}{middle:>19.3f}"

    def _other_thresholds(self) -> Iterator[str]:
        yield self._title("The same questions at other thresholds")
        columns = ("paraphrases right", "wrong", "unrelated wrong", "traps wrong")
        header = f"  {'threshold':<22}{columns[0]:>20}{columns[1]:>13}{columns[2]:>20}{columns[3]:>15}"
        yield self._paint("quiet", header)
        for threshold in sorted({0.80, 0.84375, 0.891, 0.957, self._found.threshold}):
            served = [o for o in self._found.outcomes if o.similarity >= threshold]
            counts = Counter((o.kind, o.nearest_is_right) for o in served)
            yield (
                f"  {threshold:<22g}{counts['paraphrase', True]:>20}{counts['paraphrase', False]:>13}"
                f"{counts['unrelated', False]:>20}{counts['trap', False]:>15}"
            )

    def _traps_explained(self) -> Iterator[str]:
        served = len(self._found.outcomes_of("trap", "wrong"))
        asked = len(self._found.outcomes_of("trap"))
        yield ""
        yield from _wrapped(
            f"{served} of {asked} traps were served a wrong answer. The vector level, shown here, compares "
            "codes and nothing else: a swapped direction, a negation or another number hardly moves an "
            "embedding, so no threshold can tell such a question from a paraphrase. That takes guards that "
            "read the text; the vector level has none."
        )

    def _times(self) -> Iterator[str]:
        yield self._title("Time of one call, in microseconds")
        yield self._paint("quiet", f"  {'':<46}{'median':>11}{'p95':>11}{'calls':>10}")
        for name, latency in self._found.latencies.items():
            label = _LATENCY_LABELS[name].format(entries=self._found.entries)
            cells = f"{_microseconds(latency.median_us):>11}{_microseconds(latency.p95_us):>11}"
            yield f"  {label:<46}{cells}{latency.calls:>10,}"

    def _storage(self) -> Iterator[str]:
        found = self._found
        yield self._title("Storage")
        yield f"  memory          {found.bytes_per_entry:,.0f} bytes an entry, answers not counted"
        kept = f", kept as {found.file}" if found.file else ""
        each = found.file_bytes / found.entries
        yield f"  file            {found.file_bytes:,} bytes with all answers, {each:,.0f} an entry{kept}"
        yield f"  save            {found.save_ms:.1f} ms, atomic and synced to disk"
        reopened = found.reopened
        yield f"  load with mmap  {reopened.load_ms:.1f} ms, checksums verified, in process {reopened.pid}"
        if reopened.equal:
            same = self._paint("right", f"all {len(found.outcomes)} answers equal those of the first process")
        else:
            same = self._paint("wrong", "ANSWERS DIFFER from those of the first process: this is a defect")
        yield f"  asked again     {same}"

    def _savings(self) -> Iterator[str]:
        found = self._found
        asked = len(found.outcomes)
        saved = len(found.outcomes_of("paraphrase", "right"))
        wrong = sum(o.verdict == "wrong" for o in found.outcomes)
        seconds = saved * found.latencies["answer"].median_us / 1e6
        yield self._title("What was saved")
        yield from _wrapped(
            f"{saved} of {asked} questions were answered rightly without a model call. At an assumed "
            f"{found.call_seconds:g} s a call (--call-seconds) that is {saved * found.call_seconds:.0f} s of "
            f"waiting, answered in {seconds:.2f} s by the measured time from question to answer. "
            f"{wrong} more were answered wrongly and count as no saving."
        )
        yield ""
        yield self._paint(
            "quiet", f"Everything above was measured in this run, in {found.total_seconds:.1f} s."
        )


def _spread(outcomes: list[Outcome], count: int) -> list[Outcome]:
    """At most `count` outcomes, evenly from the most to the least similar: not only the flattering ones."""
    ordered = sorted(outcomes, key=lambda outcome: -outcome.similarity)
    if len(ordered) <= count:
        return ordered
    if count == 1:
        return ordered[:1]
    return [ordered[i * (len(ordered) - 1) // (count - 1)] for i in range(count)]


def _microseconds(value: float) -> str:
    return f"{value:,.1f}" if value < 100 else f"{value:,.0f}"


def _shortened(text: str, width: int) -> str:
    return text if len(text) <= width else text[: width - 3].rstrip() + "..."


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, WIDTH, initial_indent="  ", subsequent_indent="  ")
