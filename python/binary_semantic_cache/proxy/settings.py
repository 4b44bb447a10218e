"""The proxy's settings as its rooms see them; `configuration` makes them from file and environment.

A field that `repr` leaves out is a secret: no file may hold it, and nothing prints it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal

__all__ = [
    "BudgetSettings",
    "CacheSettings",
    "KeySettings",
    "KnownKey",
    "LearnedSettings",
    "LimitSettings",
    "LogSettings",
    "MetricsSettings",
    "ProxySettings",
    "ServerSettings",
    "SteeringSettings",
    "TracingSettings",
    "UpstreamSettings",
]

Mode = Literal["default", "exact", "refresh", "no-store", "bypass"]
MODES: tuple[Mode, ...] = ("default", "exact", "refresh", "no-store", "bypass")
_PROVIDERS = {"openai": "https://api.openai.com/v1", "anthropic": "https://api.anthropic.com"}


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerSettings:
    """`[server]`: where the proxy listens."""

    host: str = "127.0.0.1"
    port: int = 8080
    workers: int = 1
    """Processes that share the cache's file."""
    shutdown_seconds: float = 30.0
    """How long requests under way may take to end."""
    drain_seconds: float = 0.0
    """How long the proxy says that it is not ready before it stops accepting, for load balancers to see."""
    admin_host: str = "127.0.0.1"
    admin_port: int = 8081
    """Admin API, dashboard and metrics; 0 for a free one."""
    admin_token: str = field(default="", repr=False)
    """Empty: one is made at start and shown once."""
    admin_names: tuple[str, ...] = ()
    """Names of this machine under which the admin port is asked for, beside `localhost` and IP addresses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class UpstreamSettings:
    """`[upstream]`: the models' APIs."""

    openai: str = _PROVIDERS["openai"]
    """As `OPENAI_BASE_URL` says it: with `/v1`."""
    anthropic: str = _PROVIDERS["anthropic"]
    """As `ANTHROPIC_BASE_URL` says it: without `/v1`."""
    openai_api_key: str = field(default="", repr=False)
    """Sent instead of the caller's key, which then must be configured."""
    anthropic_api_key: str = field(default="", repr=False)
    allow_http: bool = False
    """Speak plain HTTP with an upstream that is not on this machine."""
    connect_seconds: float = 10.0
    read_seconds: float = 600.0
    """Longest silence of the upstream."""
    max_connections: int = 1000
    forward_headers: tuple[str, ...] = ()
    """Further request headers to pass on; they must be equal for an answer to be shared."""

    def elsewhere(self, provider: Literal["openai", "anthropic"]) -> str | None:
        """Where an upstream is that is not the provider itself: its models of the same names are others."""
        url = (self.openai if provider == "openai" else self.anthropic).rstrip("/")
        return None if url == _PROVIDERS[provider] else url


@dataclass(frozen=True, slots=True, kw_only=True)
class BudgetSettings:
    """`[cache.budget]`: see `Budget`."""

    max_wrong: float | None = None
    """Left out: no budget."""
    classes: Literal["model", "tenant", "all"] = "model"
    """What is counted, and stopped, apart."""
    sample: float = 0.05
    judge: str = "same_answer"
    """Or `module:function`."""
    per_minute: float = 60.0
    """Most audits in a minute, of each worker."""
    confidence: float = 0.95


@dataclass(frozen=True, slots=True, kw_only=True)
class LearnedSettings:
    """`[cache.learned]`: see `LearnedPolicy`."""

    budget: float | None = None
    """Left out: no learned policy."""
    promise: Literal["hits", "requests"] = "hits"
    judge: str = "same_answer"
    """Or `module:function`."""
    per_minute: float = 600.0
    confidence: float = 0.95
    audit: float = 0.02


@dataclass(frozen=True, slots=True, kw_only=True)
class VerifierSettings:
    """`[cache.verifier]`: see `CrossEncoder`, and of `Judge` `verify_between`."""

    folder: str | None = None
    """Left out: no verifier."""
    file_name: str | None = None
    label: str | None = None
    refusal_label: str | None = None
    least_probability: float = 0.5
    both_ways: bool = True
    doubt_from: float = 0.45
    """With a judge: its probability from which the verifier is asked."""
    doubt_to: float = 0.95
    """With a judge: its probability from which an answer is served unasked."""


