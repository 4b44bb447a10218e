"""The budget on the admin's port: what it tells of classes, and the way to serve one again."""

import json
import logging

import httpx
import pytest

from binary_semantic_cache.text.budget import Budget
from watched import TOKEN, Watched, asking, serving, told

GIT = "How do I undo the last commit in git?"
GIT_TOO = "How can I undo the last commit in git?"


def judge(watched, name, *, right=0, wrong=0):
    """Judges so many hits of a class."""
    for is_right in [True] * right + [False] * wrong:
        watched.cache.budget.judged(name, right=is_right)


@pytest.fixture(params=["memory", "file"])
def watched(request, tmp_path):
    path = None if request.param == "memory" else tmp_path / "counts"
    # So small a sample audits nothing in a test.
    made = Watched(budget=Budget(max_wrong=0.05, sample=1e-9, confidence=0.9, path=path))
    made.put(GIT)
    judge(made, "m-1", wrong=9)
    judge(made, "m-2", right=30, wrong=1)
    judge(made, "m-3", right=40)
    return made


@pytest.fixture
def client(watched):
    with asking(watched.app) as made:
        yield made


def test_the_budget_is_told_class_by_class_those_that_were_stopped_first(watched, client):
    budget = told(client.get("/api/budget"))["budget"]
    assert (budget["max_wrong"], budget["sample"], budget["confidence"]) == (0.05, 1e-9, 0.9)
    assert [each["class"] for each in budget["classes"]] == ["m-1", "m-3", "m-2"]
    stopped, _, second = budget["classes"]
    assert (stopped["judged"], stopped["wrong"], stopped["stopped"]) == (9, 9, True)
    assert stopped["low"] > 0.05
    assert stopped["high"] == 1.0
    known = watched.cache.budget.classes()["m-2"]
    assert second == {
        "class": "m-2", "judged": 31, "wrong": 1, "low": known.low, "high": known.high, "stopped": False,
    }  # fmt: skip


def test_without_a_budget_there_is_none_and_nothing_to_reset():
    headers = {"authorization": f"Bearer {TOKEN}"}
    with (
        serving(Watched().app) as url,
        httpx.Client(base_url=url, headers=headers, trust_env=False) as client,
    ):
        assert told(client.get("/api/budget")) == {"budget": None}
        answer = told(client.post("/api/budget/reset", json={"class": "m-1"}), 404)
        assert "[cache.budget] configures one" in answer["error"]["message"]


def test_a_class_that_was_reset_is_served_again_and_the_others_stay(watched, client):
    assert watched.ask(GIT_TOO).reason == "budget"
    answer = told(client.post("/api/budget/reset", json={"class": "m-1"}))
    assert answer == {"class": "m-1", "was_stopped": True}
    assert watched.ask(GIT_TOO).outcome == "semantic"
    left = told(client.get("/api/budget"))["budget"]["classes"]
    assert [each["class"] for each in left] == ["m-3", "m-2"]
    assert told(client.post("/api/budget/reset", json={"class": "m-3"}))["was_stopped"] is False


@pytest.mark.parametrize(
    ("body", "status"),
    [({}, 400), ({"class": 5}, 400), ({"class": None}, 400), ({"class": "m-9"}, 404), ({"name": "m-1"}, 400)],
)
def test_what_names_no_class_resets_nothing(watched, client, body, status):
    told(client.post("/api/budget/reset", json=body), status)
    assert len(watched.cache.budget.classes()) == 3
    assert told(client.get("/api/audit"))["changes"] == []


def test_a_reset_is_written_down_with_what_it_forgot(client, caplog):
    caplog.set_level(logging.INFO, logger="binary_semantic_cache.proxy.admin.audit")
    told(client.post("/api/budget/reset", json={"class": "m-1"}))
    (change,) = told(client.get("/api/audit"))["changes"]
    assert (change["who"], change["action"], change["target"]) == ("bearer", "reset", "budget:m-1")
    assert change["outcome"] == "was stopped, 9 of 9 wrong"
    (line,) = [r.getMessage() for r in caplog.records if r.name.endswith("admin.audit")]
    assert f"target={json.dumps('budget:m-1')}" in line
