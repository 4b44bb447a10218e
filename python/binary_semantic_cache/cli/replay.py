"""`bsc replay`: what a cache would have served of a log, saved, and got wrong."""

import argparse
import json
import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from binary_semantic_cache.cli.pair_arguments import judge_of

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    from binary_semantic_cache.proof.replay import Replayed

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_FORMATS = ("plain", "requests", "openai", "anthropic", "litellm", "langfuse")
_THRESHOLDS = (0.78, 0.82, 0.86, 0.90, 0.95)
_PROBABILITIES = (0.831, 0.904, 0.933)
"""Those that `docs/judge.md` has figures for."""
_SIZES = (1_000, 10_000, 100_000, None)
_UNITS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_FACTORS = {"k": 1_000, "m": 1_000_000}

_EXAMPLES = """\
examples:
  bsc replay requests.jsonl                             OpenAI or Anthropic requests
  bsc replay litellm.jsonl.gz --tenant-field metadata.user_api_key_hash
  bsc replay observations.jsonl --format langfuse --html report.html
  bsc replay log.jsonl --thresholds 0.82,0.9 --sizes 10k,none --ttls 1h,none
  bsc replay log.jsonl --prices prices.json --json > figures.json
  bsc replay log.jsonl --judge                          with the shipped judge behind the guards
  bsc replay log.jsonl --sample-out pairs.jsonl         pairs to label
  zcat logs/*.gz | bsc replay -

Nothing is sent anywhere but to the embedder, which is the local model unless --embedder names another. The
figures hold no text of the log; --sample-out does. docs/replay.md says what they stand on.
"""


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc replay`."""
    parser = subparsers.add_parser(
        "replay",
        help="what a cache would have saved on a log of requests",
        description="Run a log through simulated caches: hits, savings and wrong hits by threshold and size.",
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument(
        "logs", nargs="+", type=Path, metavar="LOG", help="JSON lines or arrays, .gz or not; -"
    )
    reading = parser.add_argument_group("the log")
    reading.add_argument("--format", choices=_FORMATS, help="of all logs (default: found out for each)")
    reading.add_argument("--prompt-field", metavar="PATH", help="of plain lines: where the prompt is")
    reading.add_argument("--tenant-field", metavar="PATH", help="who may share answers, as a.b.c")
    reading.add_argument("--truth-field", metavar="PATH", help="a label that is equal for equal answers")
    reading.add_argument("--sort", action="store_true", help="sort by time on the disk first")
    reading.add_argument("--limit", type=_count, metavar="N", help="stop after N requests")
    caches = parser.add_argument_group("the simulated caches: all combinations of")
    caches.add_argument(
        "--thresholds",
        type=_thresholds,
        metavar="LIST",
        help="least cosines, with --judge least probabilities",
    )
    caches.add_argument("--sizes", type=_sizes, default=_SIZES, metavar="LIST", help="entries: 10k,1m,none")
    caches.add_argument("--judge", action="store_true", help="all of them with the shipped judge")
    caches.add_argument("--ttls", type=_ttls, default=(None,), metavar="LIST", help="30m,1h,2d,none")
    judging = parser.add_argument_group("worth and wrong hits")
    judging.add_argument(
        "--prices", type=Path, metavar="FILE", help="JSON: {model: [input, output]} a million"
    )
    judging.add_argument(
        "--agreement",
        choices=("tokens", "exact", "embedding", "none"),
        default="tokens",
        help="how answers are compared where there are no labels (default: tokens)",
    )
    judging.add_argument("--agree-from", type=float, metavar="X", help="from which value on they agree")
    judging.add_argument("--sample-out", type=Path, metavar="FILE", help="pairs served, for bsc label")
    judging.add_argument("--sample", type=_count, default=200, metavar="N", help="how many (default: 200)")
    judging.add_argument("--seed", type=int, default=0, help="of that draw")
    running = parser.add_argument_group("running")
    running.add_argument("--embedder", default="local", metavar="NAME", help="see docs/embedders.md")
    running.add_argument("--threads", type=_count, default=1, metavar="N", help="of the local embedder")
    running.add_argument("--work-dir", type=Path, metavar="DIR", help="keep embeddings for the next run")
    running.add_argument("--json", action="store_true", help="print JSON")
    running.add_argument("--html", type=Path, metavar="FILE", help="also write a page with curves")
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.cli.shown import progress_bar
    from binary_semantic_cache.proof.replay import Plan, replay, variants_of
    from binary_semantic_cache.proof.replay_agreement import agreement_named
    from binary_semantic_cache.proof.replay_formats import Fields
    from binary_semantic_cache.proof.replay_lines import total_bytes
    from binary_semantic_cache.text.guards import Guards
    from binary_semantic_cache.text.policy import Policy

    judge = judge_of(namespace)
    variants = variants_of(
        namespace.thresholds or (_THRESHOLDS if judge is None else _PROBABILITIES),
        namespace.sizes,
        namespace.ttls,
        judge_from=None if judge is None else judge.least_cosine,
    )
    embedder = _embedder(namespace)
    agreement = None
    if namespace.agreement != "none":
        agreement = agreement_named(namespace.agreement, embedder, namespace.agree_from)
    plan = Plan(
        variants=variants,
        embedder=embedder,
        guards=Guards(),
        policy=Policy(),
        judge=judge,
        agreement=agreement,
        prices=_prices(namespace.prices),
        format=namespace.format,
        fields=Fields(namespace.prompt_field, namespace.tenant_field, namespace.truth_field),
        sort=namespace.sort,
        limit=namespace.limit,
        work_dir=namespace.work_dir,
        pairs=namespace.sample if namespace.sample_out is not None else 0,
        seed=namespace.seed,
    )
    with progress_bar(total_bytes(namespace.logs), "B") as progress:
        found = replay(namespace.logs, plan, progress)
    if namespace.sample_out is not None:
        _write(namespace.sample_out, "".join(json.dumps(pair) + "\n" for pair in found.pairs))
    if namespace.html is not None:
        from binary_semantic_cache.proof.replay_page import page

        _write(namespace.html, page(found))
    _print(namespace, found)
    return 0


def _print(namespace: argparse.Namespace, found: "Replayed") -> None:
    from binary_semantic_cache.cli.shown import safe
    from binary_semantic_cache.proof.replay_shown import as_data, assumptions, rows, titles

    if namespace.json:
        print(json.dumps(as_data(found), indent=2))
        return
    table = [titles, *rows(found)]
    # A column that says the same of all caches and was not asked for only takes room.
    kept = [i for i, title in enumerate(titles) if title != "ttl" or namespace.ttls != (None,)]
    widths = [max(len(row[i]) for row in table) for i in kept]
    print(f"{found.requests:,} requests, format {', '.join(found.formats)}\n")
    for row in table:
        print("  ".join(f"{row[i]:>{width}}" for i, width in zip(kept, widths, strict=True)))
    print()
    for sentence in assumptions(found):
        print(safe(f"- {sentence}"))
    for path in filter(None, (namespace.html, namespace.sample_out)):
        print(f"wrote {safe(str(path))}")


def _embedder(namespace: argparse.Namespace) -> Any:
    if namespace.embedder == "local" and namespace.threads > 1:
        from binary_semantic_cache.embedders.local import LocalEmbedder

        return LocalEmbedder(threads=namespace.threads)
    from binary_semantic_cache.embedders.from_name import embedder_from

    return embedder_from(namespace.embedder)


def _prices(path: Path | None) -> dict[str, tuple[float, float]]:
    from binary_semantic_cache.errors import InvalidValueError, MissingFileError
    from binary_semantic_cache.text.settings import checked_prices

    if path is None:
        return {}
    try:
        read = json.loads(path.read_text("utf-8"))
    except FileNotFoundError as exc:
        raise MissingFileError(f"expected prices, got nothing at {path}") from exc
    except ValueError as exc:
        raise InvalidValueError(f"{path}: expected JSON, got something else ({exc})") from exc
    if not isinstance(read, dict):
        raise InvalidValueError(f"{path}: expected an object of models, got {type(read).__name__}")
    return checked_prices(read)


def _write(path: Path, text: str) -> None:
    from binary_semantic_cache.errors import StoreError

    try:
        path.write_text(text, "utf-8")
    except OSError as exc:
        raise StoreError(f"{path}: {exc.strerror or exc}") from exc


def _count(text: str) -> int:
    if not text.isascii() or not text.isdigit() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"expected a number of 1 or more, got {text}")
    return int(text)


def _thresholds(text: str) -> Sequence[float]:
    return tuple(_number(part, text) for part in text.split(","))


def _sizes(text: str) -> Sequence[int | None]:
    return tuple(None if part == "none" else int(_scaled(part, _FACTORS, text)) for part in text.split(","))


def _ttls(text: str) -> Sequence[float | None]:
    return tuple(None if part == "none" else _scaled(part, _UNITS, text) for part in text.split(","))


def _scaled(part: str, factors: dict[str, Any], text: str) -> float:
    factor = factors.get(part[-1:].lower())
    return _number(part, text) if factor is None else float(factor * _number(part[:-1], text))


def _number(part: str, text: str) -> float:
    try:
        value = float(part)
    except ValueError:
        value = math.nan
    if not math.isfinite(value):
        raise argparse.ArgumentTypeError(f"expected numbers with commas between them, got {text}")
    return value
