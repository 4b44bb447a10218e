"""`Policy`: commands, questions about this moment and about the asker are told from the rest."""

import re
import time
import tomllib
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.errors import (
    CorruptFileError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
)
from binary_semantic_cache.text.policy import Policy

POLICY = Policy()
SHIPPED = files("binary_semantic_cache.text") / "tables" / "policy.toml"

ACTIONS = [
    "Cancel my order",
    "Please cancel the order from Monday.",
    "hey, could you please send an email to Dana",
    "Transfer 50 euros to my sister",
    "pay my water bill",
    "Delete my account!",
    "I want to cancel my membership",
    "Book a room for two nights",
    "I lost patience. Cancel my order. How do I complain?",
    "remind me to feed the cat",
]

FRESH = [
    "Is it raining right now?",
    "What is the current price of copper?",
    "what time is it in Lima",
    "What\u2019s the weather in Oslo",
    "Who is winning the match tonight?",
    "Latest news on the strike",
    "What is the latest version of the kernel?",
    "How do I get to the harbour today?",
]

PERSONAL = [
    "What is my balance?",
    "Where is my parcel",
    "How much do I owe?",
    "Show my transactions of May",
    "When is my appointment?",
    "What's the status of my refund?",
    "Track order 90210",
    "Write to jo.doe+x@mail.example.org about it",
    "Call +44 20 7946 0958",
    "Is 4111 1111 1111 1111 blocked?",
    "The IBAN is GB82 WEST 1234 5698 7654 32",
    "My number is 078-05-1120",
    "Look at 9876543210",
]

STABLE = [
    "How do I cancel my subscription?",
    "How do I reset my password?",
    "How can I delete my account",
    "I'd like to cancel my plan, what steps do I take?",
    "Is it possible to change my address online?",
    "How do I cancel an order that I placed yesterday?",
    "Who wrote the Iliad?",
    "What is a book?",
    "Can I pay in instalments?",
    "Order of operations in algebra",
    "Cancel culture",
    "What does 1,000,000,000 mean in words?",
    "What happened between 1914 and 1918 - 1919?",
    "Version 3.11.7 or 3.12.0?",
    "2020-01-31 10:30:00",
    "Knowledge is power",
    "a @ b, @home and x@y",
    "",
    "   ",
]


@pytest.mark.parametrize("text", ACTIONS)
def test_a_command_is_an_action(text: str) -> None:
    assert "action" in POLICY.classify(text)


@pytest.mark.parametrize("text", FRESH)
def test_a_question_about_this_moment_is_one_of_freshness(text: str) -> None:
    assert "freshness" in POLICY.classify(text)


@pytest.mark.parametrize("text", PERSONAL)
def test_a_question_about_the_asker_is_personal(text: str) -> None:
    assert "personal" in POLICY.classify(text)


@pytest.mark.parametrize("text", STABLE)
def test_a_question_with_a_lasting_answer_is_of_no_class(text: str) -> None:
    assert POLICY.classify(text) == frozenset()


@pytest.mark.parametrize("text", [*ACTIONS, *FRESH, *PERSONAL, *STABLE])
def test_case_and_outer_whitespace_do_not_matter(text: str) -> None:
    assert POLICY.classify(f"  {text.upper()} ") == POLICY.classify(text.lower())


def test_only_the_asked_classes_count() -> None:
    policy = Policy(exact_only=["freshness"])
    assert policy.exact_only == {"freshness"}
    assert policy.classify("Cancel my order today") == {"freshness"}
    assert policy.classify("Call +44 20 7946 0958") == frozenset()
    assert Policy(exact_only=[]).classify("Cancel my order today") == frozenset()


def test_phrases_can_be_added() -> None:
    policy = Policy(extend={"freshness": ["lunch menu", "^ dish of the {own} $"]})
    assert policy.classify("What is on the lunch menu?") == {"freshness"}
    assert policy.classify("please dish of the account") == {"freshness"}
    assert policy.classify("dish of the account holder") == frozenset()
    assert "action" in policy.classify("Cancel my order")


def test_a_class_can_be_added() -> None:
    policy = Policy(exact_only=["legal"], extend={"legal": ["sue ... them"]})
    assert policy.classify("Can I sue all of them?") == {"legal"}
    assert policy.classify("Can I sue one two three four five them?") == frozenset()


TABLE = """
openers = ["please"]
how_to = ["how to"]
[sets]
pet = ["cat", "guinea pig"]
[classes.pets]
always = ["{pet} please? now", "tag #"]
unless_how_to = ["feed the {pet}"]
"""


def test_a_table_can_be_replaced(tmp_path: Path) -> None:
    path = tmp_path / "table.toml"
    path.write_text(TABLE)
    policy = Policy(exact_only=["pets"], table=path)
    for text in ("guinea pig now", "the cat please now", "feed the cat", "tag a1234"):
        assert policy.classify(text) == {"pets"}
    for text in ("how to feed the cat", "guinea now", "pig now", "cat. now", "tag 123", "Cancel my order"):
        assert policy.classify(text) == frozenset()


