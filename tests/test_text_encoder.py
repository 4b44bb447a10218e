"""Text to embedding and code in Rust: against tokenizers, ONNX Runtime, and itself in all circumstances."""

import hashlib
import json
import os
import random
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from tokenizers import Tokenizer

from binary_semantic_cache.binary_semantic_cache_rs import RustBinaryEncoder, TextModel
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.embedders.text_encoder import TextEncoder
from binary_semantic_cache.errors import (
    DimensionError,
    EmbedderError,
    InvalidTypeError,
    InvalidValueError,
    ModelNotFoundError,
    UnsupportedIsaError,
)

pytestmark = pytest.mark.skipif(
    len(TextModel.available_isas) == 1, reason="this machine has neither AVX2 nor AVX-512 VNNI"
)

QUESTION = "How do I undo the last commit without losing my work?"
ODD = [
    "",
    " ",
    "\t\r\n ",
    "\x00\x07\x7f\u200b\ufeff\ufffd",
    "hi",
    "Grüße aus Köln, 42 % günstiger!",
    "ÀÉÎÕÜ àéîõü a\u0301\u0327 ﬁ ǅ İstanbul ΑΣ ß ẞ",
    "日本語 テキスト、漢字かな交じり文。 한국어 텍스트",
    "العربية فيها كَلِمَات हिन्दी में लिखा ไทย",
    "😀👩‍👩‍👧‍👦🇩🇪 1️⃣ emoji",
    "don't-stop_me.now@home #tag $5 50% a^b ~x `code` <b>{}[]|\\",
    "[CLS] [SEP] [MASK]x[PAD] [UNK][sep] [ MASK ]",
    "##ing ## #",
    "x" * 100,
    "x" * 101,
    "é" * 101,
    "word " * 253,
    "word " * 254,
    "word " * 255,
    "Which of these two is the larger one, and why? " * 60,
    "\U00020000\U0002b820\U0002f800\U000e0041\U0010ffff",
]


def varied_texts(runs: int = 250) -> list[str]:
    """Runs of words of the repository's own prose, 1 to 400 of them, and ODD."""
    words = (Path(__file__).parents[1] / "docs" / "embedders.md").read_text(encoding="utf-8").split()
    draw = random.Random(7)
    lengths = [draw.choice([1, 2, 4, 6, 8, 10, 12, 14, 17, 20, 25, 60, 150, 400]) for _ in range(runs)]
    starts = [draw.randrange(len(words)) for _ in lengths]
    parts = [" ".join(words[start : start + length]) for start, length in zip(starts, lengths, strict=True)]
    return parts + ODD


@pytest.fixture(scope="module")
def files(int8_model: Path) -> tuple[bytes, bytes]:
    return (int8_model / "model.onnx").read_bytes(), (int8_model / "tokenizer.json").read_bytes()


@pytest.fixture(scope="module")
def model(files: tuple[bytes, bytes]) -> TextModel:
    return TextModel(*files)


@pytest.fixture(scope="module")
def ids_of(files: tuple[bytes, bytes]) -> Callable[[str], list[int]]:
    """What the package tokenizers makes of a text."""
    tokenizer = Tokenizer.from_str(files[1].decode())
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return lambda text: tokenizer.encode(text).ids


def test_tokens_are_those_of_tokenizers_on_varied_texts(model, ids_of):
    for text in varied_texts():
        assert model.token_ids(text) == ids_of(text), text


def test_each_character_of_unicode_is_tokenized_as_tokenizers_does(model, ids_of):
    characters = [chr(point) for point in range(0x110000) if not 0xD800 <= point < 0xE000]
    for start in range(0, len(characters), 256):
        # Between letters, so that it is seen whether a character splits a word, joins it or vanishes.
        text = " ".join(f"a{character}b" for character in characters[start : start + 256])
        assert model.token_ids(text) == ids_of(text), f"from {start:#x}"


@settings(max_examples=300, deadline=None)
@given(text=st.text(st.characters(exclude_categories=["Cs"]), max_size=200))
def test_tokens_are_those_of_tokenizers_on_any_text(model, ids_of, text):
    assert model.token_ids(text) == ids_of(text)


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(st.sampled_from(["[CLS]", "[SEP]", "[", "]", "MASK", "ab", "É", "\u0301", " ", "#", "中"]))
)
def test_tokens_are_those_of_tokenizers_around_special_tokens(model, ids_of, parts):
    text = "".join(parts)
    assert model.token_ids(text) == ids_of(text)


