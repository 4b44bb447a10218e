"""Nobody finds the admin's token by trying: who sends wrong ones is not listened to for a while."""

import logging

import httpx
import pytest

from binary_semantic_cache.proxy.admin.guesses import MOST_GUESSES, Guesses
from watched import TOKEN, Watched, serving


class Clock:
    def __init__(self):
        self.seconds = 1000.0

    def __call__(self):
        return self.seconds


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def client():
    with serving(Watched().app) as url, httpx.Client(base_url=url, trust_env=False) as made:
        yield made


def guess(guesses, n, address="10.0.0.1", first=0):
    """`n` wrong tokens, no two alike; what was said of each."""
    return [guesses.wrong(address, b"%d" % number) for number in range(first, first + n)]


def bearer(token):
    return {"authorization": f"Bearer {token}"}


# The count


def test_ten_wrong_tokens_in_a_minute_are_the_last_for_now(clock):
    guesses = Guesses(repeats=True, now=clock)
    assert guess(guesses, 9) == [False] * 9
    assert guesses.wait_seconds("10.0.0.1") == 0
    assert guess(guesses, 1, first=9) == [True]
    assert guesses.wait_seconds("10.0.0.1") == 60
    clock.seconds += 59.5
    assert guesses.wait_seconds("10.0.0.1") == 1
    clock.seconds += 0.5
    assert guesses.wait_seconds("10.0.0.1") == 0


def test_over_a_long_time_no_more_than_ten_a_minute_are_looked_at(clock):
    guesses, looked_at = Guesses(repeats=True, now=clock), 0
    for number in range(6000):
        if not guesses.wait_seconds("10.0.0.1"):
            guesses.wrong("10.0.0.1", b"%d" % number)
            looked_at += 1
        clock.seconds += 0.1
    assert looked_at == 10 * MOST_GUESSES


def test_who_guesses_shuts_nobody_else_out(clock):
    guesses = Guesses(repeats=True, now=clock)
    guess(guesses, 10)
    assert guesses.wait_seconds("10.0.0.1") > 0
    assert guesses.wait_seconds("::ffff:10.0.0.1") > 0
    assert guesses.wait_seconds("10.0.0.2") == 0


def test_addresses_that_one_machine_can_have_are_one(clock):
    guesses = Guesses(repeats=True, now=clock)
    for number in range(10):
        guess(guesses, 1, f"2001:db8:0:1::{number + 1:x}")
    assert guesses.wait_seconds("2001:db8:0:1:ffff::") > 0
    assert guesses.wait_seconds("2001:db8:0:2::1") == 0


def test_the_same_wrong_token_counts_once_where_repeats_do_not(clock):
    guesses = Guesses(repeats=False, now=clock)
    for _ in range(100):
        assert not guesses.wrong("10.0.0.1", b"old")
    assert guesses.wait_seconds("10.0.0.1") == 0
    assert guess(guesses, 9)[-1]
    assert guesses.wait_seconds("10.0.0.1") > 0


def test_what_is_remembered_is_bounded_whatever_comes(clock):
    guesses = Guesses(repeats=True, now=clock)
    for machine in range(3000):
        guess(guesses, 12, f"10.1.{machine // 250}.{machine % 250}")
    assert len(guesses._wrong) == 1024
    assert max(map(len, guesses._wrong.values())) == MOST_GUESSES
    # What was heard of last is what is remembered.
    assert guesses.wait_seconds("10.1.11.249") > 0


def test_a_name_in_the_place_of_an_address_is_counted_too(clock):
    guesses = Guesses(repeats=True, now=clock)
    guess(guesses, 10, "")
    assert guesses.wait_seconds("") > 0


# The port


def test_at_the_form_ten_wrong_tokens_and_then_none_is_looked_at(client, caplog):
    caplog.set_level(logging.WARNING)
    answers = [client.post("/login", data={"token": "wrong"}) for _ in range(10)]
    assert [answer.status_code for answer in answers] == [401] * 10
    for token in ("wrong", TOKEN):
        answer = client.post("/login", data={"token": token})
        assert answer.status_code == 429
        assert 1 <= int(answer.headers["retry-after"]) <= 60
        assert f"Try again in {answer.headers['retry-after']} seconds." in answer.text
        assert "set-cookie" not in answer.headers
    (line,) = [r.getMessage() for r in caplog.records if r.name.endswith("admin.doors")]
    assert line == "10 wrong admin tokens from 127.0.0.1 in a minute: more are not looked at"


def test_programs_with_the_token_and_sessions_go_on_meanwhile(client):
    assert client.post("/login", data={"token": TOKEN}).status_code == 303
    for _ in range(12):
        client.post("/login", data={"token": "wrong"})
    assert client.get("/api/summary").status_code == 200
    client.cookies.clear()
    assert client.get("/api/summary", headers=bearer(TOKEN)).status_code == 200


def test_refusals_of_the_form_do_not_drive_changes_out_of_the_audit(client):
    for _ in range(30):
        client.post("/login", data={"token": "wrong"})
    changes = client.get("/api/audit?limit=100", headers=bearer(TOKEN)).json()["changes"]
    assert len(changes) == MOST_GUESSES


def test_ten_different_wrong_bearers_and_then_none_is_looked_at(client):
    for number in range(10):
        assert client.get("/api/summary", headers=bearer(f"wrong {number}")).status_code == 401
    for token in ("wrong 10", TOKEN):
        answer = client.get("/api/summary", headers=bearer(token))
        assert answer.status_code == 429
        assert answer.json()["error"]["type"] == "too_many_guesses"
        assert 1 <= int(answer.headers["retry-after"]) <= 60
    # Somebody at the form is somebody else.
    assert client.post("/login", data={"token": TOKEN}).status_code == 303
    assert client.get("/api/summary").status_code == 200


def test_a_program_with_an_old_token_closes_nothing(client):
    for _ in range(30):
        assert client.get("/api/summary", headers=bearer("an-old-token")).status_code == 401
    assert client.get("/api/summary", headers=bearer(TOKEN)).status_code == 200
