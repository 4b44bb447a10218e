"""Second models that compare two prompts before an answer is served: `SemanticCache(verifier=...)`.

Any callable will do; these load a model from a folder on this machine. None comes with the package.
"""

from binary_semantic_cache.verifiers.cross_encoder import CrossEncoder

__all__ = ["CrossEncoder"]
