"""`triton-proxy`: it reports mistakes before it starts, serves requests, drains and stops."""

import json
import os
import re
import signal
import socket
import ssl
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version
from pathlib import Path

import httpx
import pytest

from adapter.tests.proxy.serving import BEARER, MASTER
from adapter.tests.upstream import Answer, Upstream, chunked, event, http
from triton_adapter.cli import main

# A test authority, and a server certificate for 127.0.0.1 that it has issued.
PEM = Path(__file__).parents[3] / "emulator/tests/frontends/certificates"
CONFIG = """\
model_list:
  - model_name: m
    litellm_params:
      model: triton/m
      api_base: {url}
"""


@pytest.fixture
def config(tmp_path: Path) -> Path:
    path = tmp_path / "config.yaml"
    path.write_text(CONFIG.format(url="http://127.0.0.1:9") + f"general_settings: {{master_key: {MASTER}}}\n")
    return path


@contextmanager
def running(config: Path, *flags: str, scheme: str = "http") -> Iterator[tuple[subprocess.Popen[str], str]]:
    """Run the command; yield its process and the address that it prints."""
    process = subprocess.Popen(
        [sys.executable, "-m", "triton_adapter.cli", "--config", str(config), "--port", "0", *flags],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONUNBUFFERED": "1"},
    )
    try:
        assert process.stdout is not None
        line = process.stdout.readline()
        found = re.search(rf"{scheme}://\S+", line)
        assert found, process.communicate()
        yield process, found[0].replace("0.0.0.0", "127.0.0.1")
    finally:
        process.kill()
        process.communicate()


def test_it_tells_its_version(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"triton-proxy {version('triton-emulator')}\n"


def test_a_config_that_is_right_is_said_to_be(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(config)]) == 0
    assert capsys.readouterr().out == f"{config}: 1 model, keys are required\n"


def test_warnings_are_printed_and_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(url="http://t") + "litellm_settings: {cache: true}\n")
    assert main(["--check", str(path)]) == 0
    told = capsys.readouterr()
    assert told.err == f"warning: {path}:6: cache has no effect: replies are not cached\n"
    assert told.out == f"{path}: 1 model, no master key: anybody may call\n"


