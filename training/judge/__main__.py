"""`python -m training.judge`: trains the judge, measures it, checks its data, finds a second model's zone."""

import argparse
import sys
from hashlib import sha256
from pathlib import Path

from binary_semantic_cache.text.guards import Guards
from binary_semantic_cache.verifiers import CrossEncoder
from training.judge.evaluation import probabilities_left_out, report
from training.judge.examples import Vectors, examples_of, own_pairs
from training.judge.fitting import calibrated, fit, out_of_fold, text_of
from training.judge.foreign import read_foreign
from training.judge.overlap import overlaps, texts_in
from training.judge.zone import drawn, scored
from training.judge.zone import report as zone_report

_ROOT = Path(__file__).parents[2]
_MODEL = _ROOT / "python" / "binary_semantic_cache" / "text" / "models" / "all-MiniLM-L6-v2.judge"
_DATA = _ROOT.parent / "shared" / "data"


def main() -> int:
    """Runs one command; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m training.judge", description=__doc__)
    parser.add_argument("command", choices=["train", "evaluate", "overlap", "zone"])
    parser.add_argument("--out", type=Path, default=_MODEL, help="where `train` writes the model")
    parser.add_argument(
        "--data", type=Path, default=_DATA, help="the folder of labelled pairs of other authors"
    )
    parser.add_argument("--vectors", type=Path, help="a file to keep embeddings in between runs")
    parser.add_argument("--verifier", type=Path, metavar="FOLDER", help="the second model, for `zone`")
    parser.add_argument("--label", help="of the second model: the label that agrees")
    parser.add_argument("--refusal-label", help="of the second model: the label that refuses")
    parser.add_argument("--pairs", type=int, default=5000, help="as many are looked at by `zone`")
    given = parser.parse_args()
    if given.command == "zone" and given.verifier is None:
        parser.error("expected --verifier FOLDER with zone")
    vectors = Vectors(given.vectors)
    pairs = own_pairs(vectors)
    if given.command == "overlap":
        found = overlaps((text for pair in pairs for text in (pair.a, pair.b)), texts_in(given.data))
        for share, name, mine, theirs in found:
            print(f"{share:.2f}  {name}  {mine!r}  {theirs!r}")
        print(f"{len(found)} texts of the training data stand in {given.data}, or nearly so", file=sys.stderr)
        return 1 if found else 0
    guards = Guards()
    own = examples_of(pairs, vectors, guards)
    sums = out_of_fold(own, guards)
    judge = calibrated(fit(own, guards), sums, own)
    if given.command == "zone":
        second = CrossEncoder(given.verifier, label=given.label, refusal_label=given.refusal_label)
        some, probabilities = drawn(own, probabilities_left_out(sums, judge), given.pairs)
        print(zone_report(some, probabilities, scored(some, probabilities, second.score)))
        return 0
    if given.command == "train":
        text = text_of(
            judge,
            [
                f"Made by `make train-judge` from {len(own.pairs)} pairs of training/judge/families, written",
                "for this project and under its licence, and WordNet's relations; no other data. Embedder:",
                vectors.fingerprint,
            ],
        )
        given.out.write_text(text, encoding="ascii")
        print(f"{given.out}: {len(text)} bytes, sha256 {sha256(text.encode()).hexdigest()}")
        return 0
    print(report(own, sums, examples_of(read_foreign(given.data), vectors, guards), judge, guards))
    return 0


if __name__ == "__main__":
    sys.exit(main())
