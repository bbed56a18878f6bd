"""`triton-proxy`: it says what is wrong before it starts, serves, drains and stops."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from adapter.tests.proxy.serving import BEARER, MASTER
from adapter.tests.upstream import Upstream, http
from triton_adapter.cli import main

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
def running(config: Path, *flags: str) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """The command, and the address it says it serves on."""
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
        found = re.search(r"http://\S+", line)
        assert found, process.communicate()
        yield process, found[0].replace("0.0.0.0", "127.0.0.1")
    finally:
        process.kill()
        process.communicate()


def test_a_config_that_is_right_is_said_to_be(config: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--check", str(config)]) == 0
    assert capsys.readouterr().out == f"{config}: 1 model, keys are required\n"


def test_warnings_are_told_and_are_no_failure(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
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


def test_a_port_that_is_taken_is_told_in_one_line(config: Path) -> None:
    import socket

    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = str(taken.getsockname()[1])
        command = [sys.executable, "-m", "triton_adapter.cli", "--config", str(config)]
        found = subprocess.run(
            [*command, "--host", "127.0.0.1", "--port", port], capture_output=True, text=True, check=False
        )
    assert found.returncode == 1
    assert found.stderr == f"triton-proxy: 127.0.0.1:{port} cannot be listened on: Address already in use\n"


def test_it_serves_and_keeps_its_keys_beside_the_config(config: Path) -> None:
    with running(config) as (process, url):
        made = httpx.post(f"{url}/key/generate", headers=BEARER, json={"key_alias": "x"}).json()
        assert httpx.get(f"{url}/v1/models", headers={"x-api-key": made["key"]}).status_code == 200
        process.send_signal(signal.SIGTERM)
        process.wait(10)
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
            process.wait(10)
        assert process.returncode in (0, -signal.SIGTERM)


def test_what_takes_too_long_to_finish_is_told_to_come_back(tmp_path: Path) -> None:
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
            process.wait(10)
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
        process.wait(10)
        assert process.stderr is not None
        log = process.stderr.read()
    assert "503 upstream_unavailable for model m: req_" in log
    assert "503 upstream_unavailable at deployment " in log
    assert "503 chat/completions m in " in log
    assert "401 chat/completions ? in " in log
    for hidden in (secret, MASTER, "sk-wrong", "sk-in-the-query", "127.0.0.1:9", "Traceback"):
        assert hidden not in log
