"""Labelled pairs: two prompts, and whether the answer to the first answers the second."""

import json
import random
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from binary_semantic_cache.proof.pairs import Pair

__all__ = ["CONVERSATIONS", "OWN", "SETS", "PairSet", "load", "read"]

OWN, CONVERSATIONS = "own pairs", "conversations"
_OWN_FILE = Path(__file__).parent / "pairs.jsonl"

SETS: Mapping[str, tuple[str, int]] = {
    "questions": ("adversarial/fow_questions.jsonl", 0),
    CONVERSATIONS: ("adversarial/fow_conversations.jsonl", 0),
    "finance": ("adversarial/finance.jsonl", 0),
    "word problems": ("numbers/gsmplus.jsonl", 600),
    "negation": ("negation/semantoneg.jsonl", 1500),
    "Quora": ("qqp/qqp_calib.jsonl", 2000),
}
"""Name: the file below the data folder, and how many pairs are drawn of a large one (0: all)."""

_SEED = 20
_SMOKE_PAIRS = 12


@dataclass(frozen=True, slots=True)
class PairSet:
    """The pairs of one file, or some of them."""

    name: str
    pairs: Sequence[Pair]
    rows: int
    """Rows of the file."""
    sources: Sequence[str]


def load(data: Path, *, full: bool, smoke: bool) -> list[PairSet]:
    """The own pairs, and each set that is in the folder.

    Args:
        data: the folder; need not exist.
        full: all pairs of the large files, too.
        smoke: a dozen pairs of each.
    """
    present = [(name, data / path, most) for name, (path, most) in SETS.items() if (data / path).is_file()]
    found = []
    for name, path, most in [(OWN, _OWN_FILE, 0), *present]:
        limit = _SMOKE_PAIRS if smoke else 0 if full else most
        found.append(read(name, path, limit))
    return found


def read(name: str, path: Path, limit: int = 0) -> PairSet:
    """The pairs of a file of JSON lines; `limit` of them, drawn with a fixed seed, unless it is 0."""
    with path.open(encoding="utf-8") as lines:
        rows = [json.loads(line) for line in lines if line.strip()]
    drawn = rows
    if 0 < limit < len(rows):
        drawn = [rows[i] for i in sorted(random.Random(_SEED).sample(range(len(rows)), limit))]
    pairs = [Pair(row["id"], row["a"], row["b"], row["same"] == 1, row["category"]) for row in drawn]
    return PairSet(name, pairs, len(rows), sorted({row["source"] for row in rows}))
