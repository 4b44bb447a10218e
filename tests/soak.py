"""Mixed load with faults for as long as asked, under an oracle that knows every right answer: `make soak`.

Clients of four keys, two of which are one tenant, ask of both providers, as streams and not, steer, leave
early, and ask the same at once; the upstream fails in all ways meanwhile, a key comes and goes, entries are
invalidated. An answer says whom it was given to, by which model, and to what: so each can be judged.
"""

import argparse
import json
import random
import re
import sys
import tempfile
import threading
from collections import Counter, deque
from collections.abc import Callable
from contextlib import ExitStack
from dataclasses import dataclass, field
from hashlib import sha256
from operator import attrgetter
from pathlib import Path
from statistics import median
from time import monotonic

import httpx

from model_misdeeds import (
    altered,
    answers,
    cut,
    drip,
    error_event,
    hangs_up,
    more_headers,
    redirects,
    unended,
)
from model_server import ModelServer
from proxy_server import NO_TLS, chat_body, message_body
from soaked import Memory, soaked

__all__ = ["Soak", "soak"]

OWNERS = {"sk-alice": "alice", "sk-bob": "bob", "sk-carol": "carol", "sk-dave": "dave", "sk-erin": "erin"}
TENANTS = {"alice": "alice", "bob": "bob", "carol": "team", "dave": "team", "erin": "erin"}
COMES_AND_GOES = "sk-erin"
MODELS = (
    "trial",
    "trial-json",
    "trial-thinking",
    "trial-length",
    "trial-refusal",
    "trial-tools",
    "trial-empty",
)
MODES = ("default",) * 14 + ("refresh", "no-store", "bypass", "exact", "exact")
SAID = re.compile(r"([\w-]+) tells (\w+) about «(.*?)» \(call (\d+)\)")
FILLERS = ("", "please", "now")
CLIENTS = 6
QUESTIONS = 40
ENTRIES = 100
CALLS_A_FAULT = 12
MOST_GROWTH_MIB = 4.0
"""Of what the process has from the system, free pieces between those in use included."""
MOST_LEAK_MIB = 1.0
"""Of what is in use."""
LEAST_MINUTES = 5.0
"""Of a run whose memory is judged."""
SAMPLE_SECONDS = 0.5


def question_of(group: int, filler: str) -> str:
    """Questions of one group are near one another, and far from all others."""
    words = sha256(f"group {group}".encode()).hexdigest()
    return " ".join([*(words[at : at + 6] for at in range(0, 48, 6)), filler]).strip()


GROUP_OF = {question_of(group, filler): group for group in range(QUESTIONS) for filler in FILLERS}


@dataclass
class Soak:
    """What came of it."""

    seconds: float
    outcomes: Counter[str] = field(default_factory=Counter)
    faults: Counter[str] = field(default_factory=Counter)
    wrong: list[str] = field(default_factory=list)
    """Answers that were not to this question, by this model, for this tenant."""
    broken: list[str] = field(default_factory=list)
    """What a client or the proxy did that it must not."""
    memory: list[Memory] = field(default_factory=list)
    """Of the proxy's process, at equal intervals."""

    def growth(self, of: Callable[[Memory], float]) -> float:
        """Between the medians of the second and the last quarter."""
        quarter = len(self.memory) // 4
        if quarter < 1:
            return 0.0
        return median(map(of, self.memory[-quarter:])) - median(map(of, self.memory[quarter : 2 * quarter]))

    def summary(self) -> str:
        lines = [f"{sum(self.outcomes.values()):,} requests in {self.seconds:.0f} s"]
        lines += [f"  {n:>9,} {name}" for name, n in self.outcomes.most_common()]
        lines += [f"faults of the upstream: {dict(self.faults.most_common())}"]
        first, last = self.memory[0], self.memory[-1]
        lines += [
            "memory of the proxy, and what was added from the second to the last quarter:",
            f"  resident       {first.resident_mib:6.1f} to {last.resident_mib:6.1f} MiB, "
            f"{self.growth(RESIDENT):+.2f} MiB",
            f"  malloc in use  {first.malloc_mib:6.1f} to {last.malloc_mib:6.1f} MiB, "
            f"{self.growth(MALLOC):+.2f} MiB",
            f"  Python objects {first.blocks:,} to {last.blocks:,} blocks, {self.growth(BLOCKS):+,.0f}",
        ]
        lines += [f"wrong or foreign answers: {len(self.wrong)}", f"breaches: {len(self.broken)}"]
        return "\n".join([*lines, *self.wrong[:5], *self.broken[:5]])


