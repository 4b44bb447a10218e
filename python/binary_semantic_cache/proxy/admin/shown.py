"""Requests, entries and explanations as JSON of the admin API."""

import math
from typing import Any

from binary_semantic_cache.proxy.observe import Record
from binary_semantic_cache.proxy.watching.recents import EntryUse
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.budget import LiveBudget
from binary_semantic_cache.text.explanation import Explanation
from binary_semantic_cache.text.semantic import Invalidated
from binary_semantic_cache.text.verdict import Candidate, Hit, Miss

__all__ = [
    "budget_json",
    "entry_json",
    "explanation_json",
    "invalidated_json",
    "record_json",
    "saving_json",
]

_LONGEST_TEXT = 2000
_MOST_ENTRIES = 100


def record_json(number: int, record: Record) -> dict[str, Any]:
    """One request with its content."""
    request = record.request
    return {
        "id": number,
        "began_at": record.began_at,
        "api": record.api,
        "method": record.method,
        "path": record.path,
        "status": record.status,
        "outcome": record.outcome,
        "reason": record.reason,
        "would_be": record.would_be,
        "detail": record.detail,
        "guards": list(record.guards),
        "tenant": record.tenant,
        "model": record.model,
        "stream": record.stream,
        "similarity": _finite(record.similarity),
        "entry_id": record.entry_id,
        "hit_id": record.hit_id,
        "age_seconds": _finite(record.age_seconds),
        "saved": saving_json(record.saved),
        "total_seconds": _finite(record.total_seconds),
        "first_byte_seconds": _finite(record.first_byte_seconds),
        "lookup_seconds": _finite(record.lookup_seconds),
        "upstream_seconds": _finite(record.upstream_seconds),
        "stored": record.stored,
        "text": None if request is None else request.text[:_LONGEST_TEXT],
        "prompt": None if record.prompt is None else record.prompt[:_LONGEST_TEXT],
        "can_explain": request is not None,
    }


def saving_json(saving: Saving | None) -> dict[str, Any] | None:
    """What was saved."""
    if saving is None:
        return None
    return {
        "tokens": saving.input_tokens + saving.output_tokens,
        "cost": _finite(saving.cost),
        "seconds": _finite(saving.seconds),
    }


def entry_json(entry_id: int, use: EntryUse, n_bytes: int) -> dict[str, Any]:
    """An entry and what it was good for."""
    return {
        "id": entry_id,
        "prompt": use.prompt,
        "hits": use.hits,
        "saved": saving_json(use.saved),
        "last_used": use.last_used,
        "n_bytes": n_bytes,
    }


def budget_json(budget: LiveBudget | None) -> dict[str, Any] | None:
    """What is borne and what was found; classes that were stopped first, then those judged most."""
    if budget is None:
        return None
    known = sorted(
        budget.classes().items(), key=lambda found: (-found[1].stopped, -found[1].judged, found[0])
    )
    return {
        "max_wrong": budget.settings.max_wrong,
        "sample": budget.settings.sample,
        "confidence": budget.settings.confidence,
        "classes": [
            {
                "class": name,
                "judged": of.judged,
                "wrong": of.wrong,
                "low": of.low,
                "high": of.high,
                "stopped": of.stopped,
            }
            for name, of in known
        ],
    }


def explanation_json(explanation: Explanation) -> dict[str, Any]:
    """Every step of a decision."""
    verdict = explanation.verdict
    if isinstance(verdict, Miss) and verdict.would_serve is not None:
        verdict = verdict.would_serve
    told: dict[str, Any]
    if isinstance(verdict, Hit):
        told = {"hit": verdict.kind, "entry_id": verdict.entry_id, "similarity": _finite(verdict.similarity)}
    else:
        told = {"hit": None, "reason": verdict.reason.value, "detail": verdict.detail}
    return {
        "text": explanation.text[:_LONGEST_TEXT],
        "scope": explanation.scope,
        "exact_match": explanation.exact_match,
        "policy": explanation.policy,
        "exact_only": explanation.exact_only,
        "threshold": explanation.threshold,
        "radius": explanation.radius,
        "candidates": [_candidate_json(candidate) for candidate in explanation.candidates],
        "learned": None if explanation.learned is None else str(explanation.learned),
        "verdict": told,
    }


def invalidated_json(invalidated: Invalidated) -> dict[str, Any]:
    """What went, or would go: how many, and the first hundred of them."""
    return {
        "dry_run": invalidated.dry_run,
        "count": len(invalidated),
        "entries": [
            {"id": entry_id, "prompt": prompt[:_LONGEST_TEXT]}
            for entry_id, prompt in invalidated.entries[:_MOST_ENTRIES]
        ],
    }


def _candidate_json(candidate: Candidate) -> dict[str, Any]:
    return {
        "entry_id": candidate.entry_id,
        "distance": candidate.distance,
        "similarity": _finite(candidate.similarity),
        "probability": _finite(candidate.probability),
        "prompt": None if candidate.prompt is None else candidate.prompt[:_LONGEST_TEXT],
        "vetoes": [{"guard": veto.guard, "detail": veto.detail} for veto in candidate.vetoes],
        "refused": None if candidate.refused is None else candidate.refused.value,
    }


def _finite(value: float | None) -> float | None:
    return value if value is not None and math.isfinite(value) else None
