"""What trains the judge: data that are drawn the same each time, and trees that any machine grows alike."""

from random import Random

import numpy as np
import pytest
from training.judge.boosting import Settings, logistic, train
from training.judge.families import fill, read_families, read_slots, slot_names
from training.judge.measuring import area, least_score, served_at, upper_bound
from training.judge.overlap import overlaps
from training.judge.pairs import draw_pairs
from training.judge.perturbing import careless, rewritten


@pytest.fixture(scope="module")
def families():
    return read_families()


@pytest.fixture(scope="module")
def pairs(families):
    return draw_pairs(families, read_slots())


def test_no_wording_stands_in_two_meanings_of_a_family(families):
    for family in families:
        wordings = [wording for meaning in family.meanings for wording in meaning.wordings]
        assert len({wording.lower() for wording in wordings}) == len(wordings), family


def test_every_slot_has_fillings(families):
    slots = read_slots()
    for family in families:
        for meaning in family.meanings:
            for name in slot_names(*meaning.wordings):
                assert name in slots or name.removesuffix("2") in slots, (family.domain, name)


def test_fillings_stand_in_place_of_slots():
    assert fill("from {city} to {city2}", {"city": "Rome", "city2": "Oslo"}) == "from Rome to Oslo"


def test_pairs_are_drawn_the_same_each_time(families, pairs):
    assert draw_pairs(families, read_slots()) == pairs


def test_pairs_are_of_both_kinds_and_never_of_one_text(pairs):
    shares = np.array([pair.same for pair in pairs])
    assert 0.3 < shares.mean() < 0.7
    assert all(pair.a != pair.b for pair in pairs)


def test_a_block_without_a_first_meaning_is_refused(tmp_path):
    (tmp_path / "bad.txt").write_text("=action: only this\n")
    with pytest.raises(ValueError, match=r"expected a first meaning and others in block 0 of bad\.txt"):
        read_families(tmp_path)


def test_a_rewritten_text_is_another_one():
    draw = Random(1)
    for text in ("How do I bake bread?", "ok", "A", "what is up"):
        assert all(rewritten(text, draw) != text for _ in range(50))
        assert all(careless(text, draw) for _ in range(50))


def rows_with_a_rule(n, seed):
    """Random rows; what holds if the first number is large and the second small."""
    rows = np.random.default_rng(seed).random((n, 4)).astype(np.float32)
    return rows, (rows[:, 0] > 0.5) & (rows[:, 1] < 0.6)


def test_trees_learn_a_rule():
    model = train(*rows_with_a_rule(2000, 1), np.ones(2000), Settings(rounds=40, share_of_features=1.0))
    rows, labels = rows_with_a_rule(500, 2)
    assert ((model.probabilities(rows) > 0.5) == labels).mean() > 0.97


def test_the_order_of_rows_does_not_change_a_bit_of_the_trees():
    rows, labels = rows_with_a_rule(600, 3)
    weights = np.random.default_rng(4).random(600) + 0.5
    order = np.random.default_rng(5).permutation(600)
    settings = Settings(rounds=15)
    shuffled = train(rows[order], labels[order], weights[order], settings)
    assert train(rows, labels, weights, settings) == shuffled


def test_a_probability_only_rises_with_a_feature_that_must_not_lower_it():
    rows, labels = rows_with_a_rule(800, 6)
    noisy = labels ^ (np.random.default_rng(7).random(800) < 0.2)
    model = train(rows, noisy, np.ones(800), Settings(rounds=40, monotone=(1, -1, 0, 0)))
    steps = np.tile(rows[:50, np.newaxis], (1, 30, 1))
    for column, sign in ((0, 1), (1, -1)):
        moved = steps.copy()
        moved[:, :, column] = np.linspace(0, 1, 30)
        scores = model.scores(moved.reshape(-1, 4)).reshape(50, 30)
        assert (sign * np.diff(scores, axis=1) >= 0).all()


def test_the_logistic_function_is_right_to_the_last_digits():
    x = np.linspace(-30, 30, 1001)
    assert np.allclose(logistic(x), 1 / (1 + np.exp(-x)), rtol=1e-14)


def test_the_area_counts_ties_as_a_half():
    assert area(np.array([1.0, 1.0, 0.0]), np.array([True, False, False])) == 0.75
    assert np.isnan(area(np.array([1.0]), np.array([True])))


def test_the_upper_bound_is_that_of_clopper_and_pearson():
    # Nothing in n: 1 - 0.05 ** (1 / n).
    assert upper_bound(0, 100) == pytest.approx(1 - 0.05**0.01, abs=1e-9)
    assert upper_bound(5, 5) == 1.0
    assert upper_bound(20, 1001) == pytest.approx(upper_bound(20, 1000), abs=1e-4)


def test_the_least_score_keeps_the_bound_and_the_next_lower_does_not():
    scores, labels = np.linspace(0, 1, 400), np.arange(400) % 2 == 0
    least = least_score(scores, labels, 0.05)
    traps = (scores[~labels] >= least).sum()
    assert upper_bound(traps, 200) <= 0.05 < upper_bound(traps + 1, 200)
    assert least_score(scores[:4], labels[:4], 0.05) == 2.0


def test_what_is_served_beside_a_share_of_traps():
    scores, labels = np.array([0.9, 0.8, 0.7, 0.1]), np.array([True, False, True, False])
    assert served_at(scores, labels, 0.0) == 0.5
    assert served_at(scores, labels, 0.5) == 1.0


def test_copies_and_near_copies_are_found_and_others_are_not():
    own = ["How do I bake a good white bread at home?", "Where is the key?", "hi you"]
    foreign = [
        ("x", own[0].lower().rstrip("?")),
        ("x", "How do I bake good white bread at home?"),
    ]
    found = overlaps(own, [*foreign, ("y", "Where is the door key of mine?"), ("y", "hi you")])
    assert [(round(share, 2), name) for share, name, *_ in found] == [(1.0, "x"), (0.9, "x")]