RESIDENT, MALLOC, BLOCKS = attrgetter("resident_mib"), attrgetter("malloc_mib"), attrgetter("blocks")


class Client:
    """Asks until the time is over."""

    def __init__(self, url: str, seed: int, ends_at: float, soak: Soak, lock: threading.Lock) -> None:
        self.random = random.Random(seed)
        self.url, self.ends_at, self.soak, self.lock = url, ends_at, soak, lock

    def run(self) -> None:
        try:
            with httpx.Client(base_url=self.url, timeout=60, verify=NO_TLS) as http:
                while monotonic() < self.ends_at:
                    outcome = self.ask(http)
                    with self.lock:
                        self.soak.outcomes[outcome] += 1
        except Exception as exc:
            with self.lock:
                self.soak.broken.append(f"a client ended: {exc!r}")

    def ask(self, http: httpx.Client) -> str:
        """Asks once; says what came of it."""
        key = self.random.choice(list(OWNERS))
        model = "trial" if self.random.random() < 0.7 else self.random.choice(MODELS)
        # The lower numbers more often, so that some are asked by several at once.
        group = int(QUESTIONS * self.random.random() ** 3)
        question = question_of(group, self.random.choice(FILLERS))
        is_stream = self.random.random() < 0.5
        is_anthropic = self.random.random() < 0.4
        body = (message_body if is_anthropic else chat_body)(question, model, stream=is_stream)
        if is_stream and not is_anthropic and self.random.random() < 0.7:
            body["stream_options"] = {"include_usage": True}
        headers = {"x-bsc-mode": self.random.choice(MODES), "authorization": f"Bearer {key}"}
        if self.random.random() < 0.1:
            headers["x-bsc-ttl"] = "0.5"
        path = "/v1/messages" if is_anthropic else "/v1/chat/completions"
        leaves = self.random.random() < 0.05
        try:
            with http.stream("POST", path, json=body, headers=headers) as reply:
                if leaves:
                    next(reply.iter_raw(), b"")
                    return "left early"
                raw = reply.read()
        except (httpx.RemoteProtocolError, httpx.ReadError):
            return "broken off"
        if reply.status_code != 200:
            return f"status {reply.status_code}"
        text = text_of(raw, is_stream=is_stream, is_anthropic=is_anthropic)
        cache = reply.headers.get("x-bsc-cache", "none")
        if text is None:
            if cache in ("exact", "semantic"):
                self.complain(f"a hit that is no whole answer: {raw[-200:]!r}")
            return f"{cache}: no whole answer"
        self.judge(text, key, model, group, cache)
        return f"{cache}{': joined' if reply.headers.get('x-bsc-reason') == 'joined' else ''}"

    def judge(self, text: str, key: str, model: str, group: int, cache: str) -> None:
        if model in ("trial-refusal", "trial-tools", "trial-empty", "trial-length") and cache in (
            "exact",
            "semantic",
        ):
            self.complain(f"an answer of {model} was kept")
        if model == "trial-json" and text:
            text = json.loads(text)["answer"]
        found = SAID.search(text)
        if found is None:
            if model in ("trial", "trial-json", "trial-thinking"):
                self.complain(f"{cache}: {text[:200]!r} is no answer of {model}")
            return
        said_model, owner, asked, _ = found.groups()
        tenant = TENANTS[OWNERS[key]]
        own = TENANTS[owner] == tenant if cache != "bypass" else owner == OWNERS[key]
        if said_model != model or not own or GROUP_OF.get(asked) != group:
            self.complain(
                f"{cache}: {OWNERS[key]} asked {model} {question_of(group, '')!r}, got {text[:200]!r}"
            )

    def complain(self, what: str) -> None:
        with self.lock:
            self.soak.wrong.append(what)


