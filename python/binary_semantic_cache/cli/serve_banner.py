"""What `bsc serve` says when it has started: where it is, what to set, where things are kept."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from binary_semantic_cache import __version__

if TYPE_CHECKING:
    # Names alone: at run time this module must not pull the server in.
    from binary_semantic_cache.proxy.processes.server import Started
    from binary_semantic_cache.proxy.settings import ProxySettings

__all__ = ["DEMO_QUESTIONS", "banner", "demo_banner"]

DEMO_QUESTIONS = (
    ("How do I undo the last commit in git?", "miss", "the first time: the model is asked"),
    ("How do I undo the last commit in git?", "exact", "the same again"),
    ("How can I undo the last commit in git?", "semantic", "in other words"),
    ("How do I undo the last merge in git?", "miss", "a trap: nearly the same words, another question"),
)
"""`(question, x-bsc-cache, why)` of what the demo suggests, to be asked in this order."""


def banner(started: "Started", settings: "ProxySettings", warnings: Sequence[str]) -> str:
    """Lines for people; the first line of the output, `listening on URL`, is for programs."""
    return "\n".join(f"  {name:<11} {value}" for name, value in _rows(started, settings, warnings))


def _rows(
    started: "Started", settings: "ProxySettings", warnings: Sequence[str]
) -> Iterator[tuple[str, str]]:
    server, cache, upstream = settings.server, settings.cache, settings.upstream
    workers = f"{server.workers} workers" if server.workers > 1 else "1 worker"
    yield "bsc serve", f"{__version__}, {workers}, in front of {upstream.openai} and {upstream.anthropic}"
    yield "OpenAI", f"OPENAI_BASE_URL={started.url}/v1"
    yield "Anthropic", f"ANTHROPIC_BASE_URL={started.url}"
    token = started.admin_token if started.token_was_made else "as configured"
    yield "dashboard", f"{started.admin_url}/  token: {token}"
    if started.token_was_made:
        yield "", "made for this run; server.admin_token_file names one that stays"
    kept = f"in {cache.path}" if cache.path else "in memory, gone at the end"
    yield "answers", f"{kept}, {started.entries:,} so far"
    for warning in warnings:
        yield "warning", warning


def demo_banner(started: "Started", settings: "ProxySettings") -> str:
    """Commands to try."""
    is_any = settings.keys.accept == "upstream"
    key, which = ("demo", "any key will do") if is_any else ("$KEY", "KEY is one that is configured")
    lines = ["", f"To try, in this order (look at x-bsc-cache in the replies; {which}):"]
    for question, outcome, why in DEMO_QUESTIONS:
        body = f'{{"model": "demo-small", "messages": [{{"role": "user", "content": "{question}"}}]}}'
        lines += [
            "",
            f"  # {why}: x-bsc-cache: {outcome}",
            f'  curl -si {started.url}/v1/chat/completions -H "Authorization: Bearer {key}" \\',
            f"    -H 'Content-Type: application/json' -d '{body}'",
        ]
    return "\n".join(lines)
