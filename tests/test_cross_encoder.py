"""A cross-encoder from a local folder says whether two prompts agree."""

import math
import multiprocessing
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import onnx
import pytest
from onnx import TensorProto

from binary_semantic_cache import Judge, SemanticCache
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.errors import (
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
    VerifierError,
)
from binary_semantic_cache.text.verdict import MissReason
from binary_semantic_cache.verifiers import CrossEncoder
from semantic_caches import make, reason
from tiny_classifier import BERT, DEBERTA, write_classifier, write_quantized

WORDS = {"yes": [2.0], "no": [-3.0], "maybe": [0.5]}
NLI = ("contradiction", "entailment", "neutral")
THREE = {"yes": [0.0, 2.0, 0.5], "no": [3.0, 0.0, 0.0], "maybe": [0.0, 0.0, 1.0]}


def logistic(x):
    return 1.0 / (1.0 + math.exp(-x))


def softmax(*logits):
    raised = [math.exp(logit) for logit in logits]
    return [one / sum(raised) for one in raised]


@pytest.fixture
def folder(tmp_path):
    """One logit, as of a model of duplicate questions."""
    return write_classifier(tmp_path / "duplicates", WORDS)


def test_one_logit_is_a_probability_by_the_logistic_function(folder):
    model = CrossEncoder(folder)
    assert model.score("yes maybe", "maybe") == pytest.approx(logistic(3.0))
    assert model.score("no", "no no") == pytest.approx(logistic(-9.0))


def test_scores_are_those_of_each_pair_alone(folder):
    model = CrossEncoder(folder)
    pairs = [("yes", "yes maybe yes"), ("no", "yes"), ("maybe", "")]
    assert model.scores(pairs) == [model.score(*pair) for pair in pairs]
    assert model.scores([]) == []


def test_prompts_agree_from_the_least_probability_on(folder):
    for least, agrees in ((logistic(2.0) - 1e-6, True), (logistic(2.0) + 1e-6, False)):
        assert CrossEncoder(folder, least_probability=least)("yes", "other") is agrees


def test_a_logit_however_great_is_a_probability(tmp_path):
    folder = write_classifier(tmp_path, {"yes": [5000.0], "no": [-5000.0]})
    assert CrossEncoder(folder).scores([("yes", ""), ("no", "")]) == [1.0, 0.0]


@pytest.mark.parametrize("order", [(0, 1, 2), (2, 0, 1), (1, 2, 0)])
def test_entailment_is_found_by_its_name_wherever_it_stands(tmp_path, order):
    labels = [NLI[place].upper() for place in order]
    words = {word: [row[place] for place in order] for word, row in THREE.items()}
    model = CrossEncoder(write_classifier(tmp_path, words, labels=labels))
    assert model.labels == tuple(labels)
    assert model.score("yes", "maybe") == pytest.approx(softmax(0.0, 2.0, 1.5)[1])
    assert model.score("yes", "no") == pytest.approx(softmax(3.0, 2.0, 0.5)[1])


def test_a_refusal_label_leaves_all_others_together(tmp_path):
    folder = write_classifier(tmp_path, THREE, labels=NLI)
    model = CrossEncoder(folder, refusal_label="contradiction", least_probability=0.9)
    assert model.score("no", "yes") == pytest.approx(1.0 - softmax(3.0, 2.0, 0.5)[0])
    # "The probability of contradiction is at most 0.1": without a word known, it is a third.
    assert [model("yes yes yes", ""), model("", ""), model("no", "yes")] == [True, False, False]


def test_two_logits_without_entailment_need_a_label(tmp_path):
    folder = write_classifier(tmp_path, {"yes": [1.0, 2.5]}, labels=("different", "same"))
    with pytest.raises(InvalidValueError, match=r"give label= \(or refusal_label=\) one of different, same$"):
        CrossEncoder(folder)
    expected = pytest.approx(softmax(1.0, 2.5)[1])
    for given in ({"label": "Same"}, {"label": 1}, {"refusal_label": "different"}, {"refusal_label": 0}):
        assert CrossEncoder(folder, **given).score("yes", "") == expected


def test_labels_without_names_are_called_as_transformers_does(tmp_path):
    folder = write_classifier(tmp_path, {"yes": [1.0, 2.5]})
    assert CrossEncoder(folder, label="LABEL_1").labels == ("LABEL_0", "LABEL_1")


