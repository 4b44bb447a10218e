"""The `bsc` command as a shell sees it: real processes, their output and exit status."""

import argparse
import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import binary_semantic_cache
from binary_semantic_cache.cli.main import build_parser

ROOT = Path(__file__).parents[1]
BSC = [sys.executable, "-m", "binary_semantic_cache.cli.main"]


def bsc(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [*BSC, *arguments], capture_output=True, text=True, check=False, env={**os.environ, **environment}
    )


def test_help_shows_commands_and_examples():
    done = bsc("--help")
    assert done.returncode == 0
    assert "bsc demo --json" in done.stdout
    assert "bsc model install" in done.stdout
    assert done.stderr == ""


def commands(parser=None, path=()):
    """Every command of `bsc`, by the words that name it."""
    parser = parser or build_parser()
    actions = [action for action in parser._actions if isinstance(action, argparse._SubParsersAction)]
    if not actions:
        return [list(path)]
    return [
        command for name, inner in actions[0].choices.items() for command in commands(inner, (*path, name))
    ]


def test_every_command_is_named_in_the_documentation():
    text = (ROOT / "docs" / "cache-files.md").read_text()
    everything = "".join(path.read_text() for path in (ROOT / "docs").glob("*.md"))
    for command in commands():
        assert f"`bsc {command[0]}`" in text
        assert f"bsc {' '.join(command)}" in everything


def test_every_option_of_a_command_about_files_is_in_its_help_or_the_documentation():
    text = (ROOT / "docs" / "cache-files.md").read_text()
    for option in ("--entries", "--tag", "--prompt", "--codes", "--repair", "--no-backup", "--no-secret"):
        assert option in text
    for option in ("--replace", "--scope", "--prompt-field", "--answer-field", "--json"):
        assert option in text


@pytest.mark.parametrize("command", commands(), ids=" ".join)
def test_help_of_every_command_has_an_example(command):
    done = bsc(*command, "--help")
    assert done.returncode == 0
    assert f"  bsc {' '.join(command)}" in done.stdout.split("examples:")[1]


def test_version_is_the_version_of_the_package():
    done = bsc("--version")
    assert done.returncode == 0
    assert done.stdout == f"bsc {binary_semantic_cache.__version__}\n"


def test_installed_command_is_this_one():
    done = subprocess.run(
        [Path(sys.executable).with_name("bsc"), "--version"], capture_output=True, text=True, check=True
    )
    assert done.stdout == bsc("--version").stdout


def test_no_command_prints_the_help_to_stderr_and_is_wrong_usage():
    done = bsc()
    assert done.returncode == 2
    assert done.stdout == ""
    assert done.stderr.startswith("usage: bsc")


def test_unknown_command_is_wrong_usage():
    done = bsc("dmeo")
    assert done.returncode == 2
    assert "invalid choice: 'dmeo'" in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.parametrize(
    ("option", "value", "message"),
    [
        ("--threshold", "1.5", "expected 0 to 1, got 1.5"),
        ("--threshold", "nan", "expected 0 to 1, got nan"),
        ("--threshold", "high", "expected a number, got high"),
        ("--call-seconds", "0", "expected a positive number of seconds, got 0"),
        ("--call-seconds", "inf", "expected a positive number of seconds, got inf"),
    ],
)
def test_wrong_value_of_a_demo_option_is_wrong_usage(option, value, message):
    done = bsc("demo", option, value)
    assert done.returncode == 2
    assert message in done.stderr


def test_error_of_the_package_is_one_line_and_status_1(tmp_path):
    done = bsc("model", "show", "--folder", str(tmp_path / "nothing"))
    assert done.returncode == 1
    assert done.stdout == ""
    assert done.stderr.startswith("bsc: error: ")
    assert len(done.stderr.splitlines()) == 1


@pytest.mark.skipif(sys.platform == "win32", reason="no SIGINT for one child on Windows")
def test_interrupt_ends_with_status_130_and_no_traceback(int8_model):
    child = subprocess.Popen([*BSC, "demo"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    while not child.stderr.readline().startswith("[2/5] embed"):
        assert child.poll() is None
    child.send_signal(signal.SIGINT)
    _, rest = child.communicate()
    assert child.returncode == 130
    assert rest.endswith("bsc: interrupted\n")
    assert "Traceback" not in rest


@pytest.mark.skipif(sys.platform == "win32", reason="no broken pipes on Windows")
def test_reader_that_leaves_early_gets_no_traceback(int8_model):
    reader, writer = os.pipe()
    os.close(reader)
    try:
        done = subprocess.run(
            [*BSC, "demo", "--json"], stdout=writer, stderr=subprocess.PIPE, text=True, check=False
        )
    finally:
        os.close(writer)
    assert done.returncode == 141
    assert done.stderr.splitlines()[-1].startswith("[5/5]")


def test_help_loads_neither_the_model_runtime_nor_the_demonstration():
    program = (
        "import sys\n"
        "from binary_semantic_cache.cli.main import build_parser\n"
        "build_parser().format_help()\n"
        "print([m for m in ('onnxruntime', 'tokenizers', 'onnx', 'tqdm', 'uvicorn')"
        " if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_every_command_says_what_it_runs():
    parser = build_parser()
    files = (["inspect", "x.db"], ["verify", "x.db"], ["reembed", "x.db"])
    pairs = (["export", "x.db", "x.npz"], ["import", "x.npz", "x.db"])
    proofs = (["evaluate", "x.csv"], ["calibrate", "x.csv"], ["label", "x.csv", "--out", "y"])
    for command in (
        ["demo"],
        ["serve"],
        ["model"],
        ["model", "install"],
        ["model", "show"],
        *files,
        *pairs,
        *proofs,
    ):
        assert callable(parser.parse_args(command).run)


def test_a_full_disk_under_the_output_is_one_line(int8_model):
    with Path("/dev/full").open("w") as full:
        done = subprocess.run(
            [*BSC, "model", "show"], stdout=full, stderr=subprocess.PIPE, text=True, check=False
        )
    assert done.returncode == 1
    assert done.stderr == "bsc: error: No space left on device\n"
