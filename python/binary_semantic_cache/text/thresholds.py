"""Thresholds for the embedders that they were measured with."""

__all__ = ["default_threshold"]

# Fingerprint prefix: least cosine. At it, with all guards on, none of the finance traps and under 5 % of the
# question traps of `make bench-quality` pass; lower ones add hits and wrong answers alike (docs/quality.md).
_MEASURED = {"all-MiniLM-L6-v2": 0.80}
# An embedder nobody measured: few models put different questions so near, and the guards see to those.
_UNMEASURED = 0.90


def default_threshold(embedder_fingerprint: str) -> float:
    """The least cosine of a hit for an embedder; strict for one that is not known here."""
    for name, threshold in _MEASURED.items():
        if embedder_fingerprint.startswith(name):
            return threshold
    return _UNMEASURED