@pytest.mark.parametrize("label", ["duplicate", 3, -1])
def test_a_label_that_is_not_there_names_those_that_are(tmp_path, label):
    folder = write_classifier(tmp_path, THREE, labels=NLI)
    there = "contradiction, entailment, neutral" if isinstance(label, str) else "from 0 to 2"
    with pytest.raises(InvalidValueError, match=f"{there}, got {label!r}$"):
        CrossEncoder(folder, label=label)


def test_one_label_is_enough(tmp_path):
    folder = write_classifier(tmp_path, THREE, labels=NLI)
    with pytest.raises(InvalidValueError, match="expected label or refusal_label, got both"):
        CrossEncoder(folder, label="entailment", refusal_label="contradiction")


def test_the_lesser_of_both_ways_counts_unless_one_is_asked_for(tmp_path):
    """`yes` in the second text weighs 4 less."""
    folder = write_classifier(tmp_path, WORDS, second={"yes": [-4.0]})
    lesser, first = CrossEncoder(folder), CrossEncoder(folder, both_ways=False)
    assert lesser.score("yes", "maybe") == lesser.score("maybe", "yes") == pytest.approx(logistic(-1.5))
    assert first.score("yes", "maybe") == pytest.approx(logistic(2.5))
    assert first.score("maybe", "yes") == pytest.approx(logistic(-1.5))
    ways = [("yes", "maybe"), ("maybe", "yes")]
    assert [lesser(*way) for way in ways] == [False, False]
    assert [first(*way) for way in ways] == [True, False]


@pytest.mark.parametrize("inputs", [BERT, DEBERTA, ("input_ids",), ("input_ids", "token_type_ids")])
def test_the_graph_gets_what_it_asks_for(tmp_path, inputs):
    folder = write_classifier(tmp_path, WORDS, inputs=inputs)
    assert CrossEncoder(folder).score("yes", "maybe") == pytest.approx(logistic(2.5))


def test_a_graph_of_narrow_integers_gets_those(tmp_path):
    folder = write_classifier(tmp_path, WORDS, integers=TensorProto.INT32)
    assert CrossEncoder(folder).score("yes", "maybe") == pytest.approx(logistic(2.5))


@pytest.mark.parametrize("inputs", [BERT, DEBERTA])
def test_a_graph_of_fixed_length_gets_padding_that_is_masked(tmp_path, inputs):
    model = CrossEncoder(write_classifier(tmp_path, WORDS, inputs=inputs, length=9))
    assert model.max_tokens == 9
    assert model.score("yes", "maybe") == pytest.approx(logistic(2.5))
    assert model.score("yes yes yes", "no no no") == pytest.approx(logistic(-3.0))
    assert model.score("yes yes yes", "yes yes yes yes") == 0.0


def test_the_pad_token_is_the_configured_one(tmp_path):
    """Without a mask, padding shows: `yes` has the id 4, and its weight is added for each of five places."""
    folder = write_classifier(tmp_path, WORDS, inputs=("input_ids",), length=9, config={"pad_token_id": 4})
    assert CrossEncoder(folder).score("", "no") == pytest.approx(logistic(-3.0 + 5 * 2.0))


@pytest.mark.parametrize(
    ("config", "settings", "window"),
    [
        ({"max_position_embeddings": 8}, None, 8),
        ({"max_position_embeddings": 10, "model_type": "roberta", "pad_token_id": 1}, None, 8),
        ({"max_position_embeddings": 10, "model_type": "bert", "pad_token_id": 1}, None, 10),
        ({"max_position_embeddings": 512}, '{"model_max_length": 8}', 8),
        ({"max_position_embeddings": 8}, '{"model_max_length": 1000000000000000019884624838656}', 8),
        ({"max_position_embeddings": 8}, '{"model_max_length": 1e30}', 8),
        ({}, None, None),
    ],
)
def test_the_window_is_the_least_that_the_files_say(tmp_path, config, settings, window):
    folder = write_classifier(tmp_path, WORDS, config=config)
    if settings is not None:
        (folder / "tokenizer_config.json").write_text(settings)
    assert CrossEncoder(folder).max_tokens == window


def test_a_pair_beyond_the_window_never_agrees(folder):
    model = CrossEncoder(folder, max_tokens=7, least_probability=0.0)
    within, beyond = ("yes yes", "yes yes"), ("yes yes", "yes yes yes")
    assert [model.count_tokens(*pair) for pair in (within, beyond)] == [7, 8]
    assert [model(*pair) for pair in (within, beyond)] == [True, False]
    assert model.scores([within, beyond]) == [pytest.approx(logistic(8.0)), 0.0]


