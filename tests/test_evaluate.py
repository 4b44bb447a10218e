"""`bsc evaluate` as it is run."""

import json
import re

import pytest

from binary_semantic_cache.cli.main import main
from labelled_pairs import ROWS, write_lines


@pytest.fixture
def lines_file(tmp_path):
    return write_lines(tmp_path / "pairs.jsonl", ROWS)


def test_json_has_the_shares(lines_file, int8_model, capsys):
    assert main(["evaluate", str(lines_file), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["served"], found["wrong"], found["threshold"]) == (0.5, 0.5, 0.82)
    assert found["by_category"]["all"]["wrong"] == 0.5
    assert found["outcomes"]["traps"] == {"exact": 1, "guard": 1}
    assert found["wrong_serves"][0]["a"] == ROWS[3]["a"]


def test_the_text_has_shares_categories_curve_guards_and_mistakes(lines_file, int8_model, capsys):
    assert main(["evaluate", str(lines_file)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"^served +50\.0 % \[9\.\d to 90\.\d\], 1 of 2", text, re.MULTILINE)
    assert re.search(r"^numbers +1 +0 +1$", text, re.MULTILINE)
    assert "P-CHR AUC" in text
    assert ROWS[3]["a"] in text
    assert main(["evaluate", str(lines_file), "--no-text"]) == 0
    assert "ferry" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("most", "strict", "status"), [("0.5", False, 0), ("0.4", False, 3), ("0.5", True, 3)]
)
def test_more_wrong_answers_than_admitted_are_status_3(lines_file, int8_model, capsys, most, strict, status):
    options = ["--max-wrong", most, "--json", *["--strict"] * strict]
    assert main(["evaluate", str(lines_file), *options]) == status
    out, err = capsys.readouterr()
    assert json.loads(out)["wrong"] == 0.5
    assert (f"to be at most {most}, got" in err) == (status == 3)


def test_two_columns_without_labels_say_what_would_be_served(tmp_path, int8_model, capsys):
    path = tmp_path / "p.csv"
    path.write_text(f"first,second\n{ROWS[0]['a']},{ROWS[0]['b']}\n{ROWS[1]['a']},{ROWS[1]['b']}\n")
    assert main(["evaluate", str(path)]) == 0
    text = capsys.readouterr().out
    assert re.search(r"served +50\.0 % .* 1 of 2 of the pairs without a label", text)
    assert "wrong" not in text
    assert main(["evaluate", str(path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["served"], found["wrong"], found["unlabelled"]) == (None, None, {"n": 2, "served": 0.5})
    assert main(["evaluate", str(path), "--max-wrong", "0.1"]) == 1
    assert "expected pairs labelled 0 for --max-wrong" in capsys.readouterr().err


def test_a_page_and_a_picture_are_written(lines_file, int8_model, tmp_path, capsys):
    html, png = tmp_path / "report.html", tmp_path / "curve.png"
    assert main(["evaluate", str(lines_file), "--html", str(html), "--png", str(png)]) == 0
    assert html.read_text().startswith("<!doctype html>")
    assert png.read_bytes().startswith(b"\x89PNG")


def test_a_picture_without_matplotlib_is_refused_before_anything_is_asked(
    lines_file, tmp_path, capsys, monkeypatch
):
    monkeypatch.setattr("binary_semantic_cache.proof.plot.find_spec", lambda name: None)
    assert main(["evaluate", str(lines_file), "--png", str(tmp_path / "c.png"), "--embedder", "none"]) == 1
    assert "binary-semantic-cache[plot]" in capsys.readouterr().err


def test_a_threshold_and_a_limit_are_obeyed(lines_file, int8_model, capsys):
    assert main(["evaluate", str(lines_file), "--threshold", "0.999", "--limit", "3", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["threshold"], found["pairs"]) == (0.999, 3)


def test_with_the_judge_the_thresholds_are_its_probabilities(lines_file, int8_model, capsys):
    assert main(["evaluate", str(lines_file), "--judge", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert (found["threshold"], found["threshold_of"], found["least_cosine"]) == (0.904, "probability", 0.66)
    assert found["curve_disagrees"] == 0
    assert main(["evaluate", str(lines_file), "--judge", "--threshold", "0.5"]) == 0
    said = "threshold  0.500 of the judge's probability, asked from a cosine of 0.66"
    assert said in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--judge", "--threshold", "-0.5"], "expected least_probability from 0.0 to 1.0, got -0.5"),
        (["--strict"], "expected --max-wrong with --strict"),
        (["--columns", "a,b"], "ends in .csv or .tsv"),
        (["--embedder", "none"], "expected one of local"),
    ],
)
def test_wrong_use_is_one_line(lines_file, capsys, options, message):
    assert main(["evaluate", str(lines_file), *options]) == 1
    err = capsys.readouterr().err
    assert message in err
    assert len(err.splitlines()) == 1
