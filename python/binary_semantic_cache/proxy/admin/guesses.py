"""Wrong tokens of late, by who sent them, so that none can be found by trying.

The count is by address: whoever guesses shuts nobody else out. Memory is bounded, whatever comes: so many
addresses, so many guesses each; of more addresses the ones heard of longest ago are forgotten.
"""

import ipaddress
import math
from collections import OrderedDict, deque
from collections.abc import Callable
from time import monotonic
from typing import Final

__all__ = ["MOST_GUESSES", "Guesses"]

MOST_GUESSES: Final = 10
"""Wrong tokens from one address in a minute; with these no other is looked at, right or wrong."""
_SECONDS: Final = 60.0
_MOST_ADDRESSES: Final = 1024
_HOST_BITS: Final = 64
"""Of an IPv6 address: one machine has all that begin alike."""


class Guesses:
    """Counts wrong tokens.

    Args:
        repeats: whether the same wrong token counts again. A program with an old token sends it for ever and
            learns nothing by it; a person at a form hardly does that.
        now: seconds that only grow.
    """

    def __init__(self, *, repeats: bool, now: Callable[[], float] = monotonic) -> None:
        self._repeats = repeats
        self._now = now
        self._wrong: OrderedDict[str, deque[tuple[float, bytes]]] = OrderedDict()

    def wait_seconds(self, address: str) -> int:
        """How long a token of this address is not looked at; 0 if it is."""
        recent = self._recent(_machine(address))
        if recent is None or len(recent) < MOST_GUESSES:
            return 0
        return max(1, math.ceil(recent[0][0] + _SECONDS - self._now()))

    def wrong(self, address: str, digest: bytes) -> bool:
        """Notes a wrong token by its digest; whether it is the last for now."""
        machine = _machine(address)
        recent = self._recent(machine)
        if recent is None:
            recent = self._wrong[machine] = deque(maxlen=MOST_GUESSES)
            if len(self._wrong) > _MOST_ADDRESSES:
                self._wrong.popitem(last=False)
        if not self._repeats and any(digest == known for _, known in recent):
            return False
        recent.append((self._now(), digest))
        self._wrong.move_to_end(machine)
        return len(recent) == MOST_GUESSES

    def _recent(self, machine: str) -> deque[tuple[float, bytes]] | None:
        """The guesses of the last minute."""
        recent = self._wrong.get(machine)
        if recent is None:
            return None
        while recent and recent[0][0] + _SECONDS <= self._now():
            recent.popleft()
        if not recent:
            del self._wrong[machine]
            return None
        return recent


def _machine(address: str) -> str:
    """What stands for the machine of an address."""
    try:
        parsed = ipaddress.ip_address(address)
    except ValueError:
        return address
    if isinstance(parsed, ipaddress.IPv6Address):
        if parsed.ipv4_mapped is not None:
            return str(parsed.ipv4_mapped)
        return str(int(parsed) >> _HOST_BITS)
    return str(parsed)