def test_most_vectors_are_those_of_onnxruntime_and_none_is_far_from_it(int8_model):
    """A last bit that rounds otherwise changes a level, and that many; versions of ONNX Runtime do so too."""
    texts = varied_texts()
    ours = LocalEmbedder(int8_model, runtime="rust").embed(texts)
    cosines = (ours * LocalEmbedder(int8_model, runtime="onnxruntime").embed(texts)).sum(axis=1)
    assert np.median(cosines) > 0.99999
    assert cosines.min() > 0.98


def test_vectors_are_as_near_to_float32_as_those_of_onnxruntime(int8_model, float32_model):
    texts = varied_texts(60)
    exact = LocalEmbedder(float32_model).embed(texts)
    ours, theirs = (
        (LocalEmbedder(int8_model, runtime=runtime).embed(texts) * exact).sum(axis=1)
        for runtime in ("rust", "onnxruntime")
    )
    assert abs(ours.mean() - theirs.mean()) < 1e-3
    assert ours.min() > theirs.min() - 0.01


@pytest.mark.parametrize("isa", TextModel.available_isas)
def test_every_instruction_set_gives_the_same_bits(model, files, isa):
    texts = [QUESTION, "hi", ""] if isa == "scalar" else varied_texts(60)
    assert TextModel(*files, isa=isa).embed(texts).tobytes() == model.embed(texts).tobytes()


def test_the_bits_are_those_that_the_fingerprint_stands_for(model):
    """Other bits need another name of the arithmetic, `ARITHMETIC` in text_encoder.py."""
    digest = hashlib.sha256(
        model.embed([QUESTION, "hi", "日本語 テキスト", "word " * 300]).astype("<f4").tobytes()
    )
    assert digest.hexdigest() == "018b02773ee20d0d12e490ace797acd8c6cdb909acbd7c06c1053a61ebd7ddba"


@pytest.mark.parametrize("threads", [2, 3, 16])
def test_threads_that_share_the_texts_give_the_bits_of_one(model, threads):
    texts = varied_texts(40)
    assert model.embed(texts, threads=threads).tobytes() == model.embed(texts).tobytes()


def test_codes_are_those_of_the_encoder(int8_model):
    encoder = RustBinaryEncoder(384, code_bits=300, seed=5)
    texts = varied_texts(29)
    embeddings, codes = TextEncoder(int8_model, encoder, threads=2).encode(texts)
    assert (embeddings.dtype, embeddings.shape) == (np.float32, (50, 384))
    assert (codes.dtype, codes.shape) == (np.uint64, (50, 5))
    assert embeddings.tobytes() == LocalEmbedder(int8_model, runtime="rust").embed(texts).tobytes()
    np.testing.assert_array_equal(codes, encoder.encode(embeddings))


def test_no_texts_give_no_rows(int8_model):
    embeddings, codes = TextEncoder(int8_model, RustBinaryEncoder(384)).encode([])
    assert (embeddings.shape, codes.shape) == ((0, 384), (0, 4))


def test_an_encoder_for_another_dimension_is_refused(int8_model, model):
    with pytest.raises(DimensionError, match="dimension 384, got 100"):
        TextEncoder(int8_model, RustBinaryEncoder(100))
    with pytest.raises(DimensionError, match="dimension 384, got 100"):
        model.encode(["a"], RustBinaryEncoder(100))


@pytest.mark.parametrize("texts", [[1], ["a", None], [b"bytes"], "one string"])
def test_what_is_no_sequence_of_strings_is_refused(int8_model, texts):
    with pytest.raises(InvalidTypeError):
        TextEncoder(int8_model, RustBinaryEncoder(384)).encode(texts)


def test_a_lone_surrogate_is_refused_without_showing_the_text(model):
    with pytest.raises(InvalidValueError, match="lone surrogate") as caught:
        model.embed(["fine", "secret \ud800"])
    assert caught.value.__cause__ is None
    assert caught.value.__context__ is None


def test_a_missing_model_names_the_command_that_installs_it(tmp_path):
    with pytest.raises(ModelNotFoundError, match="bsc model install"):
        TextEncoder(tmp_path, RustBinaryEncoder(384))


def test_a_changed_model_is_refused(int8_model, tmp_path):
    folder = shutil.copytree(int8_model, tmp_path / "model")
    content = bytearray((folder / "model.onnx").read_bytes())
    content[-1] ^= 1
    (folder / "model.onnx").write_bytes(content)
    with pytest.raises(EmbedderError, match=r"model\.onnx is damaged"):
        TextEncoder(folder, RustBinaryEncoder(384))


