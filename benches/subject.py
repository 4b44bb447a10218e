"""What every subject is given: how hard to work, and the published package if it is there."""

from collections.abc import Mapping
from dataclasses import dataclass

from benches.harness import Effort
from benches.published import NAME, Published

__all__ = ["Setting"]


@dataclass(frozen=True, slots=True)
class Setting:
    """One run's circumstances."""

    effort: Effort
    smoke: bool
    """Small sizes, to see that everything runs and agrees; the times mean nothing."""
    published: Published | None
    why_unpublished: str = ""

    def size(self, full: int, smoke: int) -> int:
        """`full`, or `smoke` in a smoke run."""
        return smoke if self.smoke else full

    @property
    def missing(self) -> Mapping[str, str]:
        """For `Case.missing`: the published package with the reason why it is not there, if it is not."""
        return {} if self.published else {NAME: f"not available: {self.why_unpublished}"}
