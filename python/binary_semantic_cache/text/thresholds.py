"""Thresholds for the embedders that they were measured with."""

from binary_semantic_cache.text.judge import Judge

__all__ = ["default_threshold"]

# Fingerprint prefix: least cosine. all-MiniLM-L6-v2: of `bsc calibrate fow_questions.jsonl --of traps
# --budget 0.05 --step 0.02` on the adversarial questions of fow-cache 0.1 (147 traps; docs/quality.md names
# the file): with guards and policy at most 5 % of such traps are served, with confidence 95 %.
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
