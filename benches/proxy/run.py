"""The command: which kinds of requests, over how many connections, and where the results go."""

import argparse
import json
import statistics
import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from benches.machine import describe
from benches.proxy.load import Measured, WrongReplyError, drive
from benches.proxy.memory import memory_lines
from benches.proxy.processes import cpus, started
from benches.proxy.questions import ask, said, told
from benches.proxy.timing import timing_lines
from benches.report import stem

__all__ = ["run"]

_RESULTS = Path(__file__).parent.parent / "results"
_QUESTION = "What is the capital of France?"
_REPHRASED = "What's the capital city of France?"


@dataclass
class Kind:
    """One kind of request to one server."""

    name: str
    port: int
    make: Callable[[int], bytes]
    check: Callable[[int, bytes], None]
    warm: Callable[[], object] = lambda: None
    """Called before each round: what a hit is to find must be there, whatever others have put since."""
    asked: int = 0
    rounds: dict[int, list[Measured]] = field(default_factory=dict)
    """By number of connections."""


def run(arguments: Sequence[str]) -> int:
    """Measures; prints a table; returns the exit status. A wrong reply ends the run with a traceback."""
    given = _parser().parse_args(arguments)
    if given.timing:
        return timing_lines(given.timing, given.server)
    if given.memory:
        return memory_lines(given.memory)
    seconds, rounds = (0.3, 1) if given.smoke else (given.seconds, given.rounds)
    numbers = [1, 8] if given.smoke else given.connections
    machine = describe({})
    with ExitStack() as stack:
        kinds = list(_kinds(stack, given.server, given.litellm))
        for n in numbers:
            for turn in range(rounds):
                for kind in kinds[turn % len(kinds) :] + kinds[: turn % len(kinds)]:
                    _say(f"{kind.name}, {n} connections")
                    kind.warm()
                    measured = drive(
                        kind.port, kind.make, kind.check, connections=n, seconds=seconds, first=kind.asked
                    )
                    kind.asked += len(measured.latencies) + n
                    kind.rounds.setdefault(n, []).append(measured)
    lines = [_line(kind, n, kinds[0]) for n in numbers for kind in kinds]
    print(_table(lines))
    folder = given.out or (None if given.smoke else _RESULTS)
    if folder is not None:
        folder.mkdir(parents=True, exist_ok=True)
        label = f"proxy-{given.server}-{'-'.join(map(str, numbers))}"
        path = folder / f"{stem(machine, label)}.json"
        path.write_text(
            json.dumps({"machine": machine, "seconds": seconds, "results": lines}, indent=1) + "\n"
        )
        path.with_suffix(".md").write_text(_table(lines) + "\n")
        _say(f"raw results: {path}")
    return 0


def _kinds(stack: ExitStack, server: str, litellm: str | None) -> Iterator[Kind]:
    """All servers, started, warm and checked. The first kind is the one without any proxy."""
    load, measured = cpus()
    upstream, _ = stack.enter_context(started("benches.proxy.upstream", on=load))
    address = f"http://127.0.0.1:{upstream}"
    plain, _ = stack.enter_context(started("benches.proxy.servers", "forwarder", address, on=measured))
    ours, _ = stack.enter_context(started("benches.proxy.servers", server, address, on=measured))
    yield Kind("the upstream, directly", upstream, ask, said)
    yield Kind("plain forwarder", plain, ask, said)
    drive(ours, lambda _: ask(_QUESTION), _is_answered, connections=1, seconds=60, most=1)
    yield Kind(
        "passed through (bypass)", ours, lambda n: ask(n, headers="x-bsc-mode: bypass\r\n"), told("bypass")
    )
    yield Kind("miss, stored", ours, ask, told("miss"))
    yield Kind("exact hit", ours, lambda _: ask(_QUESTION), told("exact", _QUESTION))
    yield Kind("exact hit, as a stream", ours, lambda _: ask(_QUESTION, stream=True), told("exact"))
    yield Kind("semantic hit", ours, lambda _: ask(_REPHRASED), told("semantic", _QUESTION))
    if litellm is not None:
        module = "benches.proxy.litellm_server"
        theirs, _ = stack.enter_context(started(module, address, on=measured, python=litellm))

        def warm() -> object:
            return drive(theirs, lambda _: ask(_QUESTION), _is_answered, connections=1, seconds=60, most=1)

        warm()
        yield Kind("LiteLLM: miss, stored", theirs, ask, said)
        # Its memory holds 200 answers, which the misses of the round before have driven out.
        yield Kind("LiteLLM: exact hit", theirs, lambda _: ask(_QUESTION), _is_litellms_hit, warm)