def test_the_shipped_table_says_nothing_twice_and_nothing_in_vain() -> None:
    table = tomllib.loads(SHIPPED.read_text())
    lists = [table["how_to"], *table["sets"].values()]
    for rules in table["classes"].values():
        lists += [rules["always"], rules["unless_how_to"]]
    assert all(len(set(listed)) == len(listed) for listed in lists)
    named = {name for listed in lists for phrase in listed for name in re.findall(r"[{|](\w+)", phrase)}
    assert named == table["sets"].keys()


@pytest.mark.parametrize(
    "line",
    [
        "[classes.b]\nalways = ['{none}']",
        "[classes.b]\nalways = ['Word']",
        "[sets]\na = [1]\n[classes.b]",
        "[sets]\na = ['^ x']\n[classes.b]\nalways = ['{a}']",
        "[sets]\na = ['x. y']\n[classes.b]\nalways = ['{a}']",
        "[sets]\na = ['']\n[classes.b]\nalways = ['{a}']",
    ],
)
def test_a_table_that_names_no_set_or_no_words_is_refused(tmp_path: Path, line: str) -> None:
    path = tmp_path / "table.toml"
    path.write_text(line)
    with pytest.raises((InvalidValueError, CorruptFileError)):
        Policy(exact_only=["b"], table=path)


def test_remembered_places_are_forgotten_when_they_are_too_many(monkeypatch: pytest.MonkeyPatch) -> None:
    texts = [*ACTIONS, *FRESH, *PERSONAL, *STABLE]
    expected = [POLICY.classify(text) for text in texts]
    monkeypatch.setattr("binary_semantic_cache.text.phrases._MOST_STATES", 3)
    policy = Policy()
    for _ in range(2):
        assert [policy.classify(text) for text in texts] == expected
        assert len(policy._phrases._states) <= 3


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("x = [", "not TOML"),
        ("x = 1", "unknown key 'x'"),
        ("openers = ['a']", "expected classes"),
        ("classes = 3", "classes: expected a table"),
        ("[classes]\na = 3", "classes.a"),
        ("[classes.a]\nsometimes = ['x']", "classes.a"),
        ("[classes.a]\nalways = 'x'", "classes.a.always"),
        ("[classes.a]\nidentifiers = 1", "classes.a.identifiers"),
        ("how_to = [1]\n[classes.a]", "how_to"),
    ],
)
def test_a_malformed_table_is_named(tmp_path: Path, content: str, message: str) -> None:
    path = tmp_path / "table.toml"
    path.write_text(content)
    with pytest.raises(CorruptFileError) as caught:
        Policy(table=path)
    assert message in str(caught.value)
    assert str(path) in str(caught.value)


def test_a_missing_table_is_named(tmp_path: Path) -> None:
    with pytest.raises(MissingFileError, match="no such table"):
        Policy(table=tmp_path / "none.toml")


@pytest.mark.parametrize(
    "phrase",
    ["", "^", "$", "... a", "# a", "a? b", "{nothing} a", "{own a", "a ... ... ... b", "a b! c", "a " * 13],
)
def test_a_malformed_phrase_is_refused(phrase: str) -> None:
    with pytest.raises(InvalidValueError):
        Policy(extend={"action": [phrase]})


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        ({"exact_only": "action"}, InvalidTypeError),
        ({"exact_only": [1]}, InvalidTypeError),
        ({"exact_only": 1}, InvalidTypeError),
        ({"exact_only": ["weather"]}, InvalidValueError),
        ({"extend": {"action": "sue"}}, InvalidTypeError),
    ],
)
def test_a_wrong_argument_is_refused(arguments: dict[str, Any], error: type[Exception]) -> None:
    with pytest.raises(error):
        Policy(**arguments)


@given(st.text(max_size=60))
def test_any_text_can_be_classified(text: str) -> None:
    assert POLICY.classify(text) <= POLICY.exact_only


HOSTILE = [
    "a",
    "1",
    " ",
    ".",
    "@",
    "a@",
    "a@a.",
    "can you ",
    "what is my ",
    "how much ",
    "1 ",
    "aa11 ",
    "aa11",
    "4(",
    "+1 ",
]
HOSTILE += [
    "what is a my ",
    "my my ",
    "i'd ",
    "a'",
    "a-",
    "\n",
    "i want you to ",
    "\u0130",
    "1-",
    "((((",
    "is ",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_hostile_text_takes_time_in_proportion_to_its_length(piece: str) -> None:
    def seconds(length: int) -> float:
        """Of this thread's processor, the least of three: what others do on the machine does not count."""
        text, taken = piece * (length // len(piece)), []
        for _ in range(3):
            started = time.thread_time()
            POLICY.classify(text)
            taken.append(time.thread_time() - started)
        return min(taken)

    # Sixteen times the length: linear is 16, quadratic 256.
    assert seconds(320_000) < 64 * seconds(20_000) + 0.05
