"""`bsc serve` as people start it: a process, signals, ports, workers."""

import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from binary_semantic_cache.cli.serve_banner import DEMO_QUESTIONS
from binary_semantic_cache.proxy.processes.listening import bound_socket
from served import BSC, CONFIGURED, KEY, TOKEN, SlowUpstream, asking, chat, get, serving, until

pytestmark = pytest.mark.skipif(os.name == "nt", reason="signals and /proc")


@pytest.fixture
def upstream():
    with SlowUpstream() as server:
        yield server


@pytest.fixture
def configured(tmp_path, upstream, int8_model):
    """Arguments for a proxy that knows `KEY` and asks `upstream`."""
    (tmp_path / "bsc.toml").write_text(CONFIGURED)
    return ["--config", "bsc.toml", "--upstream-openai", upstream.url]


def bsc(*arguments, folder=None, **environment):
    return subprocess.run(
        [*BSC, "serve", *arguments],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={**os.environ, **environment},
        input="",
        timeout=60,
    )


def is_gone(pid):
    """Whether a process has ended; one that nobody has waited for yet counts."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


# The demo


def test_the_demo_answers_as_it_says_and_ends_with_status_0(tmp_path, int8_model):
    with serving("--demo", folder=tmp_path) as served:
        until(lambda: served.text.count("curl ") == len(DEMO_QUESTIONS), "the commands to try")
        for question, outcome, _ in DEMO_QUESTIONS:
            assert f'"content": "{question}"' in served.text
            reply = chat(served.url, question, key="demo")
            assert reply.json()["choices"][0]["message"]["content"].startswith("[demo model]")
            assert reply.headers["x-bsc-cache"] == outcome
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
        assert "Traceback" not in served.text
    assert list(tmp_path.iterdir()) == []


def test_the_demo_with_configured_keys_says_that_it_wants_one_of_them(tmp_path, int8_model):
    file = tmp_path / "keys.toml"
    file.write_text(CONFIGURED)
    with serving("--demo", "--config", str(file), folder=tmp_path) as served:
        until(lambda: "Bearer $KEY" in served.text, "the commands to try")
        assert "KEY is one that is configured" in served.text
        assert "Bearer demo" not in served.text
        assert chat(served.url, "What is a leap year?", key="demo").status_code == 401
        assert chat(served.url, "What is a leap year?", key=KEY).status_code == 200


def test_the_demo_with_workers_keeps_its_file_elsewhere_and_removes_it(tmp_path, int8_model):
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    environment = {"TMPDIR": str(temporary)}
    with serving("--demo", "--workers", "2", folder=tmp_path, environment=environment) as served:
        assert chat(served.url, "What is a leap year?").content
        assert any(path.name == "answers.db" for path in temporary.rglob("*"))
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
    assert list(temporary.iterdir()) == []
    assert [path.name for path in tmp_path.iterdir()] == ["tmp"]


# Start


def test_the_start_says_where_it_is_and_what_to_set(tmp_path, configured):
    with serving(*configured, folder=tmp_path) as served:
        assert served.said[0] == f"listening on {served.url}\n"
        assert f"OPENAI_BASE_URL={served.url}/v1\n" in served.text
        assert f"ANTHROPIC_BASE_URL={served.url}\n" in served.text
        assert "in bsc-cache.db, 0 so far" in served.text
        assert get(served.url, "/healthz").status_code == get(served.url, "/readyz").status_code == 200
        assert get(served.admin_url, "/healthz").status_code == 200
        assert get(served.admin_url, "/readyz").json() == {"status": "ready"}
        assert get(served.admin_url, "/api/recent").status_code == 401
        assert get(served.admin_url, "/api/recent", TOKEN).status_code == 200


def test_a_token_that_was_made_is_shown_and_opens_the_admin_port(tmp_path, configured):
    with serving(*configured, folder=tmp_path, environment={"BSC_SERVER_ADMIN_TOKEN": ""}) as served:
        token = served.text.split("token: ")[1].split()[0]
        assert len(token) == 32
        assert get(served.admin_url, "/api/recent", token).status_code == 200


def test_no_secret_is_said_or_stands_on_a_command_line(tmp_path, configured):
    environment = {"BSC_UPSTREAM_OPENAI_API_KEY": "sk-canary-of-the-upstream"}
    with serving(*configured, "--workers", "2", folder=tmp_path, environment=environment) as served:
        assert chat(served.url, "What is a leap year?").content
        lines = [Path(f"/proc/{pid}/cmdline").read_bytes() for pid in [served.process.pid, *served.workers()]]
        assert len(lines) == 3
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
        said = b"".join(lines) + (served.text + served.process.stdout.read()).encode()
    for canary in (TOKEN, KEY, "canary"):
        assert canary.encode() not in said


@pytest.mark.parametrize("host", ["0.0.0.0", "::", "10.1.2.3"])
def test_no_other_host_without_configured_keys(tmp_path, host):
    done = bsc("--host", host, folder=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1
    assert "--hash-key" in done.stderr
    assert list(tmp_path.iterdir()) == []


def test_with_configured_keys_another_host_is_served(tmp_path, configured):
    with serving(*configured, "--host", "0.0.0.0", folder=tmp_path) as served:
        assert "put TLS in front of it" in served.text
        assert chat(served.url, "What is a leap year?").status_code == 200
        assert chat(served.url, "What is a leap year?", key="unknown").status_code == 401


def test_a_port_in_use_is_one_line_and_status_1(tmp_path):
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        done = bsc("--port", str(port), folder=tmp_path)
    assert done.returncode == 1
    said = f"server.port: port {port} of 127.0.0.1 is in use by another program; choose another, or 0"
    assert done.stderr == f"bsc: error: {said}\n"
    assert list(tmp_path.iterdir()) == []


def test_a_host_that_is_not_of_this_machine_is_one_line(tmp_path, configured):
    done = bsc(*configured, "--host", "192.0.2.1", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr == "bsc: error: server.port: 192.0.2.1 is no address of this machine\n"


def test_a_cache_file_of_another_embedder_is_one_line(tmp_path, configured):
    (tmp_path / "bsc-cache.db").write_bytes(b"no database" * 1000)
    done = bsc(*configured, "--port", "0", "--admin-port", "0", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("bsc: error: ")
    assert len(done.stderr.splitlines()) == 1


def test_several_things_wrong_are_a_line_each(tmp_path):
    done = bsc("--port", "x", "--set", "cache.tll=1", "--workers", "0", folder=tmp_path)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 3
    assert all(line.startswith("bsc: error: --") for line in done.stderr.splitlines())


def test_a_missing_extra_is_one_line():
    program = (
        "import sys; sys.modules['uvicorn'] = None\n"
        "from binary_semantic_cache.cli.main import main; sys.exit(main(['serve']))"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert done.stderr.startswith("bsc: error: uvicorn is not installed; install the extra `proxy`")
    assert len(done.stderr.splitlines()) == 1


def test_help_loads_no_server():
    program = (
        "import sys\n"
        "from binary_semantic_cache.cli.main import build_parser\n"
        "build_parser().format_help()\n"
        "print([m for m in ('uvicorn', 'starlette', 'httpx', 'prometheus_client') if m in sys.modules])\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


# What serves nothing


def test_print_config_prints_what_is_read_back(tmp_path):
    first = bsc("--print-config", "--port", "1234", "--set", "log.format=json", folder=tmp_path)
    assert first.returncode == 0
    assert "port = 1234  # --port\n" in first.stdout
    (tmp_path / "bsc.toml").write_text(first.stdout)
    second = bsc("--print-config", folder=tmp_path, BSC_CONFIG="bsc.toml")

    def values(text):
        return [line.partition("  #")[0] for line in text.splitlines()]

    assert values(second.stdout) == values(first.stdout)


def test_check_says_right_or_wrong_and_touches_nothing(tmp_path):
    right = bsc("--check", "--mode", "shadow", folder=tmp_path)
    assert (right.returncode, right.stdout) == (0, "the configuration is right\n")
    assert "shadow mode" in right.stderr
    assert bsc("--check", "--mode", "shado", folder=tmp_path).returncode == 1
    assert list(tmp_path.iterdir()) == []


def test_hash_key_prints_an_entry_without_the_key():
    done = subprocess.run(
        [*BSC, "serve", "--hash-key"], input=f"{KEY}\n", capture_output=True, text=True, check=True
    )
    assert f'sha256 = "{hashlib.sha256(KEY.encode()).hexdigest()}"' in done.stdout
    assert KEY not in done.stdout + done.stderr
    assert bsc("--hash-key").returncode == 1


# The end


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_stream_under_way_ends_and_is_kept_when_a_signal_comes(tmp_path, configured, upstream, workers):
    with serving(*configured, "--workers", workers, folder=tmp_path) as served:
        with asking(served.url, "How do I undo the last commit?") as reply:
            lines = reply.iter_lines()
            assert "One" in next(lines)
            served.process.send_signal(signal.SIGTERM)
            until(served.refuses, "no more connections")
            upstream.go_on.set()
            assert [line for line in lines if line][-1] == "data: [DONE]"
        assert served.end() == 0
        assert "Traceback" not in served.text
    with (
        serving(*configured, folder=tmp_path) as served,
        asking(served.url, "How do I undo the last commit?") as again,
    ):
        assert again.headers["x-bsc-cache"] == "exact"
        assert "data: [DONE]" in again.read().decode()
    assert upstream.calls == 1


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_second_signal_ends_at_once(tmp_path, configured, upstream, workers):
    with (
        serving(*configured, "--workers", workers, folder=tmp_path) as served,
        asking(served.url, "How do I undo the last commit?") as reply,
    ):
        assert next(reply.iter_raw())
        children = served.workers()
        served.process.send_signal(signal.SIGTERM)
        until(served.refuses, "no more connections")
        assert served.process.poll() is None
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 128 + signal.SIGTERM
        assert "second signal" in served.text
        assert "Traceback" not in served.text
        until(lambda: all(map(is_gone, children)), "no worker left")


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_terminal_that_is_closed_ends_it_in_order_however_often_it_says_so(
    tmp_path, configured, upstream, workers
):
    with (
        serving(*configured, "--workers", workers, folder=tmp_path) as served,
        asking(served.url, "How do I undo the last commit?") as reply,
    ):
        lines = reply.iter_lines()
        assert "One" in next(lines)
        served.process.send_signal(signal.SIGHUP)
        until(served.refuses, "no more connections")
        served.process.send_signal(signal.SIGHUP)
        upstream.go_on.set()
        assert [line for line in lines if line][-1] == "data: [DONE]"
        assert served.end() == 0
        assert "second signal" not in served.text


def test_streams_that_take_longer_than_allowed_are_cut(tmp_path, configured, upstream):
    with (
        serving(*configured, "--set", "server.shutdown_seconds=0.2", folder=tmp_path) as served,
        asking(served.url, "How do I undo the last commit?") as reply,
    ):
        assert next(reply.iter_raw())
        served.process.send_signal(signal.SIGINT)
        assert served.end() == 0
        assert "Traceback" not in served.text


@pytest.mark.parametrize("workers", ["1", "2"])
def test_before_it_stops_accepting_it_says_that_it_is_not_ready(tmp_path, configured, workers):
    drain = ["--set", "server.drain_seconds=600", "--workers", workers]
    with serving(*configured, *drain, folder=tmp_path) as served:
        served.process.send_signal(signal.SIGTERM)
        until(lambda: get(served.url, "/readyz").status_code == 503, "not to be ready")
        told = get(served.admin_url, "/readyz")
        assert (told.status_code, told.json()) == (503, {"status": "draining"})
        assert chat(served.url, "What is a leap year?").status_code == 200
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 128 + signal.SIGTERM


def test_the_service_manager_is_told_of_start_and_end(tmp_path, configured):
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.settimeout(60)
        manager.bind(str(tmp_path / "notify"))
        environment = {"NOTIFY_SOCKET": str(tmp_path / "notify")}
        with serving(*configured, "--workers", "2", folder=tmp_path, environment=environment) as served:
            assert manager.recv(100) == b"READY=1"
            served.process.send_signal(signal.SIGTERM)
            assert manager.recv(100) == b"STOPPING=1"
            assert served.end() == 0
        manager.settimeout(0)
        with pytest.raises(BlockingIOError):
            manager.recv(100)


# Workers


def test_a_worker_that_is_killed_is_replaced_and_nothing_is_forgotten(tmp_path, configured, upstream):
    with serving(*configured, "--workers", "2", folder=tmp_path) as served:

        def asked():
            return chat(served.url, "What is a leap year?").headers["x-bsc-cache"]

        assert asked() == "miss"
        # An answer is kept after it was given.
        until(lambda: asked() == "exact", "an answer that is kept")
        n_calls = upstream.calls
        first = served.workers()
        assert len(first) == 2
        os.kill(first[0], signal.SIGKILL)
        until(lambda: len(set(served.workers()) - {first[0]}) == 2, "another worker")
        until(lambda: "signal 9; starting another" in served.text, "a word about it")
        until(lambda: "accepts requests" in served.text, "a word about the other")
        assert [asked() for _ in range(20)] == ["exact"] * 20
        assert upstream.calls == n_calls
        os.kill(first[1], signal.SIGTERM)
        until(lambda: "status 0; starting another" in served.text, "a worker that was asked to end")
        children = served.workers()
        served.process.send_signal(signal.SIGTERM)
        assert served.end() == 0
        assert all(map(is_gone, children))


def test_the_admin_port_shows_and_counts_what_all_workers_did(tmp_path, configured):
    with serving(*configured, "--workers", "2", folder=tmp_path) as served:
        for number in range(12):
            assert chat(served.url, f"How many days have {number} leap years?").content
        recent = until(
            lambda: (
                len(found := get(served.admin_url, "/api/recent", TOKEN).json()["requests"]) == 12 and found
            ),
            "twelve requests to be shown",
        )
        assert {each["outcome"] for each in recent} == {"miss"}
        assert any("leap years" in json.dumps(each) for each in recent)

        def counted():
            lines = get(served.admin_url, "/metrics").text.splitlines()
            return sum(float(line.split()[-1]) for line in lines if line.startswith("bsc_requests_total{"))

        until(lambda: counted() == 12, "twelve requests to be counted")


def test_workers_end_when_whoever_looks_after_them_is_killed(tmp_path, configured):
    with serving(*configured, "--workers", "2", folder=tmp_path) as served:
        children = served.workers()
        served.process.kill()
        until(lambda: all(map(is_gone, children)), "no worker left")


def test_a_memory_cache_with_workers_is_refused(tmp_path):
    done = bsc("--workers", "2", "--cache", ":memory:", folder=tmp_path)
    assert done.returncode == 1
    assert done.stderr.startswith("bsc: error: cache.path: expected a file with 2 workers")


def test_the_end_of_a_reply_does_not_wait_for_the_clients_word_of_its_beginning():
    # asyncio switches that off only for sockets that name their protocol: 40 ms a reply.
    with bound_socket("127.0.0.1", 0, "server.port") as bound:
        assert bound.proto == socket.IPPROTO_TCP
        with socket.socket(fileno=os.dup(bound.fileno())) as as_a_worker_has_it:
            assert as_a_worker_has_it.proto == socket.IPPROTO_TCP
