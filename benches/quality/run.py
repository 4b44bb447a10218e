"""The command: reads pairs, measures, prints tables, writes raw results and the documents' part."""

import argparse
import json
import sys
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from time import perf_counter
from typing import Any

from tqdm import tqdm

from benches.machine import describe
from benches.quality.digests import digest_table
from benches.quality.evidence import Examiner, least_cosine
from benches.quality.findings import Finding, find
from benches.quality.inputs import INPUTS, typed
from benches.quality.pairs import CONVERSATIONS, OWN, SETS, PairSet, load, read
from benches.quality.tables import all_tables, main_table
from benches.report import stem
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import MissingExtraError, ModelNotFoundError
from binary_semantic_cache.proof.pairs import last_text
from binary_semantic_cache.proof.remembering import RememberingEmbedder

__all__ = ["run"]

_ROOT = Path(__file__).parents[2]
_DATA = _ROOT.parent / "shared" / "data"
_RESULTS = _ROOT / "benches" / "results"
_DOCS = _ROOT / "docs"
_BEGIN, _END = "<!-- measured: begin -->", "<!-- measured: end -->"


def run(arguments: Sequence[str]) -> int:
    """Measures; returns the exit status.

    A cache that does not do what its parts say ends the run with a traceback; low shares do not.
    """
    given = _parser().parse_args(arguments)
    if given.digests:
        return _compare_digests(given.data)
    sets = load(given.data, full=given.full, smoke=given.smoke)
    if [one.name for one in sets] == [OWN]:
        _say(f"no labelled pairs in {given.data} (--data FOLDER): measuring the project's own few alone")
        if given.docs == _DOCS:
            _say("the documents are not rewritten without them; --docs FOLDER writes elsewhere")
            return 2
    embeddings = _embedder()
    if embeddings is None:
        return 2
    machine = describe({})
    machine["command"] = "python -m benches.quality" + "".join(f" {part}" for part in _shown(given))
    began = perf_counter()
    _embed(embeddings, sets)
    examiner = Examiner(embeddings)
    findings = [find(one, embeddings, examiner) for one in tqdm(sets, "measuring", unit=" sets")]
    machine |= {
        "embedder": embeddings.fingerprint,
        "texts": len(embeddings),
        "seconds": round(perf_counter() - began, 1),
    }
    print(main_table(findings))
    _say("percent, with 95 % intervals; served: of the pairs that should hit; traps: served wrong")
    if given.docs:
        _write_docs(given.docs, findings, machine)
    folder = given.out or (None if given.smoke else _RESULTS)
    if folder is None:
        _say("a smoke run: no raw results were written (--out FOLDER writes)")
    else:
        _say(f"raw results: {_write_raw(folder, findings, machine, smoke=given.smoke)}")
    return 0


def _embedder() -> RememberingEmbedder | None:
    """The local embedder; `None` where it cannot run, which is said."""
    try:
        return RememberingEmbedder(LocalEmbedder())
    except (MissingExtraError, ModelNotFoundError) as exc:
        _say(f"the local embedder cannot run: {exc}")
        return None


def _compare_digests(data: Path) -> int:
    path = data / SETS[CONVERSATIONS][0]
    if not path.is_file():
        _say(f"no conversations at {path} (--data FOLDER)")
        return 2
    embeddings = _embedder()
    if embeddings is None:
        return 2
    print(digest_table(read(CONVERSATIONS, path).pairs, embeddings))
    return 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches.quality",
        description="Measures how often the cache serves what it should, and what it should not.",
        epilog="example: python -m benches.quality --full --docs",
    )
    parser.add_argument(
        "--data", type=Path, default=_DATA, metavar="FOLDER", help="labelled pairs (default: %(default)s)"
    )
    parser.add_argument(
        "--out", type=Path, metavar="FOLDER", help="where to write (default: benches/results)"
    )
    parser.add_argument("--full", action="store_true", help="all pairs of the large sets, not a sample")
    parser.add_argument("--smoke", action="store_true", help="a dozen pairs of each set: does it run?")
    parser.add_argument(
        "--digests",
        action="store_true",
        help="instead: what conversations would get if their earlier turns were compared by meaning",
    )
    parser.add_argument(
        "--docs",
        type=Path,
        nargs="?",
        const=_DOCS,
        metavar="FOLDER",
        help="renew the tables in FOLDER/quality.md and draw FOLDER/figures (without a folder: docs)",
    )
    return parser


def _shown(given: argparse.Namespace) -> list[str]:
    """The options that bear on the figures; folders are the machine's own affair."""
    return [f"--{name}" for name in ("full", "smoke") if getattr(given, name)]


def _embed(embeddings: RememberingEmbedder, sets: Sequence[PairSet]) -> None:
    texts = {
        last_text(side).strip()
        for one in sets
        for name in INPUTS
        for pair in typed(one.pairs, name)
        for side in (pair.a, pair.b)
    }
    for text in tqdm(sorted(texts, key=len), "embedding", unit=" texts"):
        embeddings.of(text)


def _write_raw(folder: Path, findings: Sequence[Finding], machine: Mapping[str, Any], *, smoke: bool) -> Path:
    label = "smoke-quality" if smoke else "quality"
    path = folder / f"{stem(machine, label)}.json"
    folder.mkdir(parents=True, exist_ok=True)
    content = {
        "date": date.today().isoformat(),
        "machine": machine,
        "results": [one.plain() for one in findings],
    }
    path.write_text(json.dumps(content) + "\n")
    path.with_suffix(".md").write_text(all_tables(findings) + "\n")
    return path


def _write_docs(folder: Path, findings: Sequence[Finding], machine: Mapping[str, Any]) -> None:
    """Renews what stands between the markers of `quality.md`, and the figures beside it."""
    from benches.quality.figures import draw_precision, draw_served, file_name

    figures = []
    for finding in findings:
        at = {name: least_cosine(name, finding.verdicts.threshold) for name in finding.curves}
        name = file_name(finding.name)
        draw_served(folder / "figures" / name, finding.name, finding.curves, at, finding.contenders)
        figures.append(f"![{finding.name}: served against traps](figures/{name})")
        if finding.name == "Quora":
            name = file_name(finding.name, "precision")
            draw_precision(folder / "figures" / name, finding.name, finding.curves, at)
            figures.append(f"![{finding.name}: precision against hit rate](figures/{name})")
    path = folder / "quality.md"
    before, after = f"# Quality\n\n{_BEGIN}", f"{_END}\n"
    if path.is_file():
        text = path.read_text(encoding="utf-8")
        before, after = text[: text.index(_BEGIN) + len(_BEGIN)], text[text.index(_END) :]
    where = f"Measured {date.today().isoformat()} by `{machine['command']}` on {machine['cpu']}, "
    where += f"Python {machine['python']}, embedder `{machine['embedder'].split('/')[0]}` (int8), "
    where += f"threshold {findings[0].verdicts.threshold:.2f}."
    curves = "### Curves\n\n" + "\n\n".join(figures)
    measured = "\n\n".join(["", where, all_tables(findings), curves, ""])
    path.write_text(before + measured + after, encoding="utf-8")
    _say(f"documents: {path}")


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
