"""The load of the proxy's benchmark: it counts what was answered, and takes no wrong answer."""

import random

import pytest
from benches.proxy.load import Measured, WrongReplyError, drive
from benches.proxy.questions import ask, said
from benches.proxy.timing import kolmogorov_smirnov

from model_misdeeds import answers, drip
from model_server import ModelServer


@pytest.fixture
def model():
    with ModelServer(keys={"sk-bench": "bench"}) as made:
        yield made


@pytest.mark.parametrize("connections", [1, 7])
def test_it_asks_as_often_as_it_may_and_times_each(model, connections):
    measured = drive(model.port, ask, said, connections=connections, seconds=60, most=20, first=100)
    assert len(measured.latencies) == model.calls == 20
    numbers = sorted(asked.json()["messages"][0]["content"] for asked in model.asked)
    assert numbers[0] == "Tell me something about the number 100, please."
    assert 0 < measured.quantile(0.5) <= measured.quantile(0.99) <= measured.seconds


def test_replies_in_chunks_and_in_drops_are_read_to_their_end(model):
    model.will(drip)
    assert len(drive(model.port, ask, said, connections=1, seconds=60, most=2).latencies) == 2

    def ends(_, reply):
        assert reply.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n")

    streamed = drive(model.port, lambda n: ask(n, stream=True), ends, connections=1, seconds=60, most=3)
    assert len(streamed.latencies) == 3


def test_a_wrong_reply_ends_the_run(model):
    model.will(answers(200, {"choices": []}))
    with pytest.raises(WrongReplyError, match="request 0"):
        drive(model.port, ask, said, connections=1, seconds=60, most=2)


def test_quantiles_are_those_of_the_latencies():
    measured = Measured(2.0, [float(n) for n in range(1001)])
    assert measured.quantile(0.5) == pytest.approx(500)
    assert measured.quantile(0.99) == pytest.approx(990)
    assert measured.per_second == 500.5


def test_two_samples_of_one_distribution_are_told_from_two():
    rng = random.Random(3)
    one, same = ([rng.gauss(0, 1) for _ in range(2000)] for _ in range(2))
    other = [rng.gauss(0.2, 1) for _ in range(2000)]
    assert kolmogorov_smirnov(one, same)[1] > 0.01
    assert kolmogorov_smirnov(one, other)[1] < 1e-4
    assert kolmogorov_smirnov([1.0, 1.0], [1.0, 1.0]) == (0.0, 1.0)
