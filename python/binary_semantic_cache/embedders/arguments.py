"""Checks of the arguments that embedders share."""

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError

__all__ = ["check_count", "check_name"]


def check_name(argument: str, value: str) -> None:
    """Refuses what is no name.

    Raises:
        InvalidTypeError: `value` is no string.
        InvalidValueError: `value` is empty or has a character that cannot be printed.
    """
    if not isinstance(value, str):
        raise InvalidTypeError(f"expected {argument} to be a string, got {type(value).__name__}")
    if not value or not value.isprintable():
        raise InvalidValueError(f"expected {argument} to be a name, got {value!r}")


def check_count(argument: str, value: int, *, most: int | None = None) -> None:
    """Refuses what is no int from 1 to `most`.

    Raises:
        InvalidTypeError: `value` is no int.
        InvalidValueError: `value` is out of range.
    """
    if isinstance(value, bool) or not isinstance(value, int):
        raise InvalidTypeError(f"expected {argument} to be an int, got {type(value).__name__}")
    if value < 1 or (most is not None and value > most):
        limit = "1 or more" if most is None else f"1 to {most}"
        raise InvalidValueError(f"expected {argument} of {limit}, got {value}")
