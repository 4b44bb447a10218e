"""Pairs of other authors, which the judge is measured on and never trained with."""

import json
from pathlib import Path

from training.judge.pairs import TrainingPair

__all__ = ["FILES", "read_foreign"]

FILES = {
    "questions": "adversarial/fow_questions.jsonl",
    "finance": "adversarial/finance.jsonl",
    "word problems": "numbers/gsmplus.jsonl",
    "negation": "negation/semantoneg.jsonl",
    "Quora": "qqp/qqp_calib.jsonl",
}
"""Name of a source and its file below the data folder; `docs/quality.md` describes them."""


def read_foreign(folder: Path) -> list[TrainingPair]:
    """All pairs of the files that are there, and the few of the quality benchmark."""
    own = Path(__file__).parents[2] / "benches" / "quality" / "pairs.jsonl"
    files = {"own pairs": own} | {name: folder / path for name, path in FILES.items()}
    found = []
    for name, path in files.items():
        if path.is_file():
            for line in path.read_text(encoding="utf-8").splitlines():
                row = json.loads(line)
                found.append(
                    TrainingPair(name, row["id"], row["category"], row["a"], row["b"], row["same"] == 1)
                )
    return found
