"""Cache the answers of a model: embed a question, ask the cache, fall back to the model.

Needs the extra `local` and, once, `bsc model install`.
"""

from binary_semantic_cache import BinarySemanticCache, RustBinaryEncoder
from binary_semantic_cache.embedders.local import LocalEmbedder

embedder = LocalEmbedder()
encoder = RustBinaryEncoder(embedder.dimension)
cache = BinarySemanticCache(encoder, max_entries=10_000, similarity_threshold=0.844)

question = "How do I undo the last commit but keep my changes?"
cache.put(embedder.embed([question])[0], "Run `git reset --soft HEAD~1`.")

for asked in ("How can I undo my last commit without losing the changes?", "How long should I boil an egg?"):
    entry = cache.get(embedder.embed([asked])[0])
    answer = (
        "a miss: ask the model" if entry is None else f"{entry.response} (similarity {entry.similarity:.3f})"
    )
    print(f"{asked}\n  {answer}")

cache.save("vectors.npz")
cache.load("vectors.npz", mmap=True)
print(f"saved and mapped again: {len(cache)} entry")
