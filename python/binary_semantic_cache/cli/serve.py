"""`bsc serve`: options and exit status; the work is in `proxy.processes`."""

import argparse
import getpass
import hashlib
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from importlib import import_module
from typing import TYPE_CHECKING

from binary_semantic_cache.errors import ConfigurationError, InvalidValueError, MissingExtraError

if TYPE_CHECKING:
    # The name alone is all that is needed here: `argparse` gives its return type no public one.
    from argparse import _SubParsersAction

    from binary_semantic_cache.proxy.configuration.reading import Configuration
    from binary_semantic_cache.proxy.settings import ProxySettings

    Subparsers = _SubParsersAction[argparse.ArgumentParser]

__all__ = ["add_parser"]

_DESCRIPTION = """\
A caching proxy in front of a model's API. Set OPENAI_BASE_URL or ANTHROPIC_BASE_URL to it: what was asked
before, in the same or in other words, is answered from the cache; all else goes to the upstream.
"""

_EXAMPLES = """\
examples:
  bsc serve --demo --port 8080              try it without a key: a small model's API comes with it
  bsc serve                                 in front of OpenAI and Anthropic, for programs of this machine
  bsc serve --upstream-openai http://127.0.0.1:11434/v1 --cache ~/answers.db
  bsc serve --config bsc.toml --workers 4
  bsc serve --config bsc.toml --check       say whether the configuration is right, and end
  bsc serve --config bsc.toml --print-config > effective.toml
  bsc serve --set cache.semantic=false      any key of the configuration
  bsc serve --hash-key < key.txt            the entry for [[keys.known]] that a caller's key needs

Each key of the file is also an environment variable: BSC_SERVER_PORT is server.port. Options win over
variables, variables over the file (--config, or BSC_CONFIG). docs/configuration.md lists all keys.
SIGTERM and Ctrl-C let requests under way end; a second one does not.
"""

_OPTIONS = (
    ("--host", "server.host", "ADDRESS", "where to listen (default 127.0.0.1; others want configured keys)"),
    ("--port", "server.port", "PORT", "default 8080; 0 for a free one"),
    ("--workers", "server.workers", "N", "processes that share the cache's file (default 1)"),
    ("--admin-port", "server.admin_port", "PORT", "dashboard, admin API and metrics (default 8081)"),
    ("--upstream-openai", "upstream.openai", "URL", "OpenAI's API or one that speaks the same, with /v1"),
    ("--upstream-anthropic", "upstream.anthropic", "URL", "Anthropic's API, without /v1"),
    ("--cache", "cache.path", "FILE", 'where answers are kept (default bsc-cache.db), or ":memory:"'),
    ("--mode", "cache.mode", "MODE", "on, shadow (decide and tell, serve nothing) or off"),
    ("--embedder", "cache.embedder", "NAME", "local, openai:MODEL, ollama:MODEL, ... (default local)"),
    ("--threshold", "cache.threshold", "COSINE", "least cosine of a semantic hit"),
    ("--ttl", "cache.ttl_seconds", "SECONDS", "how long an answer is served (default: for ever)"),
)


