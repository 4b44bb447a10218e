"""Pairs of prompts: four that are labelled, others by a word or two, and files of them."""

import json

from binary_semantic_cache.proof.pairs import Pair

__all__ = ["ROWS", "pair", "write_lines"]

ROWS = [
    {"id": "near", "a": "How do I reset my password?", "b": "How can I reset my password?", "same": 1},
    {"id": "far", "a": "How do I reset my password?", "b": "How tall is the Eiffel Tower?", "same": 1},
    {
        "id": "vetoed",
        "a": "May I park here for 30 minutes?",
        "b": "May I park here for 45 minutes?",
        "same": 0,
    },
    {"id": "equal", "a": "What does a ferry ticket cost?", "b": "What does a ferry ticket cost?", "same": 0},
]


def write_lines(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


def pair(name="p", a="a", b="b", same=True, category="all"):
    return Pair(name, a, b, same, category)
