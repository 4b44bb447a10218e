"""What the admin's page knows of requests: the last ones with their content, the rest as tallies."""

import logging
import threading
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Final

from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.proxy.observe import Record
from binary_semantic_cache.proxy.watching.tallies import Tally
from binary_semantic_cache.stores import Saving
from binary_semantic_cache.text.clock import Clock

__all__ = ["EntryUse", "Recents"]

_logger = logging.getLogger(__name__)

_MINUTES = 24 * 60
_MOST_ENTRIES = 2048
_MOST_TENANTS = 1024
_SHOWN_CHARS = 300


@dataclass(slots=True)
class EntryUse:
    """What one entry was good for since this process began."""

    prompt: str = ""
    """Its beginning."""
    hits: int = 0
    saved: Saving = field(default_factory=Saving)
    last_used: float = 0.0
    """Seconds since the epoch."""


class Recents:
    """Remembers requests within bounds; a `Watcher` by its method `watch`.

    Used by any number of threads. All of it is in memory and gone with the process.

    Args:
        max_records: of the last requests.
        max_content_bytes: of their prompts and contexts; beyond it the oldest keep their figures alone.
        now: seconds since the epoch; must not go back.
    """

    def __init__(
        self,
        *,
        max_records: int = 500,
        max_content_bytes: int = 8 * 2**20,
        now: Callable[[], float] | None = None,
    ) -> None:
        self._now: Final = Clock().now if now is None else now
        self._max_records = max_records
        self._max_content_bytes = max_content_bytes
        self.lock = threading.RLock()
        keep_over_fork(self)
        self.began_at = self._now()
        self._last_number = 0
        self._records: dict[int, Record] = {}
        self._contents: deque[tuple[int, int]] = deque()
        self._content_bytes = 0
        self._minutes: dict[int, Tally] = {}
        self._all = Tally()
        self._entries: dict[int, EntryUse] = {}
        self._tenants: dict[str, object] = {}

    def after_fork_in_child(self) -> None:
        """Nothing is under way: whoever counted let the lock go before the fork."""

    def watch(self, record: Record) -> None:
        """Remembers one request; never raises."""
        try:
            self._remember(record)
        except Exception as exc:  # the request was answered: what is told of it may not fail it
            _logger.warning("a request was not remembered: %s", type(exc).__name__)

    def _remember(self, record: Record) -> None:
        minute = int(self._now() // 60)
        size = _content_bytes(record)
        with self.lock:
            self._last_number += 1
            self._records[self._last_number] = record
            if size:
                self._contents.append((self._last_number, size))
                self._content_bytes += size
            self._shed()
            if minute not in self._minutes:
                self._minutes[minute] = Tally()
                for old in [m for m in self._minutes if m <= minute - _MINUTES]:
                    del self._minutes[old]
            self._minutes[minute].add(record)
            self._all.add(record)
            if record.entry_id is not None and record.outcome in ("exact", "semantic"):
                self._use(record.entry_id, record)
            if record.tenant and record.scope is not None:
                self._tenants.pop(record.tenant, None)
                self._tenants[record.tenant] = record.scope
                if len(self._tenants) > _MOST_TENANTS:
                    del self._tenants[next(iter(self._tenants))]

    def _shed(self) -> None:
        while len(self._records) > self._max_records:
            del self._records[next(iter(self._records))]
        first = next(iter(self._records))
        while self._contents and (
            self._content_bytes > self._max_content_bytes or self._contents[0][0] < first
        ):
            number, size = self._contents.popleft()
            self._content_bytes -= size
            if number in self._records:
                bare = replace(self._records[number], request=None, prompt=None)
                self._records[number] = bare

    def _use(self, entry_id: int, record: Record) -> None:
        use = self._entries.get(entry_id)
        if use is None:
            if len(self._entries) >= _MOST_ENTRIES:
                # Half of them at once: sorting for each new one would cost every hit.
                kept = sorted(self._entries.items(), key=lambda item: (item[1].hits, item[1].last_used))
                self._entries = dict(kept[_MOST_ENTRIES // 2 :])
            use = self._entries[entry_id] = EntryUse()
        if record.prompt is not None:
            use.prompt = record.prompt[:_SHOWN_CHARS]
        use.hits += 1
        use.last_used = record.began_at
        if record.saved is not None:
            before, more = use.saved, record.saved
            use.saved = Saving(
                before.input_tokens + more.input_tokens,
                before.output_tokens + more.output_tokens,
                before.cost + more.cost,
                before.seconds + more.seconds,
            )

    def listed(
        self, limit: int, *, before: int | None = None, outcome: str | None = None
    ) -> list[tuple[int, Record]]:
        """Up to `limit` requests under their numbers, the newest first.

        Args:
            limit: the most to give.
            before: only those of a lower number.
            outcome: only those that became this.
        """
        with self.lock:
            found = [
                (number, record)
                for number, record in reversed(self._records.items())
                if (before is None or number < before) and (outcome is None or record.outcome == outcome)
            ]
        return found[:limit]

    def find(self, number: int) -> Record | None:
        """The request of this number, if it is still remembered."""
        with self.lock:
            return self._records.get(number)

    def scope_of(self, tenant: str) -> tuple[object] | None:
        """The cache's `scope` of a tenant that asked lately, in a tuple; `None` if none such did."""
        with self.lock:
            return (self._tenants[tenant],) if tenant in self._tenants else None

    def used_entries(self) -> dict[int, EntryUse]:
        """What each entry was good for; of the most used ones, if there are very many."""
        with self.lock:
            return {entry_id: replace(use) for entry_id, use in self._entries.items()}

    def tally(self, minutes: int | None = None) -> Tally:
        """All of the last `minutes`, the one under way included; all since the start if left out."""
        whole = Tally()
        first = 0 if minutes is None else int(self._now() // 60) - minutes + 1
        with self.lock:
            if minutes is None:
                whole.merge(self._all)
            for minute, tally in self._minutes.items():
                if minutes is not None and minute >= first:
                    whole.merge(tally)
        return whole

    def series(self, minutes: int, points: int) -> list[tuple[float, Tally]]:
        """The last `minutes` in `points` equal parts: when each begins, and its tally; the oldest first.

        Args:
            minutes: a multiple of `points`.
            points: how many.
        """
        step = minutes // points
        last = int(self._now() // 60)
        # Parts begin at multiples of their length, so that a minute does not wander from one to the next.
        first = (last // step - points + 1) * step
        parts = [(60.0 * (first + i * step), Tally()) for i in range(points)]
        with self.lock:
            for minute, tally in self._minutes.items():
                if first <= minute <= last:
                    parts[(minute - first) // step][1].merge(tally)
        return parts


def _content_bytes(record: Record) -> int:
    """What the content of a record takes, in characters or bytes."""
    request = 0 if record.request is None else len(record.request.text) + len(record.request.context)
    return request + len(record.prompt or "")
