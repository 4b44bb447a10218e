"""What the admin may change: reports, invalidations, clearing, budgets. Each is written to the audit."""

from dataclasses import dataclass
from typing import Any, NamedTuple

from starlette.concurrency import run_in_threadpool
from starlette.requests import Request
from starlette.responses import Response

from binary_semantic_cache.proxy.admin.answers import Fault, json_answer, json_body
from binary_semantic_cache.proxy.admin.audit import Audit
from binary_semantic_cache.proxy.admin.reading import recent_of
from binary_semantic_cache.proxy.admin.shown import invalidated_json
from binary_semantic_cache.proxy.watching.recents import Recents
from binary_semantic_cache.text.semantic import Invalidated, SemanticCache

__all__ = ["EVERYTHING", "Changing"]

EVERYTHING = "everything"
"""What is typed to clear the whole cache."""
_MOST_IDS = 10_000


class _Target(NamedTuple):
    """What an invalidation is aimed at: words for the audit, and arguments of `SemanticCache.invalidate`."""

    words: str
    arguments: dict[str, Any]
    ids: list[int] | None = None
    """Instead of arguments: these very entries."""


@dataclass(frozen=True, slots=True)
class Changing:
    """The endpoints that change."""

    cache: SemanticCache
    recents: Recents
    audit: Audit

    async def report(self, request: Request) -> Response:
        """Says that a hit was wrong: its entry goes, and the two prompts never match again."""
        hit_id = (await json_body(request, "hit_id")).get("hit_id")
        if not isinstance(hit_id, str):
            raise Fault(400, "malformed", f"hit_id: expected a string, got {type(hit_id).__name__}")
        removed = await self._noted(request, "report", "hit", self.cache.report, hit_id)
        self.audit.note(request.state.who, "report", "hit", f"{int(removed)} removed")
        return json_answer({"removed": removed})

    async def invalidate(self, request: Request) -> Response:
        """Removes entries, or with `dry_run`, which is the default, says which they would be.

        With `expected` nothing goes unless just so many would: what was seen in a dry run.
        """
        body = await json_body(
            request,
            "tag", "prompt", "recent", "entries", "tenant", "scope", "radius", "dry_run", "expected",
        )  # fmt: skip
        dry_run, expected = body.get("dry_run", True), body.get("expected")
        if not isinstance(dry_run, bool):
            raise Fault(400, "malformed", f"dry_run: expected true or false, got {type(dry_run).__name__}")
        target = self._target(body)
        if expected is not None and not dry_run:
            found = await run_in_threadpool(self._invalidate, target, dry_run=True)
            if len(found) != expected:
                raise Fault(
                    409, "changed", f"expected to remove {expected} entries, got {len(found)}; look again"
                )
        gone = await self._noted(
            request, "invalidate", target.words, self._invalidate, target, dry_run=dry_run
        )
        if not dry_run:
            self.audit.note(request.state.who, "invalidate", target.words, f"{len(gone)} removed")
        return json_answer(invalidated_json(gone))

    async def clear(self, request: Request) -> Response:
        """Removes all entries, or all of one tenant, if `confirm` says which."""
        body = await json_body(request, "tenant", "confirm")
        tenant, confirm = body.get("tenant"), body.get("confirm")
        if tenant is not None and not isinstance(tenant, str):
            raise Fault(400, "malformed", f"tenant: expected a string, got {type(tenant).__name__}")
        whole = EVERYTHING if tenant is None else tenant
        if confirm != whole:
            raise Fault(400, "not_confirmed", f"expected confirm to be {whole!r}")
        arguments = {} if tenant is None else {"scope": self._scope_of(tenant)}
        words = EVERYTHING if tenant is None else f"tenant:{tenant}"
        removed = await self._noted(request, "clear", words, self.cache.clear, **arguments)
        self.audit.note(request.state.who, "clear", words, f"{removed} removed")
        return json_answer({"removed": removed})

    async def reset_budget(self, request: Request) -> Response:
        """Serves a class by meaning again, and counts it from nothing."""
        name = (await json_body(request, "class")).get("class")
        if not isinstance(name, str):
            raise Fault(400, "malformed", f"class: expected a string, got {type(name).__name__}")
        budget = self.cache.budget
        if budget is None:
            raise Fault(404, "not_found", "expected a budget, got none; [cache.budget] configures one")
        known = (await run_in_threadpool(budget.classes)).get(name)
        if known is None:
            raise Fault(404, "not_found", "expected a class that was judged, got one that was not")
        words = f"budget:{name}"
        await self._noted(request, "reset", words, budget.reset, name)
        before = "stopped" if known.stopped else "served"
        self.audit.note(
            request.state.who, "reset", words, f"was {before}, {known.wrong} of {known.judged} wrong"
        )
        return json_answer({"class": name, "was_stopped": known.stopped})

    async def _noted(
        self, request: Request, action: str, words: str, change: Any, *given: Any, **named: Any
    ) -> Any:
        """What `change` returns; that it failed is written down too."""
        try:
            return await run_in_threadpool(change, *given, **named)
        except Exception as exc:
            self.audit.note(request.state.who, action, words, f"failed: {type(exc).__name__}")
            raise

    def _invalidate(self, target: _Target, *, dry_run: bool) -> Invalidated:
        if target.ids is None:
            return self.cache.invalidate(**target.arguments, dry_run=dry_run)
        store, used = self.cache.store, self.recents.used_entries()
        weights = store.weights(target.ids)
        present = [i for i, (_, n_bytes) in zip(target.ids, weights, strict=True) if n_bytes]
        if present and not dry_run:
            # The index hears of it from the store's log.
            store.delete(present)
        return Invalidated(tuple((i, used[i].prompt if i in used else "") for i in present), dry_run)

    def _target(self, body: dict[str, Any]) -> _Target:
        named = [name for name in ("tag", "prompt", "recent", "entries", "tenant") if name in body]
        if len(named) > 1 or (not named and "scope" not in body):
            got = " and ".join(named) or "none"
            raise Fault(
                400, "malformed", f"expected one of tag, prompt, recent, entries, tenant and scope, got {got}"
            )
        name = named[0] if named else "scope"
        allowed = {"prompt": ("scope", "radius"), "recent": ("radius",), "tag": ("scope",)}.get(name, ())
        for other in ("scope", "radius"):
            if other in body and other != name and other not in allowed:
                raise Fault(400, "malformed", f"expected {name} without {other}, got both")
        given = body.get(name)
        extra: dict[str, Any] = {
            other: body[other] for other in ("scope", "radius") if other in body and other != name
        }
        if name == "recent":
            asked, scope = recent_of(self.recents, given)
            return _Target("prompt", {"prompt": asked, "scope": scope, **extra})
        if name == "entries":
            return _Target("entries", {}, _ids(given))
        if name == "scope":
            return _Target("scope", {"scope": given})
        if not isinstance(given, str) or not given:
            raise Fault(400, "malformed", f"{name}: expected a string, got {type(given).__name__}")
        if name == "tenant":
            return _Target(f"tenant:{given}", {"scope": self._scope_of(given)})
        return _Target(f"tag:{given}" if name == "tag" else "prompt", {name: given, **extra})

    def _scope_of(self, tenant: str) -> object:
        found = self.recents.scope_of(tenant)
        if found is None:
            raise Fault(
                404, "not_found", "expected a tenant that asked lately; invalidate takes a scope instead"
            )
        return found[0]


def _ids(given: object) -> list[int]:
    if not isinstance(given, list) or not 1 <= len(given) <= _MOST_IDS:
        raise Fault(400, "malformed", f"entries: expected a list of 1 to {_MOST_IDS} ids")
    if any(isinstance(i, bool) or not isinstance(i, int) or not 0 < i < 2**63 for i in given):
        raise Fault(400, "malformed", "entries: expected ids, whole numbers above 0")
    return sorted(set(given))
