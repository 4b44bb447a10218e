"""What settings must be to each other: who may be reached from where, and what needs what."""

import os
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from binary_semantic_cache.proxy.configuration.keys import KEYS, value_of
from binary_semantic_cache.proxy.configuration.values import MEMORY, SAME_ANSWER, is_loopback
from binary_semantic_cache.proxy.settings import CacheSettings, ProxySettings

__all__ = ["conflicts", "warnings"]

_LEAST_TOKEN = 16
_SWITCHES = ("cache.budget.max_wrong", "cache.learned.budget", "cache.verifier.folder")
"""Keys without which the others of their tables say nothing."""


def conflicts(settings: ProxySettings) -> Iterator[str]:
    """What must not be; a sentence each, with the next step."""
    server, upstream, cache, keys = settings.server, settings.upstream, settings.cache, settings.keys
    is_closed = keys.accept == "configured" and keys.known
    if not is_loopback(server.host) and not is_closed:
        yield (
            f"server.host: expected a loopback address without configured keys, got {server.host}; set "
            'keys.accept = "configured" and add [[keys.known]] (bsc serve --hash-key makes them), or listen '
            "on 127.0.0.1"
        )
    if not is_loopback(server.admin_host) and not server.admin_token:
        yield (
            f"server.admin_host: expected a loopback address without a token of your own, got "
            f"{server.admin_host}; set BSC_SERVER_ADMIN_TOKEN or server.admin_token_file"
        )
    if server.admin_token and len(server.admin_token) < _LEAST_TOKEN:
        yield (
            f"server.admin_token: expected {_LEAST_TOKEN} characters or more, got {len(server.admin_token)};"
            " openssl rand -hex 16 makes one"
        )
    if server.port == server.admin_port != 0:
        yield f"server.admin_port: expected another port than server.port, got {server.port} for both"
    if keys.accept == "configured" and not keys.known:
        yield 'keys.accept: expected [[keys.known]] with "configured", got none; nobody could ask anything'
    for name in ("openai", "anthropic"):
        if getattr(upstream, f"{name}_api_key") and not is_closed:
            yield (
                f'upstream.{name}_api_key: expected keys.accept = "configured" with it, got '
                f'"{keys.accept}"; anybody could spend it otherwise'
            )
        url = urlsplit(getattr(upstream, name))
        if url.scheme == "http" and not is_loopback(url.hostname or "") and not upstream.allow_http:
            yield (
                f"upstream.{name}: expected https, got http to {url.hostname}, which sends keys in the clear;"
                " set upstream.allow_http = true if the way there is safe"
            )
    if server.workers > 1 and os.name == "nt":
        yield f"server.workers: expected 1 on Windows, got {server.workers}"
    if server.workers > 1 and not cache.path:
        yield (
            f'cache.path: expected a file with {server.workers} workers, got "{MEMORY}", which each would '
            "have alone"
        )
    if cache.judge and cache.embedder.partition(":")[0] != "local":
        yield (
            f'cache.judge: expected the local embedder, which it was trained with, got "{cache.embedder}"; '
            "leave one of them out"
        )
    if cache.verifier.label is not None and cache.verifier.refusal_label is not None:
        yield "cache.verifier.label: expected it or cache.verifier.refusal_label, got both; leave one out"
    low, high = cache.verifier.doubt_from, cache.verifier.doubt_to
    if low > high:
        yield f"cache.verifier.doubt_from: expected at most cache.verifier.doubt_to, {high}, got {low}"
    for switch in _SWITCHES:
        table = switch.rpartition(".")[0]
        others = [key for key in KEYS.values() if key.table == table and key.path != switch]
        given = next((key.path for key in others if value_of(settings, key) != key.default), None)
        if given and value_of(settings, KEYS[switch]) is None:
            yield f"{given}: expected {switch} with it, got none; set it, or leave [{table}] out"


def warnings(settings: ProxySettings) -> tuple[str, ...]:
    """What is allowed, but hardly meant; a sentence each."""
    found = []
    for name in ("openai", "anthropic"):
        url = urlsplit(getattr(settings.upstream, name))
        if url.scheme == "http" and not is_loopback(url.hostname or ""):
            found.append(f"keys and prompts travel to {url.hostname} in the clear")
    if not urlsplit(settings.upstream.openai).path:
        found.append(f"upstream.openai has no path: most servers want {settings.upstream.openai}/v1")
    if not is_loopback(settings.server.host):
        found.append(f"callers reach {settings.server.host} over plain HTTP: put TLS in front of it")
    if settings.cache.mode == "shadow":
        found.append("shadow mode: verdicts are made and told, every request goes to the upstream")
    if settings.cache.mode == "off":
        found.append("the cache is off: every request goes to the upstream")
    looking = settings.cache.judge or settings.cache.verifier.folder or _judged(settings.cache)
    folder = settings.cache.verifier.folder
    if folder is not None and not Path(folder).is_dir():
        found.append(f"cache.verifier.folder: nothing is at {folder} on this machine; nothing is downloaded")
    if not settings.cache.semantic and looking:
        found.append(
            "cache.semantic is false: judge, verifier, budget and learned policy have no hits to look at"
        )
    if SAME_ANSWER in _judged(settings.cache):
        found.append(
            f"{SAME_ANSWER} calls two wordings of one answer different: where answers are prose, name a "
            "judge of your own"
        )
    if settings.cache.learned.budget is not None and settings.server.workers > 1:
        found.append(
            f"each of the {settings.server.workers} workers learns by itself, and forgets at its end"
        )
    return tuple(found)


def _judged(cache: CacheSettings) -> tuple[str, ...]:
    """The judges of answers that are asked."""
    switches = ((cache.budget.max_wrong, cache.budget.judge), (cache.learned.budget, cache.learned.judge))
    return tuple(judge for switch, judge in switches if switch is not None)