def test_a_window_beyond_the_model_s_is_refused(tmp_path):
    folder = write_classifier(tmp_path, WORDS, config={"max_position_embeddings": 8})
    with pytest.raises(InvalidValueError, match="expected max_tokens of at most 8, got 9"):
        CrossEncoder(folder, max_tokens=9)


def test_the_network_may_lie_in_the_folder_onnx(tmp_path):
    folder = write_classifier(tmp_path, WORDS, file_name="onnx/model.onnx")
    assert CrossEncoder(folder).score("yes", "") == pytest.approx(logistic(2.0))


def test_another_network_is_named(tmp_path):
    folder = write_classifier(tmp_path, WORDS, file_name="onnx/model_quint8_avx2.onnx")
    with pytest.raises(
        MissingFileError, match=r"found onnx/model_quint8_avx2\.onnx; name one with file_name"
    ):
        CrossEncoder(folder)
    model = CrossEncoder(str(folder), file_name="onnx/model_quint8_avx2.onnx")
    assert model.score("yes", "") == pytest.approx(logistic(2.0))


def test_weights_in_a_file_beside_the_network_are_found(tmp_path):
    folder = write_classifier(tmp_path, WORDS | {f"word{i}": [0.0] for i in range(1000)})
    network = onnx.load(folder / "model.onnx")
    onnx.save(network, folder / "model.onnx", save_as_external_data=True, location="weights")
    assert (folder / "weights").stat().st_size > 1000
    assert CrossEncoder(folder).score("yes", "") == pytest.approx(logistic(2.0))


def test_int8_weights_are_whole_on_every_processor(tmp_path):
    """Without VNNI, 2 * 255 * 127 and 2 * 255 * 100 both end at 32,767, and the labels look alike."""
    model = CrossEncoder(write_quantized(tmp_path, "yes", [127, 100]), label=0)
    assert model.score("yes", "") == pytest.approx(softmax(8.128, 6.4)[0], abs=1e-4)


@pytest.mark.parametrize("missing", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_missing_file_is_named(folder, missing):
    (folder / missing).unlink()
    with pytest.raises(MissingFileError, match=f"expected {missing}"):
        CrossEncoder(folder)


def test_a_missing_folder_is_named_and_nothing_downloaded(tmp_path):
    with pytest.raises(MissingFileError, match=r"got nothing at .*cross-encoder/nli; nothing is downloaded"):
        CrossEncoder(tmp_path / "cross-encoder" / "nli")


@pytest.mark.parametrize("damaged", ["model.onnx", "tokenizer.json", "config.json"])
def test_a_damaged_file_is_named(folder, damaged):
    (folder / damaged).write_text("[")
    with pytest.raises(VerifierError, match=damaged):
        CrossEncoder(folder)


def test_labels_and_logits_must_be_equally_many(tmp_path):
    folder = write_classifier(tmp_path, WORDS, labels=NLI)
    with pytest.raises(VerifierError, match=r"expected 3 logits, .*entailment, neutral\), got 1"):
        CrossEncoder(folder)


@pytest.mark.parametrize("named", [["yes"], {"first": "yes"}, {"1": "yes"}])
def test_labels_must_be_named_from_0_on(tmp_path, named):
    folder = write_classifier(tmp_path, WORDS, config={"id2label": named})
    with pytest.raises(VerifierError, match="expected id2label in"):
        CrossEncoder(folder)


def test_a_graph_that_wants_something_else_is_refused(folder):
    network = onnx.load(folder / "model.onnx")
    for node in network.graph.node:
        node.input[:] = ["pixels" if name == "attention_mask" else name for name in node.input]
    network.graph.input[1].name = "pixels"
    onnx.save(network, folder / "model.onnx")
    with pytest.raises(VerifierError, match="got input_ids, pixels, token_type_ids"):
        CrossEncoder(folder)


def test_logits_that_are_no_numbers_are_refused(tmp_path):
    model = CrossEncoder(write_classifier(tmp_path, WORDS | {"broken": [math.nan]}))
    with pytest.raises(VerifierError, match="logits that are not finite"):
        model.score("broken", "yes")


def test_what_is_no_text_is_refused(folder):
    model = CrossEncoder(folder)
    with pytest.raises(InvalidTypeError, match="expected two strings, got int"):
        model.score("yes", 5)
    with pytest.raises(InvalidValueError, match="lone surrogate"):
        model("yes", "\ud800")


@pytest.mark.parametrize(
    ("given", "error", "said"),
    [
        ({"least_probability": 1.5}, InvalidValueError, "from 0.0 to 1.0, got 1.5"),
        ({"least_probability": "high"}, InvalidTypeError, "least_probability as a number, got str"),
        ({"both_ways": 1}, InvalidTypeError, "both_ways to be a bool, got int"),
        ({"threads": 0}, InvalidValueError, "threads"),
        ({"max_tokens": 0}, InvalidValueError, "max_tokens"),
        ({"label": 1.0}, InvalidTypeError, "a label as a name or a number, got float"),
        ({"file_name": 3}, InvalidTypeError, "file_name to be a string, got int"),
    ],
)
def test_arguments_out_of_range_are_refused(folder, given, error, said):
    with pytest.raises(error, match=said):
        CrossEncoder(folder, **given)


def test_a_folder_is_a_path():
    with pytest.raises(InvalidTypeError, match="expected folder as a path, got NoneType"):
        CrossEncoder(None)


def test_it_says_what_it_asks_for(tmp_path):
    model = CrossEncoder(write_classifier(tmp_path, THREE, labels=NLI), refusal_label=0)
    assert repr(model) == (
        "CrossEncoder(refusal_label='contradiction', least_probability=0.5, both_ways=True)"
    )


def test_threads_may_share_one(folder):
    model = CrossEncoder(folder)
    draw = np.random.default_rng(7)
    pairs = [
        tuple(" ".join(draw.choice(list(WORDS), size)) for size in draw.integers(1, 9, 2)) for _ in range(400)
    ]
    alone = model.scores(pairs)
    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(lambda pair: model.score(*pair), pairs)) == alone