def test_without_a_config_the_command_says_which_flag(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as ended:
        main([])
    assert ended.value.code == 2
    assert "--config FILE is required" in capsys.readouterr().err


def test_without_a_master_key_it_does_not_listen_to_the_world(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    path = tmp_path / "c.yaml"
    path.write_text(CONFIG.format(url="http://t"))
    assert main(["--config", str(path), "--host", "0.0.0.0"]) == 1
    assert "--allow-weak-master-key" in capsys.readouterr().err


def test_a_port_that_is_taken_is_reported_in_one_line(config: Path) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "triton_adapter.cli", "--config", str(config)]
        found = subprocess.run(
            [*command, "--host", "127.0.0.1", "--port", port], capture_output=True, text=True, check=False
        )
    assert found.returncode == 1
    assert found.stderr == f"triton-proxy: cannot listen on 127.0.0.1:{port}: Address already in use\n"


@pytest.mark.parametrize("port", ["99999", "-1", "http", ""])
def test_a_number_that_is_no_port_is_reported(
    config: Path, capsys: pytest.CaptureFixture[str], port: str
) -> None:
    with pytest.raises(SystemExit) as ended:
        main(["--config", str(config), f"--port={port}"])
    assert ended.value.code == 2
    assert f"'{port}' is not a port: 0 to 65535" in capsys.readouterr().err


def test_an_address_that_is_not_this_machines_is_reported(
    config: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["--config", str(config), "--host", "192.0.2.1", "--port", "0"]) == 1
    told = capsys.readouterr().err
    assert told == "triton-proxy: cannot listen on 192.0.2.1:0: Cannot assign requested address\n"


@pytest.mark.parametrize(
    "held", [b"this is no database, but it is long enough to be taken for one" * 9, None]
)
def test_a_file_that_is_no_key_store_is_reported(
    config: Path, capsys: pytest.CaptureFixture[str], held: bytes | None
) -> None:
    keys = config.with_name("config.keys.db")
    if held is None:
        keys.mkdir()
    else:
        keys.write_bytes(held)
    assert main(["--config", str(config), "--host", "127.0.0.1", "--port", "0"]) == 1
    assert capsys.readouterr().err.startswith(
        f"triton-proxy: {keys}: the key store cannot be used: the file "
    )


def test_it_serves_and_keeps_its_key_store_next_to_the_config(config: Path) -> None:
    with running(config) as (process, url):
        made = httpx.post(f"{url}/key/generate", headers=BEARER, json={"key_alias": "x"}).json()
        assert httpx.get(f"{url}/v1/models", headers={"x-api-key": made["key"]}).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.wait(60)
    with running(config) as (_, url):
        assert httpx.get(f"{url}/v1/models", headers={"x-api-key": made["key"]}).status_code == 200
    assert config.with_name("config.keys.db").exists()


def test_it_finishes_what_is_under_way_before_it_stops(tmp_path: Path) -> None:
    with Upstream(decoupled=False) as upstream:
        path = tmp_path / "c.yaml"
        path.write_text(CONFIG.format(url=upstream.url))
        with running(path) as (process, url):
            upstream.on_post = lambda: process.send_signal(signal.SIGTERM)
            upstream.answer(
                http(b'{"outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],"data":["ok"]}]}')
            )
            reply = httpx.post(
                f"{url}/chat/completions",
                json={"model": "m", "messages": [{"role": "user", "content": "hi"}]},
            )
            assert reply.json()["choices"][0]["message"]["content"] == "ok"
            process.wait(60)
        assert process.returncode == 0


def test_a_stream_continues_to_its_end_while_new_connections_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    go_on = threading.Event()

    def slowly() -> Iterator[bytes]:
        yield from chunked(event(text_output="begun"), end=False)
        go_on.wait(60)
        yield from chunked(event(text_output=" and ended"))[1:]

    with Upstream() as upstream:
        path.write_text(CONFIG.format(url=upstream.url))
        upstream.answers.append(Answer(slowly()))
        with running(path) as (process, url):
            asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
            with (
                httpx.Client(base_url=url) as idle,
                httpx.stream("POST", f"{url}/chat/completions", json=asked) as reply,
            ):
                assert idle.get("/health/liveliness").status_code == 200
                lines = reply.iter_lines()
                assert "begun" in next(line for line in lines if "begun" in line)
                process.send_signal(signal.SIGTERM)
                wait_until_refused(url)
                with pytest.raises(httpx.TransportError):
                    idle.get("/health/liveliness")
                go_on.set()
                rest = [line for line in lines if line]
            assert " and ended" in rest[0]
            assert rest[-1] == "data: [DONE]"
            assert process.wait(60) == 0


def test_a_stream_that_takes_too_long_to_finish_ends_with_an_error(tmp_path: Path) -> None:
    path = tmp_path / "c.yaml"
    with Upstream() as upstream:
        path.write_text(CONFIG.format(url=upstream.url) + "general_settings: {drain_seconds: 0}\n")
        upstream.answer(*chunked(event(text_output="begun"), end=False), then="hang")
        with running(path) as (process, url):
            asked = {"model": "m", "messages": [{"role": "user", "content": "hi"}], "stream": True}
            with httpx.stream("POST", f"{url}/chat/completions", json=asked) as reply:
                lines = reply.iter_lines()
                assert "begun" in next(line for line in lines if "begun" in line)
                process.send_signal(signal.SIGTERM)
                (last,) = [line for line in lines if line]
            assert json.loads(last.removeprefix("data: "))["error"]["code"] == "upstream_unavailable"
            assert process.wait(60) == 0
        assert upstream.left.wait(60)


def wait_until_refused(url: str) -> None:
    deadline = time.monotonic() + 60
    host, port = url.removeprefix("http://").split(":")
    while time.monotonic() < deadline:
        try:
            socket.create_connection((host, int(port)), timeout=60).close()
        except ConnectionError:  # refused, or reset as the listening socket was closed
            return
    raise AssertionError("new connections are still taken")


def test_it_serves_https_with_litellms_flags(config: Path) -> None:
    flags = ("--ssl_certfile_path", str(PEM / "server.pem"), "--ssl_keyfile_path", str(PEM / "server.key"))
    with running(config, *flags, "--host", "127.0.0.1", scheme="https") as (_, url):
        trusting = ssl.create_default_context(cafile=str(PEM / "authority.pem"))
        assert httpx.get(f"{url}/health/liveliness", verify=trusting).text == '"I\'m alive!"'


@pytest.mark.parametrize(
    ("certificate", "key", "told"),
    [
        ("server.pem", None, "HTTPS needs both --ssl_certfile_path and --ssl_keyfile_path"),
        ("nothing.pem", "server.key", f"{PEM}/nothing.pem cannot be read: No such file or directory"),
        (
            "server.pem",
            "client.key",
            f"{PEM}/server.pem and {PEM}/client.key cannot be used: key values mismatch",
        ),
        ("server.pem", "server.pem", f"{PEM}/server.pem and {PEM}/server.pem cannot be used: "),
    ],
)
def test_a_certificate_that_cannot_be_used_is_reported(
    config: Path, capsys: pytest.CaptureFixture[str], certificate: str, key: str | None, told: str
) -> None:
    flags = ["--ssl_certfile_path", str(PEM / certificate)]
    if key is not None:
        flags += ["--ssl_keyfile_path", str(PEM / key)]
    assert main(["--config", str(config), *flags]) == 1
    assert capsys.readouterr().err.startswith(f"triton-proxy: {told}")


def test_a_request_that_outlasts_the_drain_gets_503_with_retry_after(tmp_path: Path) -> None:
    with Upstream(decoupled=False) as upstream:
        path = tmp_path / "c.yaml"
        path.write_text(CONFIG.format(url=upstream.url) + "general_settings: {drain_seconds: 0}\n")
        with running(path) as (process, url):
            upstream.on_post = lambda: process.send_signal(signal.SIGTERM)
            upstream.answer(then="hang")
            reply = httpx.post(
                f"{url}/chat/completions",
                json={"model": "m", "messages": [{"role": "user", "content": "hi"}]},
            )
            assert (reply.status_code, reply.headers["retry-after"]) == (503, "1")
            process.wait(60)
            assert process.stderr is not None
            assert "Traceback" not in process.stderr.read()


def test_the_log_holds_no_address_no_key_and_no_message(config: Path) -> None:
    secret = "a prompt that nobody else should read"
    with running(config, "--detailed_debug") as (process, url):
        for headers in (BEARER, {"x-api-key": "sk-wrong-wrong"}):
            body = json.dumps({"model": "m", "messages": [{"role": "user", "content": secret}]})
            httpx.post(f"{url}/chat/completions", headers=headers, content=body, timeout=30)
        httpx.get(f"{url}/key/info?key=sk-in-the-query", headers=BEARER)
        process.send_signal(signal.SIGTERM)
        process.wait(60)
        assert process.stderr is not None
        log = process.stderr.read()
    assert "503 upstream_unavailable for model m: req_" in log
    assert "503 upstream_unavailable at deployment " in log
    assert "503 chat/completions m in " in log
    assert "401 chat/completions ? in " in log
    for hidden in (secret, MASTER, "sk-wrong", "sk-in-the-query", "127.0.0.1:9", "Traceback"):
        assert hidden not in log
