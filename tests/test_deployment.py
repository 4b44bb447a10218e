"""The systemd unit and the Dockerfile, as far as they can be checked without running them."""

import re
import shutil
import subprocess
import tomllib
from pathlib import Path

import pytest

from binary_semantic_cache.proxy.configuration.keys import KEYS, SECRET_FILES
from binary_semantic_cache.proxy.settings import ServerSettings

ROOT = Path(__file__).parents[1]
UNIT = ROOT / "packaging" / "systemd" / "bsc-proxy.service"
DOCKERFILE = ROOT / "packaging" / "docker" / "Dockerfile"
OTHER_VARIABLES = {"BSC_MODEL_DIR", "BSC_CONFIG"}


@pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="systemd-analyze is not installed")
def test_systemd_finds_nothing_wrong_with_the_unit(tmp_path):
    unit = tmp_path / UNIT.name
    unit.write_text(UNIT.read_text().replace("/opt/bsc/bin/bsc", "/bin/true"))
    done = subprocess.run(["systemd-analyze", "verify", unit], capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")


def test_the_unit_is_stopped_later_than_the_proxy_ends_by_itself():
    stop_seconds = float(re.search(r"TimeoutStopSec=(\d+)", UNIT.read_text())[1])
    assert stop_seconds > ServerSettings().shutdown_seconds + ServerSettings().drain_seconds + 5


def test_a_proxy_that_cannot_start_reaches_the_limit_of_the_unit():
    text = UNIT.read_text()
    interval, burst, pause = (
        float(re.search(rf"^{name}=(\d+)$", text, re.M)[1])
        for name in ("StartLimitIntervalSec", "StartLimitBurst", "RestartSec")
    )
    seconds_to_fail = 8  # on a slow machine; one or two elsewhere
    assert burst * (pause + seconds_to_fail) < interval


@pytest.mark.parametrize(
    "path", [UNIT, DOCKERFILE, ROOT / "docs" / "proxy-running.md"], ids=lambda path: path.name
)
def test_variables_that_are_set_are_read(path):
    known = {key.variable for key in [*KEYS.values(), *SECRET_FILES.values()]} | OTHER_VARIABLES
    assert set(re.findall(r"\bBSC_[A-Z_]+", path.read_text())) <= known


def test_what_the_image_is_built_from_is_not_ignored():
    ignored = (DOCKERFILE.parent / "Dockerfile.dockerignore").read_text().splitlines()
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    for needed in ("pyproject.toml", "Cargo.toml", "Cargo.lock", "rust", "python", project["readme"]):
        assert f"!{needed}" in ignored
    assert set(project["license-files"]) == {
        "LICENSE",
        "python/binary_semantic_cache/text/tables/WORDNET-LICENSE",
    }
    assert "!LICENSE" in ignored
    extras = re.search(r"\.whl\)\[([\w,]+)\]", DOCKERFILE.read_text())[1].split(",")
    assert set(extras) <= set(project["optional-dependencies"])


def test_the_image_runs_as_a_user_that_is_seen_not_to_be_root():
    # Kubernetes refuses a name under runAsNonRoot; the number must be the one that `/data` was made for.
    text = DOCKERFILE.read_text()
    users = re.findall(r"^USER (\d+):(\d+)$", text, re.MULTILINE)
    made = re.search(r"useradd --uid (\d+)", text)[1]
    assert users == [(made, made)]
    assert made != "0"
