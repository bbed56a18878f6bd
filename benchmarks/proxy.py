"""Measures our proxy, LiteLLM's and nginx in one run: one upstream that answers at once, a key on every request.

LiteLLM's proxy has its own environment (`.venv-litellm-proxy`, hash-locked). nginx compares the key and forwards bytes,
which is the least that a proxy can do. A server that is not available is left out.
"""

import http.client
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median

from benchmarks.load import Rate, Request, Unmeasured, measure, require_wrk
from benchmarks.servers import MIB, _cpu_ticks, _family, _resident

ROOT = Path(__file__).parents[1]
CONNECTIONS = (1, 16, 64)
KEY = "sk-benchmark-7Qx2mVn9Lr4T"
START_TIMEOUT = 90.0
STREAMS = 60
# A shorter round would end before LiteLLM has answered 64 connections once.
LEAST_SECONDS = 3
CHAT = {"model": "m", "messages": [{"role": "user", "content": "who are u?"}], "max_tokens": 10}
CONFIG = """\
model_list:
  - model_name: m
    litellm_params:
      model: triton/m
      api_base: {upstream}/v2/models/m/generate
general_settings:
  master_key: {key}
"""
NGINX = """\
daemon off;
worker_processes 1;
pid {folder}/nginx.pid;
error_log stderr crit;
events {{ worker_connections 1024; }}
http {{
  access_log off;
  client_body_temp_path {folder}/body;
  proxy_temp_path {folder}/proxy;
  fastcgi_temp_path {folder}/fastcgi;
  uwsgi_temp_path {folder}/uwsgi;
  scgi_temp_path {folder}/scgi;
  upstream triton {{ server {upstream}; keepalive 128; }}
  server {{
    listen 127.0.0.1:{port};
    keepalive_requests 1000000000;
    location = /health/liveliness {{ return 200; }}
    location / {{
      if ($http_authorization != "Bearer {key}") {{ return 401; }}
      proxy_http_version 1.1;
      proxy_set_header Connection "";
      proxy_buffering off;
      proxy_pass http://triton;
    }}
  }}
}}
"""


@dataclass
class Served:
    """A server under load: how to reach it, and how long it took to start."""

    name: str
    port: int
    pid: int
    ready_s: float
    chat: Request
    stream: Request

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def cpu_seconds(self) -> float:
        return sum(_cpu_ticks(pid) for pid in _family(self.pid)) / os.sysconf("SC_CLK_TCK")

    def resident_mib(self) -> float:
        return sum(_resident(pid) for pid in _family(self.pid)) / MIB


@dataclass
class Measured:
    """The measurements of one server."""

    name: str
    ready_s: float
    rates: dict[int, Rate] = field(default_factory=dict)
    first_text_ms: float = 0.0
    resident_mib: float = 0.0


def run(*, rounds: int, seconds: int) -> list[Measured]:
    """Measure all available servers in turn, round by round. The first row is the upstream alone."""
    require_wrk()
    seconds = max(seconds, LEAST_SECONDS)
    with tempfile.TemporaryDirectory() as folder, ExitStack() as stack:
        upstream = stack.enter_context(_upstream())
        servers = [upstream]
        for start in (_ours, _litellm, _nginx):
            try:
                servers.append(stack.enter_context(start(Path(folder), upstream.url)))
            except Unmeasured as reason:
                print(f"left out: {reason}", file=sys.stderr)
        found = [Measured(server.name, server.ready_s) for server in servers]
        for connections in CONNECTIONS:
            for result, rates in zip(found, _rates(servers, connections, rounds, seconds), strict=True):
                result.rates[connections] = rates
        for server, result in zip(servers, found, strict=True):
            result.first_text_ms = _first_text_ms(server)
            result.resident_mib = server.resident_mib()
            print(f"{server.name:12} first text {result.first_text_ms:.2f} ms, {result.resident_mib:.0f} MiB")
    return found


def _rates(servers: list[Served], connections: int, rounds: int, seconds: int) -> list[Rate]:
    rates: list[list[Rate]] = [[] for _ in servers]
    for number in range(rounds + 1):
        for server, of in zip(servers, rates, strict=True):
            rate = measure(
                server.url,
                server.chat,
                connections=connections,
                seconds=seconds,
                cpu_seconds=server.cpu_seconds,
            )
            if number:  # the first round warms up
                of.append(rate)
    medians = [
        Rate(*(median(getattr(rate, name) for rate in of) for name in Rate.__dataclass_fields__))
        for of in rates
    ]
    for server, rate in zip(servers, medians, strict=True):
        print(
            f"{server.name:12} {connections:3} connections {rate.per_second:8,.0f}/s  p50 {rate.p50_us:7.0f} us"
            f"  p99 {rate.p99_us:7.0f} us  processor {rate.cpu_us:5.0f} us",
            flush=True,
        )
    return medians


