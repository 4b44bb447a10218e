"""The soak test in small: `make soak` goes on for as long as one likes."""

from soak import soak


def test_no_wrong_or_foreign_answer_under_mixed_load_with_faults():
    result = soak(seconds=20)
    assert result.wrong == [], result.summary()
    assert result.broken == [], result.summary()
    seen = result.outcomes
    assert {"exact", "semantic", "miss", "bypass"} <= seen.keys(), result.summary()
    assert result.faults, result.summary()
