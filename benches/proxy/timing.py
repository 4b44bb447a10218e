"""Whether the time of a reply tells one tenant what another has asked: two samples, compared.

One tenant asks some questions, which are kept. Another then asks those, and as many that nobody asked, in
random order. Where nothing leaks the two samples of times come from one distribution.
"""

import math
import random
from collections.abc import Sequence
from contextlib import ExitStack

from benches.proxy.load import drive
from benches.proxy.processes import cpus, started
from benches.proxy.questions import ask, said

__all__ = ["kolmogorov_smirnov", "timing_lines"]


def timing_lines(probes: int, server: str) -> int:
    """Prints medians, and the two-sample Kolmogorov-Smirnov test; returns 0."""
    load, measured = cpus()
    with ExitStack() as stack:
        upstream, _ = stack.enter_context(started("benches.proxy.upstream", on=load))
        address = f"http://127.0.0.1:{upstream}"
        port, _ = stack.enter_context(started("benches.proxy.servers", server, address, on=measured))
        order = list(range(2 * probes))
        # Even numbers are asked by the first tenant.
        drive(
            port, lambda n: ask(2 * n, key="sk-one"), lambda n, reply: said(2 * n, reply),
            connections=4, seconds=1e6, most=probes,
        )  # fmt: skip
        random.Random(5).shuffle(order)
        # The first requests of a key are slower than the rest: not among those that count.
        drive(
            port, lambda n: ask(10**8 + n, key="sk-two"), lambda n, reply: said(10**8 + n, reply),
            connections=1, seconds=1e6, most=100,
        )  # fmt: skip
        run = drive(
            port, lambda n: ask(order[n], key="sk-two"), lambda n, reply: said(order[n], reply),
            connections=1, seconds=1e6, most=len(order),
        )  # fmt: skip
    times: tuple[list[float], list[float]] = ([], [])
    for number, seconds in zip(order, run.latencies, strict=True):
        times[number % 2].append(seconds * 1e3)
    distance, p = kolmogorov_smirnov(*times)
    for name, sample in zip(("asked by another tenant", "asked by nobody"), times, strict=True):
        sample.sort()
        print(f"{name:<24} n = {len(sample):,}  median {sample[len(sample) // 2]:.4f} ms")
    print(f"Kolmogorov-Smirnov: D = {distance:.4f}, p = {p:.3f}")
    return 0


def kolmogorov_smirnov(one: Sequence[float], other: Sequence[float]) -> tuple[float, float]:
    """Greatest distance of the two empirical distributions, and how likely as much is by chance.

    Source: Press et al., Numerical Recipes, section on the Kolmogorov-Smirnov test (asymptotic).
    """
    marked = sorted([(value, 0) for value in one] + [(value, 1) for value in other])
    seen, distance = [0, 0], 0.0
    for place, (value, which) in enumerate(marked):
        seen[which] += 1
        if place + 1 == len(marked) or marked[place + 1][0] != value:
            distance = max(distance, abs(seen[0] / len(one) - seen[1] / len(other)))
    n = math.sqrt(len(one) * len(other) / (len(one) + len(other)))
    x = (n + 0.12 + 0.11 / n) * distance
    if x < 0.2:
        return distance, 1.0
    p = 2 * sum((-1) ** (k - 1) * math.exp(-2 * k * k * x * x) for k in range(1, 101))
    return distance, min(1.0, max(0.0, p))
