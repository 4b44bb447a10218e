"""What stands over a semantic hit: the budget, the learned policy, and whether anything is served at all.

Each may hold a hit back. What was held back to be asked anew is remembered until the new answer is put, and
then the two are compared in the background.
"""

import threading
from collections import OrderedDict
from dataclasses import dataclass
from time import monotonic
from typing import Any, Final, NamedTuple

from binary_semantic_cache.fork import keep_over_fork
from binary_semantic_cache.text.background import Background
from binary_semantic_cache.text.budget import LiveBudget
from binary_semantic_cache.text.canonical import JSON
from binary_semantic_cache.text.judging import AnswerJudge
from binary_semantic_cache.text.learned import LearnedPolicy, Outlook
from binary_semantic_cache.text.request import Request
from binary_semantic_cache.text.verdict import Candidate, Hit, Miss, MissReason, Verdict

__all__ = ["Oversight", "Question"]

_REMEMBERED: Final = 1024
_REMEMBERED_SECONDS: Final = 600.0
"""An answer that comes later may be of another day."""


class Question(NamedTuple):
    """A request as the oversight takes it."""

    key: bytes
    text: str
    prompt: str | Request
    scope: JSON


@dataclass(frozen=True, slots=True)
class _Trial:
    """A hit whose answer is to be compared with the one that will be put."""

    hit: Hit
    class_name: str | None
    """To be counted in the budget of this class."""
    learns: bool
    until: float


class Oversight:
    """Holds semantic hits back, and judges some of them.

    Args:
        shadow: nothing is served.
        budget: `None` for none.
        learned: `None` for none.
    """

    def __init__(
        self, *, shadow: bool = False, budget: LiveBudget | None = None, learned: LearnedPolicy | None = None
    ) -> None:
        self._shadow = shadow
        self._budget = budget
        self._learned = learned
        self._judging = None if budget is None else Background(budget.settings.per_minute)
        self._learning = None if learned is None else Background(learned.per_minute)
        self._trials: OrderedDict[bytes, _Trial] = OrderedDict()
        self.lock = threading.RLock()
        keep_over_fork(self)

    def after_fork_in_child(self) -> None:
        """Nothing is under way: whoever remembered let the lock go before the fork."""

    @property
    def is_shadow(self) -> bool:
        """Whether nothing is served."""
        return self._shadow

    def stopped(self, question: Question) -> Miss | None:
        """The miss of a request whose class has spent its budget."""
        if self._budget is None:
            return None
        name = self._budget.class_of(question.prompt, question.scope)
        return Miss(MissReason.BUDGET, None, name) if self._budget.is_stopped(name) else None

    def held_back(
        self, question: Question, hit: Hit, nearest: Candidate | None, *, will_put: bool = True
    ) -> Miss | None:
        """The miss that a semantic hit has to become; `None` where it may be served.

        Args:
            question: the request.
            hit: what would be served.
            nearest: its candidate.
            will_put: whether the new answer would be put: one that is not is never judged, so that asking
                for it would cost its price for nothing.
        """
        class_name = None
        if self._learned is not None and not self._learned.choose(hit.entry_id, hit.similarity).serve:
            if will_put:
                self._remember(question, hit, None, learns=True)
            return Miss(MissReason.LEARNING, nearest)
        if will_put and self._budget is not None and self._budget.draws():
            class_name = self._budget.class_of(question.prompt, question.scope)
            if self._budget.settings.ask is not None and not self._shadow:
                self._ask_anew(question, hit, class_name)
            elif self._judging is not None and self._judging.has_room():
                # Beyond what is judged in a minute nobody is sent to the model for nothing.
                self._remember(question, hit, class_name, learns=False)
                return None if self._shadow else Miss(MissReason.AUDIT, nearest)
        return None

    def outlook(self, verdict: Verdict) -> Outlook | None:
        """What the learned policy makes of a hit by meaning; `None` without one."""
        if self._learned is None or not isinstance(verdict, Hit) or verdict.kind != "semantic":
            return None
        return self._learned.outlook(verdict.entry_id, verdict.similarity)

    def explained(
        self, question: Question, verdict: Verdict, outlook: Outlook | None, nearest: Candidate | None
    ) -> Verdict:
        """What becomes of a verdict, as far as it is not left to chance.

        Args:
            question: the request.
            verdict: without any oversight.
            outlook: of the learned policy on it.
            nearest: the candidate that came nearest.
        """
        if isinstance(verdict, Hit) and verdict.kind == "semantic":
            stopped = self.stopped(question)
            if stopped is not None:
                verdict = stopped
            elif outlook is not None and outlook.served == 0.0:
                verdict = Miss(MissReason.LEARNING, nearest)
        return self.shadowed(verdict)

    def shadowed(self, verdict: Verdict) -> Verdict:
        """The verdict, or in shadow mode the miss that tells of a hit."""
        if self._shadow and isinstance(verdict, Hit):
            return Miss(MissReason.SHADOW, None, verdict.kind, verdict)
        return verdict

    def answered(self, question: Question, answer: object) -> None:
        """Takes the answer that was put for a request; if it was awaited it is judged in the background."""
        if not self._trials:
            return
        with self.lock:
            trial = self._trials.pop(question.key, None)
        if trial is None or trial.until < monotonic():
            return
        if trial.learns and self._learned is not None and self._learning is not None:
            learned, judge = self._learned, self._learned.judge

            def learn() -> None:
                right = _judged(judge, question, trial.hit, answer)
                if right is not None:
                    learned.observe(trial.hit.entry_id, trial.hit.similarity, right=right)

            self._learning.take(learn)
        name = trial.class_name
        if name is not None and self._judging is not None:
            self._judging.take(lambda: self._count(question, trial.hit, answer, name))

    def settle(self, timeout_seconds: float) -> bool:
        """Waits until nothing is left to be judged; whether that came in time."""
        deadline = monotonic() + timeout_seconds
        in_time = True
        for work in (self._judging, self._learning):
            if work is not None:
                in_time = work.settle(max(0.0, deadline - monotonic())) and in_time
        return in_time

    def close(self) -> None:
        """Judges no more."""
        for work in (self._judging, self._learning):
            if work is not None:
                work.close()

    def _ask_anew(self, question: Question, hit: Hit, class_name: str) -> None:
        assert self._budget is not None
        assert self._judging is not None
        ask = self._budget.settings.ask
        assert ask is not None
        self._judging.take(lambda: self._count(question, hit, ask(question.prompt), class_name))

    def _count(self, question: Question, hit: Hit, answer: Any, class_name: str) -> None:
        assert self._budget is not None
        right = _judged(self._budget.settings.judge, question, hit, answer)
        if right is not None:
            self._budget.judged(class_name, right=right)

    def _remember(self, question: Question, hit: Hit, class_name: str | None, *, learns: bool) -> None:
        trial = _Trial(hit, class_name, learns, monotonic() + _REMEMBERED_SECONDS)
        with self.lock:
            self._trials[question.key] = trial
            self._trials.move_to_end(question.key)
            if len(self._trials) > _REMEMBERED:
                self._trials.popitem(last=False)


def _judged(judge: AnswerJudge, question: Question, hit: Hit, answer: object) -> bool | None:
    said = judge(question.text, hit.prompt, answer, hit.response)
    return None if said is None else bool(said)
