"""A cross-encoder or entailment model where the judge is in doubt: `python cross_encoder_verifier.py FOLDER`.

FOLDER holds model.onnx (or onnx/model.onnx), tokenizer.json and config.json, as sentence-transformers and
Optimum export them. No model comes with the package, and none is downloaded.
"""

import sys
from time import perf_counter

from binary_semantic_cache import Judge, SemanticCache
from binary_semantic_cache.verifiers import CrossEncoder

STORED = "How do I clean the filter of the washing machine?"
ASKED = (
    "How can I clean the washing machine's filter?",
    "Where is the filter of the washing machine?",
    "How often should I clean the filter of the washing machine?",
)

# A model of duplicate questions has one label, which needs no name; of an entailment model, `entailment` is
# found. Where neither fits, say which: label="same", or refusal_label="contradiction".
verifier = CrossEncoder(sys.argv[1], least_probability=0.5)
judge = Judge(least_cosine=0.5, verify_between=(0.45, 0.99))

with SemanticCache(judge=judge, verifier=verifier) as cache:
    cache.put(STORED, "Turn the cap at the bottom to the left, and rinse what is behind it.")
    for prompt in ASKED:
        began = perf_counter()
        score = verifier.score(prompt, STORED)
        milliseconds = 1000 * (perf_counter() - began)
        verdict = cache.lookup(prompt)
        outcome = "a hit" if verdict else f"a miss: {verdict.reason.value}"
        print(f"{prompt} | {score:.3f} in {milliseconds:.0f} ms | {outcome}")
