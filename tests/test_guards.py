"""Guards veto what asks for another answer and let pass what asks for the same."""

import subprocess
import sys
import threading
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from binary_semantic_cache.binary_semantic_cache_rs import TextGuards
from binary_semantic_cache.errors import (
    CorruptFileError,
    FormatVersionError,
    InvalidTypeError,
    InvalidValueError,
    MissingFileError,
)
from binary_semantic_cache.text import guards as guards_module
from binary_semantic_cache.text.guards import GUARDS, TABLES, Guards, Veto

TABLES_FOLDER = guards_module.resources.files("binary_semantic_cache.text") / "tables"


@pytest.fixture(scope="module")
def guards():
    return Guards()


def vetoes(guards, a, b):
    return {veto.guard for veto in guards.check(a, [b])[0]}


DIFFERENT = [
    ("numbers", "Can I park here for 30 minutes?", "Can I park here for 45 minutes?"),
    ("numbers", "Is there room for twelve guests?", "Is there room for twenty guests?"),
    ("numbers", "Does it run on Python 3.1?", "Does it run on Python 3.10?"),
    ("numbers", "What changed in v1.2.3?", "What changed in v1.2.4?"),
    ("numbers", "Meet at 10:30", "Meet at 10:45"),
    ("numbers", "What happened on 2024-01-05?", "What happened on 2024-01-06?"),
    ("numbers", "Is it below -5 outside?", "Is it below 5 outside?"),
    ("numbers", "Who came third?", "Who came fourth?"),
    ("numbers", "Cut the recipe in half", "Double the recipe"),
    ("numbers", "How large is the country?", "How large are 3 of the countries?"),
    ("units", "Is 5 kg too heavy?", "Is 5 lb too heavy?"),
    ("units", "Can I pay $20 in cash?", "Can I pay 20 euro in cash?"),
    ("units", "Wait for 10 minutes", "Wait for 10 hours"),
    ("identifiers", "What is wrong with PUMP-17A?", "What is wrong with PUMP-17B?"),
    ("identifiers", "Explain err_disk_full", "Explain err_disk_slow"),
    ("identifiers", "What does parseConfig return?", "What does loadConfig return?"),
    ("identifiers", "Open report.pdf please", "Open budget.pdf please"),
    ("identifiers", "Write to anna@example.org", "Write to hanna@example.org"),
    ("identifiers", "Is C++ hard to learn?", "Is C# hard to learn?"),
    ("identifiers", "What does --force do?", "What does --quiet do?"),
    ("quoted", 'What does "soon" mean here?', 'What does "later" mean here?'),
    ("quoted", "Translate 'the tall tree'", "Translate 'the old tree'"),
    ("quoted", "Find the word “harbour”", "Find the word “lighthouse”"),
    ("code", "What prints `x + 1`?", "What prints `x - 1`?"),
    ("code", "Explain\n```python\nx = 1\n```", "Explain\n```python\nx = 2\n```"),
    ("urls", "Summarise https://example.org/a", "Summarise https://example.org/b"),
    ("negation", "Can dogs eat grapes?", "Why can dogs not eat grapes?"),
    ("negation", "I do eat fish", "I don't eat fish"),
    ("negation", "I do eat fish", "I don’t eat fish"),
    ("avoidance", "What foods suit a toddler?", "What foods to avoid for a toddler?"),
    ("antonyms", "How do I lengthen the strap?", "How do I shorten the strap?"),
    ("antonyms", "Is the key visible?", "Is the key invisible?"),
    ("antonyms", "Turn the heating on", "Turn the heating off"),
    ("roles", "Trains from Leeds to York", "Trains from York to Leeds"),
    ("roles", "Is gold heavier than lead?", "Is lead heavier than gold?"),
    ("roles", "Do whales hunt squids?", "Do squids hunt whales?"),
    ("antonyms", "Where was she born?", "When was she born?"),
    ("substitution", "Can I park here on Fridays?", "Can contractors park here on Fridays?"),
    ("substitution", "Does the onion soup hold gluten?", "Does the fish pie hold gluten?"),
    ("capitals", "Where can I park in Lyon?", "Where can I park in Porto?"),
    ("capitals", "where can i park in lyon?", "where can i park in lisbon?"),
    ("time", "Is the museum open in March?", "Is the museum open in October?"),
    ("time", "Is the museum open on Tuesday?", "Is the museum open at the weekend?"),
    ("time", "Will it rain today?", "Will it rain tomorrow?"),
    ("time", "Water the plants at 6:30 am", "Water the plants at 6:30 pm"),
    ("substitution", "How do I paint a wooden fence?", "How do I paint a wooden table?"),
]

