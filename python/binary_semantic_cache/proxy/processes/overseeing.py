"""What stands over semantic hits, as the settings have it: judge, budget, learned policy."""

from collections.abc import Callable
from importlib import import_module
from typing import Any, cast

from binary_semantic_cache.errors import ConfigurationError
from binary_semantic_cache.proxy.settings import BudgetSettings, LearnedSettings
from binary_semantic_cache.text.budget import Budget
from binary_semantic_cache.text.canonical import JSON
from binary_semantic_cache.text.judging import AnswerJudge, same_answer
from binary_semantic_cache.text.learned import LearnedPolicy
from binary_semantic_cache.text.request import Request

__all__ = ["budget_of", "learned_of"]

_SHOWN_DIGITS = 12
"""Of a key's pseudonym, as logs and the admin's page show it."""


def budget_of(settings: BudgetSettings) -> Budget | None:
    """The budget; `None` where none is configured. An audited hit is asked of the upstream by its caller.

    Raises:
        ConfigurationError: there is no such judge.
    """
    if settings.max_wrong is None:
        return None
    named: dict[str, Any] = {} if settings.classes == "model" else {"class_of": _CLASSES[settings.classes]}
    return Budget(
        max_wrong=settings.max_wrong,
        sample=settings.sample,
        judge=_judge_named("cache.budget.judge", settings.judge),
        per_minute=settings.per_minute,
        confidence=settings.confidence,
        **named,
    )


def learned_of(settings: LearnedSettings) -> LearnedPolicy | None:
    """The learned policy; `None` where none is configured.

    Raises:
        ConfigurationError: there is no such judge.
    """
    if settings.budget is None:
        return None
    return LearnedPolicy(
        settings.budget,
        promise=settings.promise,
        confidence=settings.confidence,
        judge=_judge_named("cache.learned.judge", settings.judge),
        per_minute=settings.per_minute,
        audit=settings.audit,
    )


def _judge_named(key: str, name: str) -> AnswerJudge:
    module, colon, function = name.partition(":")
    if not colon:
        return same_answer
    try:
        found: Any = import_module(module)
        for part in function.split("."):
            found = getattr(found, part)
    except Exception as exc:  # a module of the operator's own may raise anything when it is read
        raise ConfigurationError(
            f"{key}: expected a function on Python's path, got {name} ({type(exc).__name__}: {exc})"
        ) from exc
    if not callable(found):
        raise ConfigurationError(f"{key}: expected a function, got {name}, a {type(found).__name__}")
    return cast("AnswerJudge", found)


def _by_tenant(prompt: str | Request, scope: JSON) -> str:
    kind, _, name = str(scope).partition(":")
    return name if kind == "tenant" else name[:_SHOWN_DIGITS]


def _all_as_one(prompt: str | Request, scope: JSON) -> str:
    return "all"


_CLASSES: dict[str, Callable[[str | Request, JSON], str]] = {"tenant": _by_tenant, "all": _all_as_one}