def _ask(model, answers):
    answers.put(model.score("yes", "maybe"))


@pytest.mark.parametrize("threads", [1, 2])
@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork.*:DeprecationWarning")
def test_a_forked_child_may_ask(folder, threads):
    model = CrossEncoder(folder, threads=threads)
    before = model.score("yes", "maybe")
    context = multiprocessing.get_context("fork")
    answers = context.SimpleQueue()
    child = context.Process(target=_ask, args=(model, answers))
    child.start()
    child.join(60)
    assert child.exitcode == 0
    assert answers.get() == before == model.score("yes", "maybe")


@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers"])
def test_a_missing_extra_names_the_command_that_installs_it(folder, module):
    code = f"""
import sys
sys.modules[{module!r}] = None
from binary_semantic_cache.verifiers import CrossEncoder
from binary_semantic_cache.errors import MissingExtraError
try:
    CrossEncoder({str(folder)!r})
except MissingExtraError as error:
    print(error)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.startswith(
        f"{module} is not installed; install the extra `local`: pip install onnxruntime"
    )


def test_importing_the_package_does_not_import_verifiers():
    code = """
import sys, binary_semantic_cache
from binary_semantic_cache import SemanticCache
print([name for name in sys.modules if "verifiers" in name or name in ("onnxruntime", "tokenizers")])
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_a_cache_asks_it_where_the_judge_is_in_doubt(tmp_path, int8_model):
    stored = "How do I stop the washing machine from shaking?"
    reworded = "What can I do so that the washing machine does not shake?"
    outcomes = []
    for weight in (4.0, -4.0):
        folder = write_classifier(tmp_path / f"{weight}", {"machine": [weight]})
        # All that the judge sees is in doubt.
        doubting = Judge(least_cosine=0.3, verify_between=(0.0, 1.0))
        embedder = LocalEmbedder(int8_model, runtime="rust")
        with SemanticCache(embedder=embedder, judge=doubting, verifier=CrossEncoder(folder)) as cache:
            cache.put(stored, "a level")
            verdict = cache.lookup(reworded)
            outcomes.append("a hit" if verdict else reason(verdict))
    assert outcomes == ["a hit", MissReason.VERIFIER]


def test_a_model_that_cannot_be_run_is_a_miss(tmp_path):
    model = CrossEncoder(write_classifier(tmp_path, WORDS | {"broken": [math.nan]}))
    with make(verifier=model) as cache:
        cache.put("what is the broken part called here", "a valve")
        verdict = cache.lookup("what really is the broken part called here")
        assert reason(verdict) is MissReason.VERIFIER_FAILED
        assert "VerifierError" in verdict.detail
