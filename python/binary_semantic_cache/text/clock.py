"""The time, never going back."""

from time import monotonic, time

__all__ = ["Clock"]


class Clock:
    """Seconds since the epoch that go on by the monotonic clock where the wall clock is set back.

    So nothing that has expired in this process comes back. A wall clock that jumps ahead is believed: entries
    expire early, never late.
    """

    __slots__ = ("_last",)

    def __init__(self) -> None:
        self._last = (time(), monotonic())

    def now(self) -> float:
        """The time now."""
        wall, elapsed = time(), monotonic()
        last_wall, last_elapsed = self._last
        least = last_wall + (elapsed - last_elapsed)
        if wall < least:
            return least
        # One assignment: a thread in between sees the pair before or the pair after.
        self._last = (wall, elapsed)
        return wall