def add_parser(subparsers: "Subparsers") -> None:
    """Adds `bsc serve`."""
    parser = subparsers.add_parser(
        "serve",
        help="a caching proxy in front of a model's API",
        description=_DESCRIPTION,
        epilog=_EXAMPLES,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--config", metavar="FILE", help="a TOML file (default: none, or BSC_CONFIG)")
    for option, key, metavar, text in _OPTIONS:
        parser.add_argument(option, dest=key, metavar=metavar, help=text)
    parser.add_argument(
        "--set", action="append", default=[], metavar="KEY=VALUE", help="any other key, as table.key=value"
    )
    instead = parser.add_mutually_exclusive_group()
    instead.add_argument("--demo", action="store_true", help="bring a small model's API along, and no file")
    instead.add_argument("--print-config", action="store_true", help="print the effective configuration")
    instead.add_argument("--check", action="store_true", help="check the configuration and do nothing else")
    instead.add_argument("--hash-key", action="store_true", help="read a key, print its [[keys.known]] entry")
    parser.set_defaults(run=_run)


def _run(namespace: argparse.Namespace) -> int:
    if namespace.hash_key:
        return _hash_key()
    _require_extra()
    try:
        return _configured(namespace)
    except ConfigurationError as error:
        for problem in error.problems:
            print(f"bsc: error: {problem}", file=sys.stderr)
        return 1


def _configured(namespace: argparse.Namespace) -> int:
    from binary_semantic_cache.proxy.configuration.reading import read_configuration

    options = _options(namespace)
    if namespace.demo:
        # First, so that options still have their way: one worker's answers can be in memory.
        several = options.get("server.workers", ("1", ""))[0] != "1"
        options = ({} if several else {"cache.path": (":memory:", "--demo")}) | options
    path = namespace.config or os.environ.get("BSC_CONFIG") or None
    configuration = read_configuration(path, environment=os.environ, options=options)
    if namespace.print_config:
        from binary_semantic_cache.proxy.configuration.text import configuration_text

        print(configuration_text(configuration), end="")
        return 0
    if namespace.check:
        _print_warnings(configuration)
        print("the configuration is right")
        return 0
    return _demonstrate(configuration) if namespace.demo else _serve(configuration, configuration.settings)


def _options(namespace: argparse.Namespace) -> dict[str, tuple[str, str]]:
    """What was given on the command line, by key."""
    given = vars(namespace)
    options = {key: (given[key], option) for option, key, _, _ in _OPTIONS if given[key] is not None}
    for assignment in namespace.set:
        key, equals, value = assignment.partition("=")
        if not equals:
            raise ConfigurationError(f"--set: expected KEY=VALUE, got {key!r}")
        options[key.strip()] = (value.strip(), f"--set {key.strip()}")
    return options


def _serve(configuration: "Configuration", settings: "ProxySettings", *, is_demo: bool = False) -> int:
    from binary_semantic_cache.cli.serve_banner import banner, demo_banner
    from binary_semantic_cache.proxy.processes.server import Started, run
    from binary_semantic_cache.proxy.processes.server_log import log_to_stderr

    log_to_stderr(settings.log.level)

    def announce(started: Started) -> None:
        print(f"listening on {started.url}", file=sys.stderr)
        print(banner(started, settings, configuration.warnings), file=sys.stderr, flush=True)
        if is_demo:
            print(demo_banner(started, settings), file=sys.stderr, flush=True)

    return run(settings, announce)


def _demonstrate(configuration: "Configuration") -> int:
    from binary_semantic_cache.proxy.demo.upstream import running_demo_upstream

    settings = configuration.settings
    if settings.cache.semantic:
        _install_model(settings.cache.embedder)
    with running_demo_upstream() as url, _demo_file(settings) as path:
        upstream = replace(type(settings.upstream)(), openai=f"{url}/v1", anthropic=url)
        cache = replace(settings.cache, path=path)
        return _serve(configuration, replace(settings, upstream=upstream, cache=cache), is_demo=True)


@contextmanager
def _demo_file(settings: "ProxySettings") -> Iterator[str]:
    """Where the demo keeps its answers: as configured, or for several workers in a file that goes."""
    import tempfile

    if settings.server.workers == 1 or settings.cache.path != type(settings.cache)().path:
        yield settings.cache.path
        return
    with tempfile.TemporaryDirectory(prefix="bsc-demo-") as folder:
        yield f"{folder}/answers.db"


def _install_model(embedder: str) -> None:
    """Fetches the local model where that is what the demo wants and it is missing."""
    if embedder != "local":
        return
    from binary_semantic_cache.embedders.model_install import install

    install(progress=lambda line: print(line, file=sys.stderr, flush=True))


def _print_warnings(configuration: "Configuration") -> None:
    for warning in configuration.warnings:
        print(f"bsc: warning: {warning}", file=sys.stderr)


def _hash_key() -> int:
    key = getpass.getpass("key: ") if sys.stdin.isatty() else sys.stdin.readline()
    key = key.strip()
    if not key:
        raise InvalidValueError("expected a key on standard input, got nothing")
    print(f'[[keys.known]]\nname = "NAME"\nsha256 = "{hashlib.sha256(key.encode()).hexdigest()}"')
    return 0


def _require_extra() -> None:
    try:
        for name in ("starlette", "uvicorn", "httpx", "prometheus_client"):
            import_module(name)
    except ImportError as exc:
        raise MissingExtraError(
            f"{exc.name} is not installed; install the extra `proxy`: "
            "pip install starlette uvicorn httpx prometheus-client"
        ) from exc
