"""`Fingerprinter`: equal requests of one scope have one fingerprint, and nothing else has it."""

import unicodedata
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.errors import InvalidTypeError, InvalidValueError
from binary_semantic_cache.text.fingerprint import Fingerprinter
from binary_semantic_cache.text.request import ExactOnly, Request

KEY = b"k" * 32
MAKER = Fingerprinter(KEY)
SCOPES: list[Any] = [
    None,
    True,
    False,
    1,
    0,
    "",
    "1",
    "None",
    "a",
    ["a"],
    [],
    {},
    {"a": None},
    0.5,
    ["a", "b"],
    "ab",
]
TEXTS = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)


def test_a_prompt_has_the_fingerprint_of_its_request() -> None:
    for scope in SCOPES:
        for _ in range(2):
            assert MAKER.of(" q ", scope) == MAKER.of(Request.from_prompt("q"), scope)


def test_scopes_never_share() -> None:
    for maker in (MAKER, Fingerprinter(KEY)):
        prints = [maker.of("q", scope) for scope in SCOPES for _ in range(2)]
        for part in ("scope", "key", "owner"):
            assert len({getattr(fingerprint, part) for fingerprint in prints}) == len(SCOPES)


def test_equal_scopes_share_however_they_are_spelled() -> None:
    assert MAKER.of("q", 1) == MAKER.of("q", 1.0)
    assert MAKER.of("q", {"a": 1, "b": 2}) == MAKER.of("q", {"b": 2, "a": 1})
    assert MAKER.of("q", ("a",)) == MAKER.of("q", ["a"])


def test_many_scopes_do_not_pile_up_and_stay_what_they_were() -> None:
    maker = Fingerprinter(KEY)
    first = maker.of("q", "tenant 0")
    for i in range(3000):
        maker.of("q", f"tenant {i}")
    maker.of("q", "x" * 10_000)
    assert len(maker._prompts) <= 1024
    assert max(len(scope or "") for scope in maker._prompts) < 300
    assert maker.of("q", "tenant 0") == first


CLASSIC = [
    ("ab", "c"),
    ("a", "bc"),
    ("abc", ""),
    ("", "abc"),
    ("a\x00b", "c"),
    ("a", "\x00bc"),
    ("a:b", "c"),
    ("a", "b:c"),
]


def test_what_is_written_one_after_the_other_does_not_run_together() -> None:
    keys = {
        MAKER.of(Request.from_prompt("q", model=a, system=b), scope).key
        for a, b in CLASSIC
        for scope in ("", "c")
    }
    assert len(keys) == 2 * len(CLASSIC)
    by_scope = {MAKER.of("t" + text, scope).key for scope, text in CLASSIC}
    assert len(by_scope) == len(CLASSIC)


@given(st.tuples(TEXTS, TEXTS, TEXTS), st.tuples(TEXTS, TEXTS, TEXTS))
def test_different_questions_have_different_keys(a: tuple[str, str, str], b: tuple[str, str, str]) -> None:
    keys = [MAKER.of(Request.from_prompt(text, system=system), scope).key for text, system, scope in (a, b)]
    same = (unicodedata.normalize("NFC", a[0].strip()), *a[1:]) == (
        unicodedata.normalize("NFC", b[0].strip()),
        *b[1:],
    )
    assert (keys[0] == keys[1]) == same


def test_the_text_is_normalised_for_the_key_alone() -> None:
    composed, decomposed = MAKER.of("caf\u00e9?"), MAKER.of("cafe\u0301?")
    assert composed.key == decomposed.key
    assert decomposed.text == "cafe\u0301?"


def test_the_owner_is_the_scope_of_the_caller_alone() -> None:
    a, b = MAKER.of("q", "t"), MAKER.of(Request.from_prompt("r", model="m"), "t")
    assert a.owner == b.owner
    assert a.scope != b.scope


def test_a_request_that_is_exact_only_shares_no_scope_with_one_that_is_not() -> None:
    one = Request("q", b"n", None)
    other = Request("q", b"n", ExactOnly.STATE)
    assert MAKER.of(one).scope != MAKER.of(other).scope
    assert MAKER.of(other).scope == MAKER.of(Request("r", b"n", ExactOnly.PREFILL)).scope