SAME = [
    ("Can I park for 30 minutes?", "Can I park here for thirty minutes?"),
    ("Can I stay for 14 days?", "Can I stay for two weeks?"),
    ("Is it 1,500 metres long?", "Is it 1.5 km long?"),
    ("Wake me at 6 am", "Wake me at six in the morning"),
    ("Is there a table for 8 pm?", "Is there a table for eight this evening?"),
    ("May I borrow one book?", "May I borrow a book?"),
    ("After 1 year", "After one year"),
    ("What is 25% of 80?", "what's twenty-five percent of 80"),
    ("Can I pay $5.00?", "Can I pay 5 dollars?"),
    ("What colour is the centre?", "What color is the center?"),
    ("How do I organise my files?", "How do I organize my files?"),
    ("Where is my recipt?", "Where is my receipt?"),
    ("Send me an email", "Send me an e-mail"),
    ("Why is it not good?", "Why is it bad?"),
    ("Does it work on my iPhone?", "Does it work on my iphone?"),
    ("WHERE CAN I BUY STAMPS?", "Where can I buy stamps?"),
    ("Where Can I Buy Stamps?", "Where can I purchase stamps?"),
    ("Why can't I log in?", "Why can’t I log in?"),
    ("Open it on Sunday", "Open it on Sundays"),
    ("See https://Example.org/a/", "See https://example.org/a."),
    ("How do I open a pull request?", "How do I open a PR?"),
    ("Call me at 9 pm", "Call me at nine at night"),
    ("Call me at 2 am", "Call me at two at night"),
    ("How do I delete my profile?", "How can I remove my profile?"),
    ("Is Rs. 500 enough?", "Would 500 rupees be enough?"),
    ("How do I disable dark mode?", "How do I turn off dark mode?"),
    ("I don't know how sorting works", "How does sorting work?"),
    ("Is two thirds of 90 right?", "Is 2/3 of 90 right?"),
    ("Is 50% enough?", "Is half enough?"),
    ("Wait two and a half hours", "Wait 150 minutes"),
    ("Is the shop open on Wednesday?", "Is the shop open on Wednesdy?"),
    ("Do you ship to the USA?", "Do you ship to the United States?"),
]


@pytest.mark.parametrize(("guard", "a", "b"), DIFFERENT)
def test_a_guard_vetoes_what_it_is_there_for(guards, guard, a, b):
    assert guard in vetoes(guards, a, b)
    assert guard in vetoes(guards, b, a)


@pytest.mark.parametrize(("a", "b"), SAME)
def test_another_wording_of_one_question_passes(guards, a, b):
    assert vetoes(guards, a, b) == set()
    assert vetoes(guards, b, a) == set()


def test_a_veto_tells_what_differs_with_the_new_prompt_first(guards):
    ((veto,),) = guards.check("Parking for 30 minutes", ["Parking for 60 minutes"])
    assert veto == Veto("numbers", "30 against 60")


def test_each_candidate_gets_an_answer_of_its_own(guards):
    found = guards.check("Wait 5 minutes", ["Wait 5 minutes", "Wait 6 minutes", "Please wait 5 minutes"])
    assert [bool(vetoes) for vetoes in found] == [False, True, False]
    assert guards.check("anything", []) == []


@pytest.mark.parametrize("guard", GUARDS)
def test_a_guard_that_is_switched_off_is_silent(guard):
    quiet = Guards(disabled=[guard])
    assert quiet.enabled == tuple(name for name in GUARDS if name != guard)
    for vetoing, a, b in DIFFERENT:
        if vetoing == guard:
            assert guard not in vetoes(quiet, a, b)


def test_with_all_guards_off_everything_passes():
    assert Guards(disabled=GUARDS).check("Buy 5", ["Never sell 6"]) == [[]]


def test_names_lists_all_guards_in_order():
    assert Guards(disabled=["code"]).names == GUARDS == TextGuards.names
    assert repr(Guards(disabled=["code"])) == "Guards(disabled=['code'])"


def test_lines_can_be_added_to_a_table():
    pair = "Play the melody in dorian mode", "Play the tune in lydian mode"
    assert "antonyms" not in vetoes(Guards(), *pair)
    assert "antonyms" in vetoes(Guards(extend={"antonyms": ["dorian lydian"]}), *pair)


def test_groups_of_synonyms_stay_apart_where_lines_repeat_words():
    known = Guards(extend={"synonyms": ["fence hedge", "hedge fence", "gate door"]})
    prompt = "How do I paint a wooden fence?"
    assert "substitution" not in vetoes(known, prompt, "How do I paint a wooden hedge?")
    assert "substitution" in vetoes(known, prompt, "How do I paint a wooden gate?")


