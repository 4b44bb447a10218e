"""The findings of the demonstration as a page to read, or as JSON."""

import textwrap
from collections.abc import Iterator
from dataclasses import asdict
from statistics import median
from typing import Any

from binary_semantic_cache.cli.demo.findings import Findings, Outcome, Served
from binary_semantic_cache.cli.demo.questions import Kind

__all__ = ["as_json", "as_text"]

WIDTH = 92

_VERDICTS: tuple[Served, ...] = ("right", "wrong", "missed")

_COLOUR = {"right": "32", "wrong": "31", "missed": "33", "title": "1", "quiet": "2"}

_LATENCY_LABELS = {
    "exact": "a question asked before, word for word",
    "embed": "embed: question to embedding",
    "encode": "encode: embedding to 256-bit code",
    "search": "search: code among {entries:,} codes",
    "search_100k": "search: code among 100,000 random codes",
    "decide": "all of a lookup but the embedding",
    "lookup": "lookup: question to verdict",
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
            f"threshold   cosine {found.threshold:g} (--threshold), among candidates within "
            f"{found.radius} of 256 bits"
        )
        yield f"filled      {found.entries} questions embedded and stored in {found.fill_seconds:.1f} s"
        yield from self._hits_and_misses()
        yield from self._totals()
        yield from self._what_a_threshold_would_do()
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
        yield self._title("Misses: asked, why nothing was served, and the nearest stored question")
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
            reason = f"{outcome.reason} | " if outcome.reason else ""
            nearest = _shortened(reason + outcome.nearest, WIDTH - 20 - len(because))
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

    def _what_a_threshold_would_do(self) -> Iterator[str]:
        found = self._found
        yield f"  {found.repeats_right} of {found.repeats} stored questions, asked again, were exact hits"
        yield self._title("The same questions, decided by")
        columns = ("paraphrases right", "wrong", "unrelated wrong", "traps wrong")
        yield self._paint(
            "quiet", f"  {'':<33}{columns[0]:>17}{columns[1]:>7}{columns[2]:>17}{columns[3]:>13}"
        )
        for alone in found.alone:
            label = f"{alone.measure} {alone.threshold:g} alone"
            yield (
                f"  {label:<33}{alone.paraphrases_right:>17}{alone.paraphrases_wrong:>7}"
                f"{alone.unrelated_wrong:>17}{alone.traps_wrong:>13}"
            )
        right, wrong = (len(found.outcomes_of("paraphrase", verdict)) for verdict in ("right", "wrong"))
        others = [len(found.outcomes_of(kind, "wrong")) for kind in ("unrelated", "trap")]
        yield f"  {'the cache, guards and policy':<33}{right:>17}{wrong:>7}{others[0]:>17}{others[1]:>13}"
        yield ""
        yield from _wrapped(
            f"{others[1]} of {len(found.outcomes_of('trap'))} traps were served a wrong answer. A swapped "
            "direction, a negation or another number hardly moves an embedding, so no threshold can tell "
            "such a question from a paraphrase; guards read the text. They know words, not the world: what "
            "they let pass is for a verifier, a stricter threshold or a scope."
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
        yield f"  memory          {found.bytes_per_entry:,.0f} bytes an entry, the file not counted"
        kept = f", kept as {found.file}" if found.file else ""
        each = found.file_bytes / found.entries
        yield f"  file            {found.file_bytes:,} bytes with all answers, {each:,.0f} an entry{kept}"
        reopened = found.reopened
        yield f"  opened again    in {reopened.open_ms:.1f} ms, in process {reopened.pid}"
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
        seconds = saved * found.latencies["lookup"].median_us / 1e6
        yield self._title("What was saved")
        yield from _wrapped(
            f"{saved} of {asked} questions were answered rightly without a model call. At an assumed "
            f"{found.call_seconds:g} s a call (--call-seconds) that is {saved * found.call_seconds:.0f} s of "
            f"waiting, answered in {seconds:.2f} s by the measured time from question to verdict. "
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