def test_another_key_gives_other_fingerprints() -> None:
    other = Fingerprinter(b"l" * 32)
    a, b = MAKER.of("q", "t"), other.of("q", "t")
    assert a.scope != b.scope
    assert a.key != b.key
    assert a.owner != b.owner
    assert a[:3] == Fingerprinter(KEY).of("q", "t")[:3]


def test_fingerprints_are_the_same_in_every_version() -> None:
    fingerprint = MAKER.of("What is it?", {"tenant": 1})
    assert [part.hex() for part in fingerprint[:3]] == [
        "d74723fad7648982e9f7c23454c69e39",
        "4a8ed442087fd41c03c299a4be0d1682",
        "b1983bd0e6ba99dd0fa5370256d01957",
    ]


@pytest.mark.parametrize("part", ["scope", "key", "owner"])
def test_a_fingerprint_is_of_16_bytes(part: str) -> None:
    assert len(getattr(MAKER.of("q"), part)) == 16


def test_a_pair_is_the_same_in_either_order() -> None:
    a, b, c = (MAKER.of(text).key for text in "abc")
    assert MAKER.pair(a, b) == MAKER.pair(b, a)
    assert len({MAKER.pair(a, b), MAKER.pair(a, c), MAKER.pair(b, c), MAKER.pair(a, a)}) == 4
    assert Fingerprinter(b"l" * 32).pair(a, b) != MAKER.pair(a, b)


@pytest.mark.parametrize("key", [b"", b"x" * 15, b"x" * 17, "x" * 16])
def test_a_pair_of_what_is_no_key_is_refused(key: Any) -> None:
    with pytest.raises(InvalidValueError):
        MAKER.pair(key, b"x" * 16)


@given(st.integers(0, 2**63 - 1), st.binary(min_size=16, max_size=16))
def test_the_id_of_a_hit_is_read_back(entry_id: int, key: bytes) -> None:
    assert MAKER.parse_hit_id(MAKER.hit_id(entry_id, key)) == (entry_id, key)


def test_every_mistyped_id_of_a_hit_is_refused() -> None:
    hit_id = MAKER.hit_id(7, b"q" * 16)
    wrong = [hit_id[:i] + ("0" if hit_id[i] != "0" else "1") + hit_id[i + 1 :] for i in range(len(hit_id))]
    wrong += [
        hit_id[:-1],
        hit_id[:-2],
        hit_id + "00",
        hit_id.upper(),
        hit_id[4:],
        " " + hit_id,
        hit_id + "\n",
    ]
    wrong += ["", "hit_", "hit_" + "0" * 64, "hit_\u00e9"]
    for each in [*wrong, Fingerprinter(b"l" * 32).hit_id(7, b"q" * 16), None, 3, b"x"]:
        with pytest.raises(InvalidValueError):
            MAKER.parse_hit_id(each)  # type: ignore[arg-type]


@pytest.mark.parametrize("entry_id", [-1, 2**63, True, "1", None, 1.0])
def test_an_id_that_no_entry_has_is_refused(entry_id: Any) -> None:
    with pytest.raises(InvalidValueError):
        MAKER.hit_id(entry_id, b"q" * 16)


@pytest.mark.parametrize(
    ("key", "error"),
    [("k" * 32, InvalidTypeError), (b"k" * 15, InvalidValueError), (b"k" * 65, InvalidValueError)],
)
def test_a_key_of_the_wrong_size_is_refused(key: Any, error: type[Exception]) -> None:
    with pytest.raises(error):
        Fingerprinter(key)


def test_what_is_no_request_is_refused() -> None:
    for request in (None, b"q", {"text": "q"}, 3):
        with pytest.raises(InvalidTypeError):
            MAKER.of(request)  # type: ignore[arg-type]
    with pytest.raises(InvalidValueError, match="text"):
        MAKER.of("\ud800")
    with pytest.raises(InvalidTypeError, match=r"^scope\.tenant"):
        MAKER.of("q", {"tenant": b"t"})  # type: ignore[dict-item]
    with pytest.raises(InvalidValueError, match=r"^scope"):
        MAKER.of("q", "\ud800")