def _is_answered(_: int, reply: bytes) -> None:
    if _QUESTION.encode() not in reply:
        raise WrongReplyError(reply[:600].decode())


def _is_litellms_hit(n: int, reply: bytes) -> None:
    _is_answered(n, reply)
    if b"\r\nx-litellm-cache-key: " not in reply:
        raise WrongReplyError(f"request {n} was no hit: {reply[:600]!r}")


def _line(kind: Kind, connections: int, direct: Kind) -> dict[str, Any]:
    """Medians over the rounds; what is added is against the upstream without a proxy, in the same run."""
    rounds, plain = kind.rounds[connections], direct.rounds[connections]

    def median(of: Sequence[Measured], share: float) -> float:
        return statistics.median(one.quantile(share) for one in of) * 1e3

    return {
        "what": kind.name,
        "connections": connections,
        "per_second": round(statistics.median(one.per_second for one in rounds), 1),
        "p50_ms": round(median(rounds, 0.5), 4),
        "p99_ms": round(median(rounds, 0.99), 4),
        "first_byte_p50_ms": round(statistics.median(one.first_byte() for one in rounds) * 1e3, 4),
        "added_p50_ms": round(median(rounds, 0.5) - median(plain, 0.5), 4),
        "added_p99_ms": round(median(rounds, 0.99) - median(plain, 0.99), 4),
        "requests": sum(len(one.latencies) for one in rounds),
        "rounds": [round(one.per_second, 1) for one in rounds],
    }


def _table(lines: Sequence[dict[str, Any]]) -> str:
    head = "| what | connections | requests/s | p50 ms | p99 ms | added p50 | added p99 | first byte |"
    rows = [
        f"| {line['what']} | {line['connections']} | {line['per_second']:,.0f} | {line['p50_ms']:.2f} "
        f"| {line['p99_ms']:.2f} | {line['added_p50_ms']:.2f} | {line['added_p99_ms']:.2f} "
        f"| {line['first_byte_p50_ms']:.2f} |"
        for line in lines
    ]
    return "\n".join([head, "|---|---:|---:|---:|---:|---:|---:|---:|", *rows])


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m benches.proxy",
        description="Requests a second and added latency of the proxy over loopback.",
        epilog="example: python -m benches.proxy --connections 1 16",
    )
    parser.add_argument("--connections", type=int, nargs="+", default=[1, 16, 64, 256], metavar="N")
    parser.add_argument("--seconds", type=float, default=1.0, help="of each round (default: 1)")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--server", choices=["sqlite", "memory"], default="sqlite")
    parser.add_argument(
        "--litellm", metavar="PYTHON", help="a Python with litellm[proxy], to be measured too"
    )
    parser.add_argument("--smoke", action="store_true", help="a few seconds: does everything run and agree?")
    parser.add_argument(
        "--memory", type=int, metavar="REQUESTS", help="instead: memory over so many requests"
    )
    parser.add_argument("--timing", type=int, metavar="PROBES", help="instead: what times tell a tenant")
    parser.add_argument("--out", type=Path, metavar="FOLDER")
    return parser


def _say(line: str) -> None:
    print(line, file=sys.stderr, flush=True)
