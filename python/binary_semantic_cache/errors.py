"""Every error this package raises, in one tree.

    BinarySemanticCacheError
    +-- DimensionError          (ValueError)    an array has the wrong shape or number of words
    +-- InvalidValueError       (ValueError)    a value is outside what the argument admits (a NaN, say)
    +-- InvalidTypeError        (TypeError)     an argument has the wrong type or dtype
    +-- ConfigurationError      (ValueError)    a configuration holds what it must not, or is no TOML
    +-- UnsupportedIsaError     (ValueError)    the asked instruction set is unknown or not on this machine
    +-- UnsavableResponseError  (TypeError)     a response holds something that an archive cannot carry
    +-- StoreError              (OSError)       a cache could not be read from or written to its file
    |   +-- MissingFileError    (FileNotFoundError)  there is no file at the path
    |   +-- CorruptFileError    (ValueError)    the file is damaged, truncated, hostile or not an archive
    |   +-- FormatVersionError  (ValueError)    the file was written in a format this version does not read
    |   +-- CursorLostError     (LookupError)   a store's log no longer reaches back to where a reader stopped
    |   +-- ClosedError         (ValueError)    the cache was closed
    +-- FingerprintError        (ValueError)    made another way: dimension, bits, seed, projection, model
    +-- ReentrantUseError       (RuntimeError)  a finaliser or signal handler used a cache at work
    +-- VerifierError           (RuntimeError)  a verifier's model could not be loaded or run
    +-- EmbedderError           (RuntimeError)  an embedder could not turn text into vectors
        +-- ModelNotFoundError  (FileNotFoundError)  the local model is not installed
        +-- MissingExtraError   (ImportError)   an optional dependency is not installed

Each class is also the builtin in brackets, so code that catches `ValueError` or `OSError` keeps working.
"""


class BinarySemanticCacheError(Exception):
    """The root: catch this to catch every error of the package."""


class DimensionError(BinarySemanticCacheError, ValueError):
    """An array has the wrong number of dimensions, columns or words."""


class InvalidValueError(BinarySemanticCacheError, ValueError):
    """A value lies outside what the argument admits."""


class InvalidTypeError(BinarySemanticCacheError, TypeError):
    """An argument has the wrong type or dtype."""


class ConfigurationError(BinarySemanticCacheError, ValueError):
    """A configuration holds what it must not.

    Args:
        problems: all that is wrong, a sentence each; they name keys and places, never a secret.
    """

    def __init__(self, *problems: str) -> None:
        super().__init__("; ".join(problems))
        self.problems = problems


class UnsupportedIsaError(BinarySemanticCacheError, ValueError):
    """The asked instruction set is unknown or not available on this machine."""


class UnsavableResponseError(BinarySemanticCacheError, TypeError):
    """A response holds something that an archive cannot carry."""


class StoreError(BinarySemanticCacheError, OSError):
    """A cache could not be read from or written to its file."""


class MissingFileError(StoreError, FileNotFoundError):
    """There is no file at the path."""


class CorruptFileError(StoreError, ValueError):
    """The file is damaged, truncated, hostile or not an archive at all."""


class FormatVersionError(StoreError, ValueError):
    """The file was written in a format that this version does not read."""


class CursorLostError(StoreError, LookupError):
    """A store's log no longer reaches back to where a reader stopped; a snapshot does."""


class ClosedError(StoreError, ValueError):
    """The cache was used after it was closed."""


class FingerprintError(BinarySemanticCacheError, ValueError):
    """Codes or vectors were made another way than this cache makes them."""


class ReentrantUseError(BinarySemanticCacheError, RuntimeError):
    """A finaliser or signal handler used a cache in the middle of that cache's own work."""


class VerifierError(BinarySemanticCacheError, RuntimeError):
    """The model of a verifier is damaged, is none that compares two texts, or could not be run."""


class EmbedderError(BinarySemanticCacheError, RuntimeError):
    """An embedder could not turn text into vectors."""


class ModelNotFoundError(EmbedderError, FileNotFoundError):
    """The local model is not installed."""


class MissingExtraError(EmbedderError, ImportError):
    """An optional dependency is not installed."""
