"""An interrupt, a fork or a signal handler at any moment does a SemanticCache no harm."""

import contextlib
import os
import signal
import sys
import threading
from pathlib import Path

import pytest

import binary_semantic_cache
from binary_semantic_cache.text.policy import Policy
from binary_semantic_cache.text.semantic import SemanticCache
from binary_semantic_cache.text.verdict import Hit
from words import NoGuards, WordEmbedder

PACKAGE = str(Path(binary_semantic_cache.__file__).parent)
QUESTION = "what is the capital city of france"
NEAR = "what really is the capital city of france"
OTHERS = ["how many legs does a spider have", "who wrote the book about the whale", "where is the station"]
EMBEDDER = WordEmbedder()


def make(path=None) -> SemanticCache:
    return SemanticCache(
        path, embedder=EMBEDDER, guards=NoGuards(), policy=Policy(exact_only=()), threshold=0.8, max_entries=4
    )


def filled(path) -> SemanticCache:
    cache = make(path)
    for text in (QUESTION, *OTHERS):
        cache.put(text, f"answer to {text}", tags=["x"])
    cache.report(cache.lookup(NEAR))
    cache.put(QUESTION, f"answer to {QUESTION}")
    return cache


def interrupted(work, n: int) -> bool:
    """Does `work` with an interrupt at its n-th place; whether it got that far."""
    left = [n]

    def profile(frame, event, arg):
        if event != "c_call" and frame.f_code.co_filename.startswith(PACKAGE):
            left[0] -= 1
            if left[0] == 0:
                raise KeyboardInterrupt

    sys.setprofile(profile)
    try:
        work()
    except KeyboardInterrupt:
        return True
    finally:
        sys.setprofile(None)
    return False


def check(cache: SemanticCache) -> None:
    """Every answer is its own prompt's, the reported pair stays apart, and the cache goes on."""
    for text in (QUESTION, *OTHERS, "a new question about nothing"):
        verdict = cache.lookup(text)
        assert not verdict or verdict.response == f"answer to {text}"
        assert cache.get_or_compute(text, lambda text=text: f"answer to {text}") == f"answer to {text}"
    assert not isinstance(cache.lookup(NEAR), Hit)
    cache.put("the last question", "answer to the last question")
    assert cache.lookup("the last question").response == "answer to the last question"
    assert cache.lookup("oh the last question").response == "answer to the last question"
    assert len(cache) <= 5


WORK = {
    "a put that evicts": lambda cache: cache.put("something else", "answer to something else"),
    "a put that replaces": lambda cache: cache.put(OTHERS[0], f"answer to {OTHERS[0]}"),
    "a lookup": lambda cache: cache.lookup("how many legs does that spider have"),
    "a computation": lambda cache: cache.get_or_compute("a b c", lambda: "answer to a b c"),
    "a removal": lambda cache: cache.invalidate(tag="x"),
}


@pytest.mark.timeout(600)
@pytest.mark.filterwarnings("ignore::pytest.PytestUnraisableExceptionWarning")
@pytest.mark.parametrize("kind", ["memory", "sqlite"])
@pytest.mark.parametrize("name", WORK)
def test_an_interrupt_at_any_moment_of(name, kind, tmp_path):
    n = 1
    while True:
        cache = filled(None if kind == "memory" else tmp_path / f"{n}.db")
        reached = interrupted(lambda cache=cache: WORK[name](cache), n)
        error = []

        def guarded(cache=cache, error=error):
            try:
                check(cache)
            except BaseException as exc:
                error.append(exc)

        # In a thread of its own: a lock or a transaction left behind would stop it.
        thread = threading.Thread(target=guarded, daemon=True)
        thread.start()
        thread.join(20)
        assert not thread.is_alive(), n
        if error:
            raise error[0]
        cache.close()
        for path in tmp_path.iterdir():
            path.unlink()
        if not reached:
            break
        n += 1
    assert 20 < n < 3_000


@pytest.mark.filterwarnings("ignore:.*fork:DeprecationWarning")
def test_a_child_forked_while_others_look_up_can_look_up(tmp_path):
    cache, stop = filled(tmp_path / "c.db"), threading.Event()

    def work():
        while not stop.is_set():
            cache.lookup(OTHERS[0])
            cache.lookup("how many legs does that spider have")

    threads = [threading.Thread(target=work) for _ in range(3)]
    interval = sys.getswitchinterval()
    sys.setswitchinterval(1e-5)
    for thread in threads:
        thread.start()
    try:
        for _ in range(20):
            child = os.fork()
            if child == 0:
                signal.alarm(10)
                with contextlib.suppress(BaseException):
                    assert cache.lookup(OTHERS[1]).response == f"answer to {OTHERS[1]}"
                    cache.put("in the child", "answer")
                    os._exit(0)
                os._exit(1)
            assert os.waitpid(child, 0)[1] == 0
    finally:
        sys.setswitchinterval(interval)
        stop.set()
        for thread in threads:
            thread.join(30)
    cache.close()


def test_a_signal_handler_may_look_up():
    cache, seen = filled(None), []
    before = signal.signal(signal.SIGALRM, lambda *_: seen.append(cache.lookup(OTHERS[0])))
    signal.setitimer(signal.ITIMER_REAL, 0.0005, 0.0005)
    try:
        while len(seen) < 200:
            assert cache.lookup(OTHERS[1]).response == f"answer to {OTHERS[1]}"
            cache.put(OTHERS[2], f"answer to {OTHERS[2]}")
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, before)
    assert all(not verdict or verdict.response == f"answer to {OTHERS[0]}" for verdict in seen)
