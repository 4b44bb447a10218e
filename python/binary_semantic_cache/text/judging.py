"""Whether an answer that is kept would have been right, seen from an answer that was made anew."""

import unicodedata
from collections.abc import Callable
from typing import Any

__all__ = ["AnswerJudge", "same_answer"]

AnswerJudge = Callable[[str, str, Any, Any], bool | None]
"""Called with the prompt, the prompt that the kept answer was made for, the new answer and the kept one.

True if the kept answer answers the prompt, false if not, `None` if that cannot be said. It runs in a thread
of its own and may take its time; what it raises counts as `None`.
"""

_UNLIKE = frozenset({"id", "created", "created_at", "system_fingerprint", "service_tier", "usage"})
"""Fields of an API's answer that differ from one call to the next and say nothing."""


def same_answer(prompt: str, kept_prompt: str, new: object, kept: object) -> bool | None:
    """True for answers that are the same but for case, spaces and the fields that name a call.

    An `AnswerJudge` for answers that leave no choice of words: a class, a number, a name, a record.
    Of free prose it knows nothing, and says that two wordings of one answer are different.
    """
    return _essence(new) == _essence(kept)


def _essence(answer: object) -> object:
    if isinstance(answer, str):
        return " ".join(unicodedata.normalize("NFKC", answer).casefold().split())
    if isinstance(answer, dict):
        return {key: _essence(value) for key, value in answer.items() if key not in _UNLIKE}
    if isinstance(answer, list | tuple):
        return [_essence(value) for value in answer]
    return answer