def _first_text_ms(server: Served) -> float:
    """The median time from a streamed request to its first text; the requests are sent one after the other."""
    times = []
    connection = http.client.HTTPConnection("127.0.0.1", server.port, timeout=60)
    for _ in range(STREAMS):
        began = time.perf_counter()
        connection.request("POST", server.stream.path, server.stream.body, server.stream.headers)
        reply = connection.getresponse()
        if reply.status != 200:
            raise Unmeasured(f"{server.name}: a stream was answered {reply.status}")
        while b"word" not in (line := reply.readline()):
            if not line:
                raise Unmeasured(f"{server.name}: a stream had no text")
        times.append(time.perf_counter() - began)
        reply.read()
    connection.close()
    return 1000 * median(times)


def _requests(chat: str, stream: str) -> tuple[Request, Request]:
    headers = {"Authorization": f"Bearer {KEY}", "Content-Type": "application/json"}
    body = json.dumps(CHAT).encode()
    return Request(chat, body, headers), Request(
        stream, json.dumps({**CHAT, "stream": True}).encode(), headers
    )


OPENAI = _requests("/v1/chat/completions", "/v1/chat/completions")
TRITON = _requests("/v2/models/m/generate", "/v2/models/m/generate_stream")


def _upstream() -> AbstractContextManager[Served]:
    return _started(
        "upstream",
        lambda port: [sys.executable, "-m", "benchmarks.proxy_upstream", str(port)],
        "/v2/models/m/ready",
        TRITON,
    )


def _ours(folder: Path, upstream: str) -> AbstractContextManager[Served]:
    config = folder / "ours.yaml"
    config.write_text(CONFIG.format(upstream=upstream, key=KEY))
    command = [
        sys.executable,
        "-m",
        "triton_adapter.cli",
        "--config",
        str(config),
        "--host",
        "127.0.0.1",
        "--port",
    ]
    return _started("triton-proxy", lambda port: [*command, str(port)], "/health/liveliness", OPENAI)


def _litellm(folder: Path, upstream: str) -> AbstractContextManager[Served]:
    environment = ROOT / ".venv-litellm-proxy"
    if not (environment / "bin" / "litellm").exists():
        lock = "ci/constraints/litellm-proxy.txt"
        done = subprocess.run(["ci/install", environment.name, lock], cwd=ROOT, check=False)
        if done.returncode:
            raise Unmeasured("LiteLLM's proxy cannot be installed")
    config = folder / "litellm.yaml"
    config.write_text(CONFIG.format(upstream=upstream, key=KEY))
    command = [str(environment / "bin" / "litellm"), "--config", str(config), "--host", "127.0.0.1", "--port"]
    extra = {
        # Without this, LiteLLM requests prices from the network before it starts.
        "LITELLM_LOCAL_MODEL_COST_MAP": "True",
        "LITELLM_LOG": "ERROR",
        # With each call LiteLLM requests a chat template from the network. This makes that request fail at once.
        "HTTPS_PROXY": "http://127.0.0.1:9",
        "NO_PROXY": "127.0.0.1",
    }
    return _started("LiteLLM", lambda port: [*command, str(port)], "/health/liveliness", OPENAI, extra)


def _nginx(folder: Path, upstream: str) -> AbstractContextManager[Served]:
    program = shutil.which("nginx") or shutil.which("nginx", path="/usr/sbin")
    if program is None:
        raise Unmeasured("there is no nginx (on Debian and Ubuntu: apt-get install nginx-light)")
    config = folder / "nginx.conf"

    def command(port: int) -> list[str]:
        address = upstream.removeprefix("http://")
        config.write_text(NGINX.format(folder=folder, upstream=address, port=port, key=KEY))
        return [program, "-p", str(folder), "-c", str(config)]

    return _started("nginx", command, "/health/liveliness", TRITON)


@contextmanager
def _started(
    name: str,
    command: Callable[[int], list[str]],
    health: str,
    requests: tuple[Request, Request],
    extra: dict[str, str] | None = None,
) -> Iterator[Served]:
    """Start a server in its own process; measure the time from the command to its first good answer."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port: int = free.getsockname()[1]
    began = time.perf_counter()
    with tempfile.TemporaryFile() as log:
        process = subprocess.Popen(
            command(port),
            stdout=log,
            stderr=log,
            cwd=ROOT,
            env={**os.environ, **(extra or {})},
        )
        try:
            while not _answers(f"http://127.0.0.1:{port}{health}"):
                if process.poll() is not None or time.perf_counter() - began > START_TIMEOUT:
                    log.seek(0)
                    raise Unmeasured(f"{name} did not start: {log.read().decode(errors='replace')[-500:]}")
                time.sleep(0.01)
            yield Served(name, port, process.pid, time.perf_counter() - began, *requests)
        finally:
            process.terminate()
            try:
                process.wait(10)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _answers(url: str) -> bool:
    try:
        with urllib.request.urlopen(url, timeout=2) as reply:
            return bool(reply.status == 200)
    except OSError:
        return False