def test_a_folder_replaces_tables_of_the_same_name_and_no_others(tmp_path):
    (tmp_path / "negators.txt").write_text("nay  # the only one\n")
    changed = Guards(tables=tmp_path)
    assert "negation" in vetoes(changed, "Is it so?", "Is it nay so?")
    assert "negation" not in vetoes(changed, "Is it so?", "Is it never so?")
    assert "time" in vetoes(changed, "Rain today?", "Rain tomorrow?")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"disabled": ["number"]}, "did you mean 'numbers'"),
        ({"extend": {"antonym": ["x y"]}}, "did you mean 'antonyms'"),
        ({"extend": {"antonyms": ["three words here"]}}, "expected an entry in line"),
        ({"extend": {"units": ["length zero inch"]}}, "expected an entry in line"),
        ({"extend": {"number_words": ["gross unit nan"]}}, "expected an entry in line"),
    ],
)
def test_a_wrong_name_or_line_is_an_error_that_helps(arguments, message):
    with pytest.raises(InvalidValueError, match=message):
        Guards(**arguments)


def test_a_lone_surrogate_in_a_table_is_an_error():
    with pytest.raises(InvalidValueError, match="surrogate"):
        Guards(extend={"negators": ["\ud800"]})


def test_a_file_of_an_unknown_name_among_the_tables_is_an_error(tmp_path):
    (tmp_path / "negator.txt").write_text("nay\n")
    with pytest.raises(InvalidValueError, match=r"did you mean 'negators\.txt'"):
        Guards(tables=tmp_path)


def test_a_table_that_is_not_utf8_is_an_error(tmp_path):
    (tmp_path / "negators.txt").write_bytes(b"\xff\xfe\x00")
    with pytest.raises(InvalidValueError, match="UTF-8"):
        Guards(tables=tmp_path)


def test_a_folder_that_is_not_there_is_an_error(tmp_path):
    with pytest.raises(MissingFileError):
        Guards(tables=tmp_path / "nowhere")


@pytest.mark.parametrize(
    "argument", [{"disabled": "numbers"}, {"extend": {"negators": "nay"}}, {"extend": {"negators": [5]}}]
)
def test_what_is_no_list_of_strings_is_no_table(argument):
    with pytest.raises(InvalidTypeError):
        Guards(**argument)


@pytest.mark.parametrize("arguments", [("a", "b"), ("a", [5]), (None, ["a"]), (b"a", ["a"]), ("a", None)])
def test_what_is_no_string_or_no_list_of_strings_is_an_error(guards, arguments):
    with pytest.raises(InvalidTypeError):
        guards.check(*arguments)


def lexicon():
    return (TABLES_FOLDER / "lexicon.bin").read_bytes()


@pytest.mark.parametrize(
    "damaged",
    [
        b"",
        b"BSCLEX",
        b"PK\x03\x04" + bytes(100),
        lexicon()[:-1],
        lexicon()[:39],
        lexicon() + b"\0",
        lexicon()[:1000] + bytes([lexicon()[1000] ^ 1]) + lexicon()[1001:],
        lexicon()[:12] + b"\xff" * 28 + lexicon()[40:],
    ],
)
def test_a_damaged_lexicon_is_an_error(damaged):
    with pytest.raises(CorruptFileError):
        TextGuards(damaged, {})


def test_a_lexicon_of_another_version_is_an_error():
    with pytest.raises(FormatVersionError, match="version 1, got 2"):
        TextGuards(lexicon()[:6] + b"\2\0" + lexicon()[8:], {})


def write_wordnet(folder):
    """Two synsets of one word each, opposites; and one irregular form."""
    entry = "{0:08d} 03 n 01 {1} 0 001 ! {2:08d} n 0101 | gloss\n"
    (folder / "data.noun").write_text(
        "  1 licence\n" + entry.format(9, "zig", 99) + entry.format(99, "zag", 9)
    )
    (folder / "index.noun").write_text("zag n 1 1 ! 1 0 00000099\nzig n 1 1 ! 1 0 00000009\n")
    (folder / "noun.exc").write_text("zagen zag\n")
    for name in ("verb", "adj", "adv"):
        for file in (f"data.{name}", f"index.{name}", f"{name}.exc"):
            (folder / file).write_text("")


