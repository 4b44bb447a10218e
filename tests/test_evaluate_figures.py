"""The figures of `bsc evaluate`, worked out by hand, and the page that shows them."""

import json
from html.parser import HTMLParser

import pytest

from binary_semantic_cache.proof.asking import NEVER, Asked, ask
from binary_semantic_cache.proof.curve import area, best_by_budget, best_by_f1, curve, thresholds
from binary_semantic_cache.proof.evaluation import evaluated
from binary_semantic_cache.proof.pairs import Pair
from binary_semantic_cache.proof.report import page
from binary_semantic_cache.proof.shares import Share, wilson
from labelled_pairs import ROWS, pair
from words import WordEmbedder


def scored(score, same, **changes):
    return Asked(pair(same=same), "semantic" if score > 0.8 else "below_threshold", score, score, **changes)


@pytest.mark.parametrize(
    ("count", "n", "low", "high"),
    [
        # Source: Newcombe 1998, Two-sided confidence intervals for the single proportion, table I, method 3.
        (81, 263, 0.2553, 0.3662),
        (15, 148, 0.0624, 0.1605),
        (0, 20, 0.0, 0.1611),
        (1, 29, 0.0061, 0.1718),
    ],
)
def test_wilson_gives_the_published_intervals(count, n, low, high):
    assert wilson(count, n) == pytest.approx((low, high), abs=5e-5)


def test_of_no_pairs_everything_is_possible():
    assert wilson(0, 0) == (0.0, 1.0)


def test_thresholds_are_multiples_of_the_step_strict_ones_first():
    assert thresholds(0.7, 0.1) == [0.9, 0.8, 0.7]
    assert thresholds(-0.5, 0.5) == [0.5, 0.0, -0.5]
    assert len(thresholds(0.5, 0.01)) == 50


def test_the_curve_counts_each_label_apart():
    asked = [
        scored(0.9, True),
        scored(0.7, True),
        scored(0.85, False),
        scored(NEVER, False),
        scored(0.99, None),
    ]
    at = {one.threshold: one.point for one in curve(asked)}
    assert (at[0.9].served, at[0.9].traps) == (Share(1, 2), Share(0, 2))
    assert (at[0.7].served, at[0.7].traps) == (Share(2, 2), Share(1, 2))


def test_the_area_is_the_precision_at_each_answer():
    # Right at 0.9; right and wrong together at 0.8: 1, 2/3, 2/3; one never.
    asked = [scored(0.9, True), scored(0.8, True), scored(0.8, False), scored(NEVER, True)]
    found = area(asked)
    assert found.area == pytest.approx((1 + 2 / 3 + 2 / 3) / 4)
    assert found.hit_rate == 0.75
    assert found.mean_precision == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    assert area([]).mean_precision == 0.0


def test_the_best_threshold_by_budget_is_the_loosest_before_the_first_bound_beyond():
    asked = [scored(0.75, False), *[scored(0.3, False)] * 99, scored(0.9, True), scored(0.6, True)]
    points = curve(asked)
    # The upper end of 0 in 100 is 3.7 %, of 1 in 100 is 5.4 %.
    assert best_by_budget(points, 0.05).threshold == 0.76
    assert best_by_budget(points, 0.06).threshold == 0.5
    assert best_by_budget(points, 0.03) is None
    assert best_by_budget(curve([scored(0.9, True)]), 0.5) is None


def test_the_best_threshold_by_f1_is_the_strictest_of_equals():
    best = best_by_f1(curve([scored(0.9, True), scored(0.7, True), scored(0.6, False)]))
    assert (best.threshold, best.f1) == (0.7, 1.0)
    assert best_by_f1(curve([scored(0.9, False)])) is None


@pytest.fixture(scope="module")
def evaluation():
    pairs = [Pair(row["id"], row["a"], row["b"], row["same"] == 1, f"c{i % 2}") for i, row in enumerate(ROWS)]
    _, asked = ask([*pairs, pair("unlabelled", "x y z", "x y z", None)], WordEmbedder(), threshold=0.7)
    return evaluated(asked, threshold=0.7, embedder="words", budget=0.05)


def test_the_figures_are_those_of_the_hand(evaluation):
    plain = evaluation.plain(show=9)
    assert (plain["served"], plain["wrong"], plain["n_same"], plain["n_different"]) == (0.5, 0.5, 2, 2)
    assert plain["by_category"]["c0"] == {
        "served": 1.0,
        "wrong": 0.0,
        "n_same": 1,
        "n_different": 1,
        "served_interval": pytest.approx([0.206543, 1.0], abs=1e-5),
        "wrong_interval": pytest.approx([0.0, 0.793457], abs=1e-5),
    }
    assert plain["by_category"]["all"]["served"] is None
    assert plain["unlabelled"] == {"n": 1, "served": 1.0}
    assert plain["guards"] == {"numbers": {"traps": 1, "should_hit": 0, "alone": 1}}
    assert [one["id"] for one in plain["wrong_serves"]] == ["equal"]
    assert [one["id"] for one in plain["lost_hits"]] == ["far"]
    assert plain["curve_disagrees"] == 0
    json.dumps(plain, allow_nan=False)


def test_a_curve_that_is_not_the_caches_is_noticed():
    asked = [scored(0.9, True), Asked(pair(), "guard", 0.9, 0.9)]
    assert evaluated(asked, threshold=0.8, embedder="e", budget=0.05).disagreeing == 1


class _Checked(HTMLParser):
    """Refuses tags that do not close, and collects what a browser would fetch or run."""

    def __init__(self):
        super().__init__()
        self.open, self.foreign = [], []

    def handle_starttag(self, tag, attributes):
        if tag in ("script", "link", "img", "iframe") or {"src", "href"} & {name for name, _ in attributes}:
            self.foreign.append(tag)
        if tag not in ("meta", "html"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        pass

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_is_whole_fetches_nothing_and_escapes_what_it_shows():
    hostile = '<script>alert(1)</script> & "quoted"'
    asked = [
        Asked(pair(f"{same} {i}", hostile, hostile, same, "<b>"), "semantic", 0.9, 0.9)
        for same in (True, False)
        for i in range(3)
    ]
    made = evaluated(asked, threshold=0.82, embedder="<i>e", budget=0.05)
    text = page(made, show=5, texts=True)
    checked = _Checked()
    checked.feed(text)
    checked.close()
    assert (checked.open, checked.foreign) == ([], [])
    assert text.count("<svg") == 2
    assert "prefers-color-scheme: dark" in text
    assert "&lt;script&gt;" in text
    assert "alert" not in page(made, show=5, texts=False)


def test_a_page_without_labels_has_no_curves(evaluation):
    made = evaluated([scored(0.9, None)], threshold=0.8, embedder="e", budget=0.05)
    assert "<svg" not in page(made, show=5, texts=True)
