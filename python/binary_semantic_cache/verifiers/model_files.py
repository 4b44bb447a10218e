"""The folder of a sequence classifier, as sentence-transformers and Optimum export it.

model.onnx or onnx/model.onnx   the network; beside it others: quantized, optimized
tokenizer.json                  of the package tokenizers
config.json                     what the labels are called, how long a text may be
tokenizer_config.json           how long a text may be; may be missing
"""

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError, MissingFileError, VerifierError

__all__ = ["ModelFiles", "find_label", "find_model"]

_NETWORKS = ("model.onnx", "onnx/model.onnx")
_COUNT_FROM_PAD = frozenset(
    {"camembert", "data2vec-text", "mpnet", "roberta", "xlm-roberta", "xlm-roberta-xl"}
)
"""Their first position is one after the pad token's id, so two of 514 are no positions of a text.

Source: create_position_ids_from_input_ids of the models of that name in the package transformers.
"""


@dataclass(frozen=True, slots=True)
class ModelFiles:
    """What a folder holds and says."""

    network: Path
    tokenizer: Path
    labels: Sequence[str] | None
    """A name for each logit; `None` if `config.json` does not say."""
    window: int | None
    """Tokens of a pair, with the marks between and around; `None` if nothing says."""
    pad_id: int


def find_model(folder: str | Path, file_name: str | None) -> ModelFiles:
    """Finds the files, and reads the two small ones.

    Args:
        folder: of the model.
        file_name: the network's within the folder, such as `onnx/model_quint8_avx2.onnx`; `None` for
            `model.onnx`, or `onnx/model.onnx`.

    Raises:
        InvalidTypeError: an argument has the wrong type.
        MissingFileError: there is no such folder, or a file is missing; the message says what there is.
        VerifierError: a file is damaged.
    """
    if not isinstance(folder, str | Path):
        raise InvalidTypeError(f"expected folder as a path, got {type(folder).__name__}")
    if file_name is not None and not isinstance(file_name, str):
        raise InvalidTypeError(f"expected file_name to be a string, got {type(file_name).__name__}")
    folder = Path(folder)
    if not folder.is_dir():
        raise MissingFileError(
            f"expected the folder of a model, got nothing at {folder}; nothing is downloaded"
        )
    network = _network(folder, file_name)
    tokenizer = folder / "tokenizer.json"
    if not tokenizer.is_file():
        raise MissingFileError(
            f"expected tokenizer.json in {folder}; the package transformers writes it: "
            "AutoTokenizer.from_pretrained(name).save_pretrained(folder)"
        )
    if not (folder / "config.json").is_file():
        raise MissingFileError(
            f"expected config.json in {folder}, which names the labels; copy it there, too"
        )
    config = _read(folder / "config.json")
    settings = _read(folder / "tokenizer_config.json")
    pad_id = _whole(config.get("pad_token_id")) or 0
    return ModelFiles(network, tokenizer, _labels(config, folder), _window(config, settings, pad_id), pad_id)


def find_label(label: str | int, labels: Sequence[str]) -> int:
    """The place of a label, given by its name (upper or lower case) or by its place.

    Raises:
        InvalidTypeError: `label` is neither.
        InvalidValueError: there is no such label, or two have that name.
    """
    if isinstance(label, bool) or not isinstance(label, str | int):
        raise InvalidTypeError(f"expected a label as a name or a number, got {type(label).__name__}")
    if isinstance(label, int):
        if not 0 <= label < len(labels):
            raise InvalidValueError(f"expected a label from 0 to {len(labels) - 1}, got {label}")
        return label
    places = [i for i, name in enumerate(labels) if name.casefold() == label.casefold()]
    if len(places) != 1:
        raise InvalidValueError(f"expected one of the labels {', '.join(labels)}, got {label!r}")
    return places[0]


def _network(folder: Path, file_name: str | None) -> Path:
    for name in _NETWORKS if file_name is None else (file_name,):
        if (folder / name).is_file():
            return folder / name
    there = sorted(path.relative_to(folder).as_posix() for path in folder.glob("**/*.onnx"))
    wanted = " or ".join(_NETWORKS) if file_name is None else file_name
    if not there:
        raise MissingFileError(
            f"expected {wanted} in {folder}, found no .onnx file; export the model to ONNX first"
        )
    raise MissingFileError(
        f"expected {wanted} in {folder}, found {', '.join(there)}; name one with file_name"
    )


def _read(path: Path) -> Mapping[str, Any]:
    """A JSON object; of a file that is not there, nothing."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, RecursionError) as exc:
        raise VerifierError(f"cannot read {path}: {exc}") from exc
    if not isinstance(found, dict):
        raise VerifierError(f"expected {path} to hold a JSON object, got {type(found).__name__}")
    return found


def _labels(config: Mapping[str, Any], folder: Path) -> list[str] | None:
    named = config.get("id2label")
    if named is None:
        return None
    try:
        by_place = {int(place): str(name) for place, name in named.items()}
        return [by_place[place] for place in range(len(by_place))]
    except (AttributeError, ValueError, KeyError) as exc:
        raise VerifierError(
            f"expected id2label in {folder / 'config.json'} to name each label from 0 on, got {named!r}"
        ) from exc


def _window(config: Mapping[str, Any], settings: Mapping[str, Any], pad_id: int) -> int | None:
    """The least of what is said. Tokenizers without a limit of their own say a number with 30 digits."""
    positions = _whole(config.get("max_position_embeddings"))
    if positions is not None and config.get("model_type") in _COUNT_FROM_PAD:
        positions -= pad_id + 1
    said = [
        most
        for most in (positions, _whole(settings.get("model_max_length")))
        if most is not None and most > 0
    ]
    return min(said, default=None)


def _whole(value: Any) -> int | None:
    if isinstance(value, float) and value.is_integer():
        return int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) else None
