"""Judge and verifier of a cache, as they are configured."""

from binary_semantic_cache.errors import BinarySemanticCacheError, ConfigurationError, MissingExtraError
from binary_semantic_cache.proxy.settings import VerifierSettings
from binary_semantic_cache.text.guards import Guards
from binary_semantic_cache.text.judge import Judge
from binary_semantic_cache.verifiers import CrossEncoder

__all__ = ["judge_of", "verifier_of"]

_LEAST_COSINE = 0.50
"""What a verifier is to say of candidates that the judge alone would refuse, it must get to see."""


def verifier_of(settings: VerifierSettings) -> CrossEncoder | None:
    """The verifier, loaded; `None` where none is configured.

    Raises:
        ConfigurationError: its model is not there, is damaged or lacks the label.
        MissingExtraError: the extra `local` is not installed.
    """
    if settings.folder is None:
        return None
    try:
        return CrossEncoder(
            settings.folder,
            label=settings.label,
            refusal_label=settings.refusal_label,
            least_probability=settings.least_probability,
            both_ways=settings.both_ways,
            file_name=settings.file_name,
        )
    except MissingExtraError:
        raise
    except BinarySemanticCacheError as exc:
        raise ConfigurationError(f"cache.verifier: {exc}") from exc


def judge_of(verifier: VerifierSettings, guards: Guards) -> Judge:
    """The shipped judge; where there is a verifier, with a zone that it leaves to that."""
    if verifier.folder is None:
        return Judge(guards=guards)
    low, high = verifier.doubt_from, verifier.doubt_to
    return Judge(
        least_probability=(low + high) / 2,
        least_cosine=_LEAST_COSINE,
        verify_between=(low, high),
        guards=guards,
    )
