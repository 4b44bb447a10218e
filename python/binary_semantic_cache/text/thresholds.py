"""Thresholds for the embedders that they were measured with."""

from binary_semantic_cache.text.judge import Judge

__all__ = ["default_threshold"]

# Fingerprint prefix: least cosine. The loosest step of 0.02 at which, with guards and policy, the upper 95 %
# bound of the share of traps served is under 5 % on the adversarial questions of `make bench-quality`
# (docs/quality.md).
_MEASURED = {"all-MiniLM-L6-v2": 0.82}
# An embedder nobody measured: few models put different questions so near, and the guards see to those.
_UNMEASURED = 0.90


def default_threshold(embedder_fingerprint: str, judge: Judge | None = None) -> float:
    """The least cosine of a hit for an embedder: strict for an unknown one, low before a judge."""
    if judge is not None:
        return judge.least_cosine
    for name, threshold in _MEASURED.items():
        if embedder_fingerprint.startswith(name):
            return threshold
    return _UNMEASURED