def test_the_float32_model_is_refused_by_name(float32_model):
    with pytest.raises(EmbedderError, match=r"expected an int8 model .* got float32"):
        LocalEmbedder(float32_model, runtime="rust")
    with pytest.raises(EmbedderError, match=r"expected an int8 model .* got float32"):
        TextEncoder(float32_model, RustBinaryEncoder(384))


def test_files_of_another_model_are_refused(files):
    network, tokenizer = files
    for damaged in (b"", b"no protocol buffer", network[: len(network) // 2], tokenizer):
        with pytest.raises(EmbedderError, match="expected the int8 network"):
            TextModel(damaged, tokenizer)
    cased = json.loads(tokenizer)
    cased["normalizer"]["lowercase"] = False
    beyond = json.loads(tokenizer)
    beyond["model"]["vocab"]["the"] = 30_522
    for damaged in (b"", b"{}", json.dumps(cased).encode(), json.dumps(beyond).encode()):
        with pytest.raises(EmbedderError, match="expected the tokenizer"):
            TextModel(network, damaged)


def test_an_unknown_instruction_set_is_refused(files):
    with pytest.raises(UnsupportedIsaError, match="got mmx"):
        TextModel(*files, isa="mmx")


def test_each_runtime_has_a_fingerprint_of_its_own(int8_model):
    rust, onnxruntime = (LocalEmbedder(int8_model, runtime=name) for name in ("rust", "onnxruntime"))
    assert LocalEmbedder(int8_model).fingerprint == rust.fingerprint
    assert rust.fingerprint == f"{onnxruntime.fingerprint}/rust1"


def test_the_int8_model_runs_without_any_extra(int8_model):
    code = f"""
import sys
for name in ("onnxruntime", "tokenizers", "onnx", "safetensors"):
    sys.modules[name] = None
from binary_semantic_cache.embedders.local import LocalEmbedder
print(LocalEmbedder({str(int8_model)!r}).embed(["hi"]).shape)
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout == "(1, 384)\n"


def test_threads_that_share_a_model_get_the_vectors_of_one_alone(model):
    texts = varied_texts(10)
    expected = model.embed(texts).tobytes()
    found: list[bool] = []
    start = threading.Barrier(6)

    def embed() -> None:
        start.wait()
        found.append(all(model.embed(texts).tobytes() == expected for _ in range(3)))

    threads = [threading.Thread(target=embed) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [True] * 6


@pytest.mark.filterwarnings("ignore:.*multi-threaded, use of fork:DeprecationWarning")
@pytest.mark.parametrize("runtime", ["rust", "onnxruntime"])
def test_a_child_that_was_forked_in_the_middle_of_embedding_embeds(int8_model, runtime):
    embedder = LocalEmbedder(int8_model, runtime=runtime, threads=2)
    expected = embedder.embed([QUESTION, "hi"]).tobytes()
    stop = threading.Event()

    def embed() -> None:
        while not stop.is_set():
            embedder.embed(["word " * 100, QUESTION])

    threads = [threading.Thread(target=embed) for _ in range(2)]
    for thread in threads:
        thread.start()
    try:
        for _ in range(5):
            child = os.fork()
            if child == 0:
                signal.alarm(60)  # a child that hangs is killed, and that is not status 0
                os._exit(0 if embedder.embed([QUESTION, "hi"]).tobytes() == expected else 1)
            assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    finally:
        stop.set()
        for thread in threads:
            thread.join()


def test_an_interrupt_ends_a_long_call(model):
    """The signal comes while Rust works; it is seen between two rounds of texts, long before the last."""

    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    before = signal.signal(signal.SIGALRM, interrupt)
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.05)
        with pytest.raises(KeyboardInterrupt):
            model.embed(["word " * 300] * 2000)
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)


def test_other_threads_run_while_a_text_is_embedded(model):
    """With the interpreter lock held, the other thread would find the call over when it comes to run."""
    over = threading.Event()
    asked = threading.Event()
    seen: list[bool] = []

    def look() -> None:
        asked.wait()
        seen.append(over.is_set())

    watcher = threading.Thread(target=look)
    watcher.start()
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1000)  # the lock is handed over by whoever lets go of it, by nobody else
    try:
        asked.set()
        model.embed(["word " * 300] * 8)
        over.set()
    finally:
        sys.setswitchinterval(interval)
        watcher.join()
    assert seen == [False]
