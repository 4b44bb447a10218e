"""What callers may ask for by header: `steering_of`."""

import pytest

from binary_semantic_cache.proxy.settings import CacheSettings, SteeringSettings
from binary_semantic_cache.proxy.steering import Steering, SteeringError, steering_of

LEAST = 0.82


def steered(
    *headers: tuple[bytes, bytes],
    settings: SteeringSettings = SteeringSettings(),  # noqa: B008 - frozen
    cache: CacheSettings = CacheSettings(),  # noqa: B008
) -> Steering:
    return steering_of(list(headers), settings, cache, LEAST)


def test_without_headers_a_request_looks_and_stores():
    plain = steered((b"accept", b"*/*"))
    assert plain == Steering()
    assert plain.looks
    assert plain.stores


@pytest.mark.parametrize(
    ("mode", "looks", "stores"),
    [
        (b"default", True, True),
        (b"exact", True, True),
        (b"refresh", False, True),
        (b"no-store", True, False),
        (b"bypass", False, False),
    ],
)
def test_each_mode_says_whether_it_looks_and_stores(mode: bytes, looks: bool, stores: bool):
    steering = steered((b"x-bsc-mode", mode))
    assert (steering.looks, steering.stores) == (looks, stores)


@pytest.mark.parametrize(
    ("value", "mode"),
    [
        (b"no-cache", "refresh"),
        (b"No-Store", "no-store"),
        (b"no-cache, no-store", "bypass"),
        (b"max-age=0", "default"),
    ],
)
def test_cache_control_is_understood(value: bytes, mode: str):
    assert steered((b"cache-control", value)).mode == mode


def test_the_mode_goes_before_cache_control():
    assert steered((b"cache-control", b"no-cache"), (b"x-bsc-mode", b"exact")).mode == "exact"


@pytest.mark.parametrize(("mode", "looks"), [(b"default", True), (b"exact", True), (b"refresh", False)])
def test_no_store_keeps_nothing_whatever_the_mode(mode: bytes, looks: bool):
    headers = ((b"cache-control", b"max-age=0, no-store"), (b"x-bsc-mode", mode))
    steering = steered(*headers)
    assert (steering.mode, steering.looks) == (mode.decode(), looks)
    assert steering.keeps_nothing
    assert not steering.stores
    assert steered(*headers, settings=SteeringSettings(modes=("default", "exact", "refresh"))).stores


@pytest.mark.parametrize(
    "header",
    [
        (b"x-bsc-mode", b"of"),
        (b"x-bsc-mode", b""),
        (b"x-bsc-mode", b"exact, bypass"),
        (b"x-bsc-ttl", b"soon"),
        (b"x-bsc-ttl", b"0"),
        (b"x-bsc-ttl", b"-1"),
        (b"x-bsc-ttl", b"nan"),
        (b"x-bsc-ttl", b"inf"),
        (b"x-bsc-threshold", b"1.5"),
        (b"x-bsc-threshold", b"0,9"),
        (b"x-bsc-scope", b"x" * 1025),
    ],
)
def test_a_malformed_header_is_an_error(header: tuple[bytes, bytes]):
    with pytest.raises(SteeringError, match=r"x-bsc-"):
        steered(header)


def test_no_message_repeats_what_the_header_said():
    with pytest.raises(SteeringError) as caught:
        steered((b"x-bsc-mode", b"canary"))
    assert "canary" not in str(caught.value)


def test_a_mode_that_is_not_allowed_is_an_error():
    with pytest.raises(SteeringError, match="not allowed"):
        steered((b"x-bsc-mode", b"bypass"), settings=SteeringSettings(modes=("default", "exact")))


def test_a_browsers_cache_control_is_no_way_round_the_allowed_modes():
    settings = SteeringSettings(modes=("default",))
    assert steered((b"cache-control", b"no-cache"), settings=settings).mode == "default"


def test_a_time_to_live_is_clamped_to_the_configurations():
    cache = CacheSettings(ttl_seconds=60.0)
    assert steered((b"x-bsc-ttl", b"30"), cache=cache).ttl_seconds == 30.0
    assert steered((b"x-bsc-ttl", b"3600"), cache=cache).ttl_seconds == 60.0
    longer = SteeringSettings(max_ttl_seconds=600.0)
    assert steered((b"x-bsc-ttl", b"3600"), cache=cache, settings=longer).ttl_seconds == 600.0


def test_a_threshold_may_only_be_stricter_than_the_configurations():
    assert steered((b"x-bsc-threshold", b"0.95")).threshold == 0.95
    assert steered((b"x-bsc-threshold", b"0.5")).threshold == LEAST
    looser = SteeringSettings(min_threshold=0.7)
    assert steered((b"x-bsc-threshold", b"0.5"), settings=looser).threshold == 0.7


def test_switched_off_no_header_is_even_read():
    assert steered((b"x-bsc-mode", b"of"), settings=SteeringSettings(enabled=False)) == Steering()
