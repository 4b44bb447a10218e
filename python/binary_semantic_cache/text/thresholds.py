"""Thresholds for the embedders that they were measured with."""

__all__ = ["default_threshold"]

# Fingerprint prefix: least cosine. all-MiniLM-L6-v2: of `bsc calibrate fow_questions.jsonl --of traps
# --budget 0.05 --step 0.02` on the adversarial questions of fow-cache 0.1 (147 traps; docs/quality.md names
# the file): with guards and policy at most 5 % of such traps are served, with confidence 95 %.
_MEASURED = {"all-MiniLM-L6-v2": 0.82}
# An embedder nobody measured: few models put different questions so near, and the guards see to those.
_UNMEASURED = 0.90


def default_threshold(embedder_fingerprint: str) -> float:
    """The least cosine of a hit for an embedder; strict for one that is not known here."""
    for name, threshold in _MEASURED.items():
        if embedder_fingerprint.startswith(name):
            return threshold
    return _UNMEASURED