def text_of(raw: bytes, *, is_stream: bool, is_anthropic: bool) -> str | None:
    """The text of a whole answer; `None` where it is none: an error in a body, a stream without its end."""
    try:
        if not is_stream:
            body = json.loads(raw)
            if is_anthropic:
                return "".join(block.get("text", "") for block in body["content"])
            return body["choices"][0]["message"]["content"] or ""
        if not raw.rstrip().endswith(b"[DONE]") and b"message_stop" not in raw[-120:]:
            return None
        events = [json.loads(line[6:]) for line in raw.decode().splitlines() if line.startswith("data: {")]
        if any("error" in event for event in events):
            return None
        if is_anthropic:
            return "".join(event.get("delta", {}).get("text", "") for event in events)
        deltas = [event["choices"][0]["delta"] for event in events if event["choices"]]
        return "".join(delta.get("content") or "" for delta in deltas)
    except (ValueError, KeyError, TypeError, IndexError):
        return None


def misdeed_of(rng: random.Random):
    """One fault and its name."""
    at = rng.randrange(0, 900)
    return rng.choice(
        [
            ("status", answers(rng.choice([400, 408, 429, 500, 503, 529]), {"error": {"message": "no"}})),
            ("error in a 200", answers(200, {"error": {"message": "no"}, "type": "error"})),
            ("cut", cut(at)),
            ("reset", cut(at, reset=True)),
            ("no end", unended(at)),
            ("error event", error_event(at % 7)),
            ("hangs up", hangs_up),
            ("redirect", redirects("http://127.0.0.1:9/v1/chat/completions")),
            ("byte by byte", drip),
            ("cookie", more_headers(("set-cookie", "session=secret"))),
            ("half a body", altered(lambda body: body[: len(body) // 2] if isinstance(body, list) else {})),
        ]
    )


def soak(seconds: float, seed: int = 1, *, aged: bool = False) -> Soak:
    """Runs it: the proxy in a process of its own, all else in this one; `aged` is of `soaked`."""
    result, lock, rng = Soak(seconds), threading.Lock(), random.Random(seed)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory()))
        model = stack.enter_context(ModelServer(keys=dict(OWNERS)))
        model.asked = deque(maxlen=10)  # type: ignore[assignment]
        proxy = stack.enter_context(soaked(folder, model.url, ENTRIES, aged=aged))
        began = monotonic()
        crowd = [
            threading.Thread(target=Client(proxy.url, seed * 1000 + n, began + seconds, result, lock).run)
            for n in range(CLIENTS)
        ]
        for one in crowd:
            one.start()
        pause = threading.Event()
        beats = faults = 0
        while monotonic() < began + seconds:
            pause.wait(SAMPLE_SECONDS / 10)
            beats += 1
            if model.calls > faults * CALLS_A_FAULT:
                faults += 1
                name, misdeed = misdeed_of(rng)
                result.faults[name] += 1
                model.will(misdeed)
            if beats % 10 == 0:
                result.memory.append(proxy.memory())
            if beats % 20 == 0:
                model.keys.pop(COMES_AND_GOES, None) or model.keys.update({COMES_AND_GOES: "erin"})
            if beats % 50 == 0:
                proxy.invalidate()
        for one in crowd:
            one.join(120)
            if one.is_alive():
                result.broken.append("a client did not end")
        entries, under_way = proxy.settle()
        if entries > ENTRIES + 64:
            result.broken.append(f"expected at most {ENTRIES} entries, got {entries}")
        if under_way:
            result.broken.append("a request is still under way")
    return result


def main() -> int:
    parser = argparse.ArgumentParser(prog="python tests/soak.py", description=__doc__)
    parser.add_argument("--minutes", type=float, default=30.0)
    parser.add_argument("--seed", type=int, default=1)
    given = parser.parse_args()
    result = soak(given.minutes * 60, given.seed, aged=given.minutes >= LEAST_MINUTES)
    print(result.summary())
    too_much = [
        f"expected {what} to grow by at most {most} MiB, got {result.growth(of):.2f} MiB"
        for what, of, most in (
            ("resident memory", RESIDENT, MOST_GROWTH_MIB),
            ("memory in use", MALLOC, MOST_LEAK_MIB),
        )
        if given.minutes >= LEAST_MINUTES and result.growth(of) > most
    ]
    for complaint in too_much:
        print(complaint)
    return 1 if too_much or result.wrong or result.broken else 0


if __name__ == "__main__":
    sys.exit(main())