@dataclass(frozen=True, slots=True, kw_only=True)
class CacheSettings:
    """`[cache]`: see `SemanticCache` for most of it."""

    path: str = "bsc-cache.db"
    """Empty: in memory, for one worker."""
    mode: Literal["on", "shadow", "off"] = "on"
    """`shadow`: verdicts are made and told, nothing is served."""
    semantic: bool = True
    """False: exact repeats alone."""
    embedder: str = "local"
    threshold: float | None = None
    judge: bool = False
    """Weigh candidates with the trained model that comes with the package."""
    max_entries: int = 100_000
    max_bytes: int | None = None
    eviction: str = "lru"
    ttl_seconds: float | None = None
    sliding_ttl: bool = False
    timeout_seconds: float = 2.0
    max_response_bytes: int = 4 * 2**20
    tool_calls: bool = False
    exact_only: tuple[str, ...] = ("action", "freshness", "personal")
    """Policy classes that meaning must not answer."""
    finish_abandoned: bool = False
    """Read an answer to its end, to keep it, when all who asked have left."""
    prices: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    """Money for a million input and output tokens, by model."""
    budget: BudgetSettings = field(default_factory=BudgetSettings)
    learned: LearnedSettings = field(default_factory=LearnedSettings)
    verifier: VerifierSettings = field(default_factory=VerifierSettings)


@dataclass(frozen=True, slots=True, kw_only=True)
class SteeringSettings:
    """`[steering]`: what callers may ask for by header, and what they are told."""

    enabled: bool = True
    modes: tuple[Mode, ...] = MODES
    min_threshold: float | None = None
    """Least `x-bsc-threshold`; the cache's threshold if left out."""
    max_ttl_seconds: float | None = None
    """Greatest `x-bsc-ttl`; the cache's `ttl_seconds` if left out."""
    response_headers: bool = True
    """False: replies do not tell hits from misses."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KnownKey:
    """`[[keys.known]]`: a key that callers may use."""

    name: str
    sha256: str
    """Hex digest of the key (`bsc serve --hash-key`), so that the file holds no secret."""
    tenant: str
    """Keys of one tenant share answers."""


@dataclass(frozen=True, slots=True, kw_only=True)
class KeySettings:
    """`[keys]`: who may ask, and who shares answers with whom."""

    accept: Literal["upstream", "configured"] = "upstream"
    """`upstream`: any key, hits only to those that the upstream accepted of late. `configured`: no others."""
    trust_seconds: float = 300.0
    """How long a key that the upstream accepted may be served hits without asking it again."""
    known: tuple[KnownKey, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class LimitSettings:
    """`[limits]`."""

    max_body_bytes: int = 50 * 2**20
    """More than the 32 MB that Anthropic takes (its API overview, on size limits, read in 2026); images and
    files for OpenAI may come to more than that."""
    max_prompt_chars: int = 100_000
    """Longer last turns are passed through uncached."""
    max_concurrent: int = 1000
    """Requests under way in one worker; beyond it 503."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogSettings:
    """`[log]`: one line a request on standard output, without content."""

    format: Literal["text", "json", "off"] = "text"
    level: str = "info"


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricsSettings:
    """`[metrics]`: Prometheus, on the admin port."""

    labels: tuple[Literal["model", "tenant"], ...] = ()
    """What requests and savings are counted by, besides; each value is a series of its own."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TracingSettings:
    """`[tracing]`: OpenTelemetry; needs the extra `otel`."""

    enabled: bool = False
    endpoint: str = ""
    """OTLP over HTTP; empty: as `OTEL_EXPORTER_OTLP_ENDPOINT` says."""
    service_name: str = "bsc-proxy"


@dataclass(frozen=True, slots=True, kw_only=True)
class ProxySettings:
    """All of it."""

    server: ServerSettings = field(default_factory=ServerSettings)
    upstream: UpstreamSettings = field(default_factory=UpstreamSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    steering: SteeringSettings = field(default_factory=SteeringSettings)
    keys: KeySettings = field(default_factory=KeySettings)
    limits: LimitSettings = field(default_factory=LimitSettings)
    log: LogSettings = field(default_factory=LogSettings)
    metrics: MetricsSettings = field(default_factory=MetricsSettings)
    tracing: TracingSettings = field(default_factory=TracingSettings)