def test_the_lexicon_is_built_from_wordnet_with_the_same_bytes_each_time(tmp_path):
    write_wordnet(tmp_path)
    script = Path(__file__).parents[1] / "scripts" / "build-lexicon"
    built = []
    for name in ("one", "two"):
        command = [sys.executable, str(script), "--from", str(tmp_path), "--to", str(tmp_path / name)]
        subprocess.run(command, check=True, capture_output=True, env={"PYTHONHASHSEED": str(len(built))})
        built.append((tmp_path / name).read_bytes())
    assert built[0] == built[1]
    found = TextGuards(built[0], {}).check("a zig for all of us", ["a zagen for all of us"])
    assert ("antonyms", "zig against zagen") in found[0]


def test_without_tables_the_guards_still_work():
    found = TextGuards(lexicon(), {}).check("Is 5 enough?", ["Is 6 enough?"])
    assert [guard for guard, _ in found[0]] == ["numbers"]


def test_every_table_is_shipped_and_its_lines_are_not_repeated():
    names = {path.name for path in TABLES_FOLDER.iterdir()}
    assert names == {"lexicon.bin", "policy.toml", "WORDNET-LICENSE", *(f"{name}.txt" for name in TABLES)}
    for name in TABLES:
        lines = (TABLES_FOLDER / f"{name}.txt").read_text("utf-8").splitlines()
        entries = [line for line in lines if line and not line.startswith("#")]
        assert len(entries) == len(set(entries)), name


HOSTILE = [
    "a",
    "A1_",
    "'",
    '"',
    "`",
    "```\n",
    "not ",
    "5 ",
    "5,",
    "one ",
    "from a to b ",
    "http://",
    "x@y.z ",
    "Ab ",
]
HOSTILE += [
    "\u0301",
    "\U0001f600",
    "\ud800",
    "monday ",
    "-",
    "1.",
    "/",
    "\0",
    "don't ",
    "hundred ",
    "million ",
    "two ",
]
HOSTILE += [
    "twenty ",
    "one hundred and ",
    "5 kg ",
    "'a ",
    '"a ',
    "half ",
    "why ",
    "U S ",
    "a-",
    "a.",
    "$",
    "5k",
    "\n",
]


@pytest.mark.parametrize("piece", HOSTILE)
def test_a_megabyte_of_anything_is_compared_in_linear_time(guards, piece):
    text = piece * (1_000_000 // len(piece))
    assert len(guards.check(text, [text + " end", "short", text[: len(text) // 2]])) == 3


@pytest.mark.timeout(60)
@pytest.mark.parametrize(
    "form", ["{}", "W{}", "{}_x", "in {} kg", "'{}'", "`{}`", "https://x.y/{}", "{} monday"]
)
def test_a_megabyte_of_different_things_is_compared_in_linear_time(guards, form):
    letters = str.maketrans("0123456789", "abcdefghij")
    words = [form.format(str(i) if "kg" in form else str(i).translate(letters)) for i in range(100_000)]
    assert guards.check(" ".join(words[:50_000]), [" ".join(words[50_000:])])[0]


def test_a_lone_surrogate_is_read_as_a_replacement_character(guards):
    assert guards.check("caf\ud800 open?", ["caf\ud800 open?"]) == [[]]
    assert "identifiers" in vetoes(guards, "caf\ud800 open?", "caf open?")


PIECES = "buy,sell,5,6 kg,lb,from,to,London,Paris,not,never,two,dozen,x_1,`c`,'q',monday,may,May,open,the"
WORDS = st.lists(st.sampled_from(PIECES.split(",")), max_size=12).map(" ".join)
ANY = st.one_of(st.text(max_size=80), WORDS)


@given(ANY)
def test_a_text_never_vetoes_itself(guards, text):
    assert guards.check(text, [text]) == [[]]


@given(ANY, ANY)
def test_who_vetoes_does_not_depend_on_which_text_is_new(guards, a, b):
    assert vetoes(guards, a, b) == vetoes(guards, b, a)


@given(WORDS)
def test_space_and_a_full_stop_change_nothing(guards, text):
    assert vetoes(guards, text, f"  {text}  ".replace(" ", "  ") + ".") == set()


@given(ANY, ANY, st.sampled_from(GUARDS))
def test_switching_a_guard_off_takes_its_vetoes_away_and_no_others(guards, a, b, guard):
    assert vetoes(Guards(disabled=[guard]), a, b) == vetoes(guards, a, b) - {guard}


def test_threads_may_share_guards(guards):
    found = []

    def work():
        found.extend(guards.check("Wait 5 minutes", ["Wait 6 minutes"] * 200))

    threads = [threading.Thread(target=work) for _ in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert found == [[Veto("numbers", "5 against 6")]] * 800
