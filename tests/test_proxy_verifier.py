"""`[cache.verifier]`: a model from a local folder compares prompts for the proxy."""

import pytest

from binary_semantic_cache.errors import ConfigurationError
from binary_semantic_cache.proxy.configuration.reading import read_configuration
from binary_semantic_cache.proxy.processes.comparing import judge_of
from binary_semantic_cache.proxy.processes.opening import open_cache
from binary_semantic_cache.proxy.settings import CacheSettings, VerifierSettings
from binary_semantic_cache.text.guards import Guards
from binary_semantic_cache.text.verdict import MissReason
from tiny_classifier import write_classifier

STORED = "How do I stop the washing machine from shaking?"
REWORDED = "What can I do so that the washing machine does not shake?"
NLI = ("contradiction", "entailment", "neutral")


def cache_of(verifier, **changes):
    return open_cache(CacheSettings(path="", timeout_seconds=20.0, verifier=verifier, **changes))


@pytest.mark.parametrize("agrees", [True, False])
def test_where_the_judge_is_in_doubt_it_decides(tmp_path, int8_model, agrees):
    folder = write_classifier(tmp_path, {"machine": [0.0, 4.0 if agrees else -4.0, 0.0]}, labels=NLI)
    verifier = VerifierSettings(folder=str(folder), doubt_from=0.0, doubt_to=1.0)
    with cache_of(verifier, judge=True) as cache:
        assert cache.threshold == 0.5
        cache.put(STORED, "a level")
        verdict = cache.lookup(REWORDED)
        assert bool(verdict) is agrees
        assert verdict or verdict.reason is MissReason.VERIFIER


def test_without_a_judge_it_is_asked_about_all_that_reach_the_threshold(tmp_path, int8_model):
    folder = write_classifier(tmp_path, {"machine": [3.0, 0.0, 0.0]}, labels=NLI)
    verifier = VerifierSettings(folder=str(folder), refusal_label="contradiction")
    with cache_of(verifier, threshold=0.5) as cache:
        cache.put(STORED, "a level")
        assert cache.lookup(REWORDED).reason is MissReason.VERIFIER


def test_a_judge_without_a_verifier_has_its_shipped_limits():
    assert repr(judge_of(VerifierSettings(), Guards())) == "Judge(least_probability=0.904, least_cosine=0.66)"


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"file_name": "other.onnx"}, "expected other.onnx in .* found model.onnx"),
        ({"label": "same"}, "expected one of the labels contradiction, entailment, neutral, got 'same'"),
    ],
)
def test_what_is_not_there_is_a_fault_of_the_configuration(tmp_path, int8_model, given, said):
    folder = write_classifier(tmp_path, {"yes": [0.0, 1.0, 0.0]}, labels=NLI)
    with pytest.raises(ConfigurationError, match=f"^cache.verifier: {said}"):
        cache_of(VerifierSettings(folder=str(folder), **given))


def test_without_meaning_no_model_is_loaded_and_a_warning_says_so(tmp_path):
    with cache_of(VerifierSettings(folder=str(tmp_path / "none")), semantic=False) as cache:
        assert cache.lookup(STORED).reason is MissReason.EXACT_ONLY
    given = {"BSC_CACHE_VERIFIER_FOLDER": "models", "BSC_CACHE_SEMANTIC": "false"}
    told = read_configuration(environment=given).warnings
    assert any(warning.startswith("cache.semantic is false: judge, verifier") for warning in told)
