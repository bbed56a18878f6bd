"""Many wrong requests to one proxy: its answers and its log hold no key, address, prompt or traceback."""

import base64
import hashlib
import json
import os
import signal
import socket
import subprocess
import sys
from itertools import product
from pathlib import Path
from typing import Any

import httpx

from adapter.tests.conftest import MODELS
from adapter.tests.proxy.serving import HELLO, MASTER, error_of
from adapter.tests.upstream import Answer, Upstream, chunked, event, http
from triton_emulator.emulator import Emulator

PROMPT = "a prompt that nobody else should read"
UPSTREAM_KEY = "sk-upstream-5Tg8Uj2Km4Np"
WRONG_KEY = "sk-wrong-3Ed6Rf9Tg1Hy"
VIRTUAL_KEY = "sk-virtual-8Wn4Bq6Xc2Zd"
TOKEN = "tk-query-7Lp5Ok3Ij9Uh"
HEADER = "tk-header-2Qa8Ws6Ed4Rf"
PROXY_PASSWORD = "pw-forward-6Yh3Nj8Mk1Lo"
CONFIG = """\
model_list:
- model_name: flat
  litellm_params: {{model: triton/flat, api_base: "{emulator}", api_key: {key}}}
- model_name: m
  litellm_params: {{model: triton/m, api_base: "{upstream}?token={token}", api_key: {key}, timeout: 5,
    extra_headers: {{X-Auth: {header}}}}}
- model_name: far
  litellm_params: {{model: triton/m, api_base: "http://triton.invalid:8000"}}
- model_name: gone
  litellm_params: {{model: triton/m, api_base: "http://127.0.0.1:9", api_key: {key}}}
general_settings: {{master_key: {master}}}
router_settings: {{num_retries: 0}}
"""
BODIES: tuple[Any, ...] = (
    b"",
    b"{",
    b"\xff\xfe{}",
    b"[" * 100_000,
    b'{"a":' * 50_000,
    b'{"model":"flat","n":NaN}',
    b'{"model":"flat","n":1e999}',
    b'{"model":"flat","model":"nobody"}',
    b'{"model":"\\ud800"}',
    b"\x00" * 100,
    [],
    {"model": PROMPT},
    {"model": "flat", "messages": [{"role": "user", "content": PROMPT}], "n": PROMPT},
    {"model": "flat", "messages": [{"role": "user", "content": PROMPT}], "tools": [{"function": PROMPT}]},
    {"model": "flat", "messages": [{"role": "user", "content": [{"type": "image_url"}]}]},
    {"model": "flat", "messages": HELLO, "extra_body": {"text_input": {"a": PROMPT}}},
    {"model": "flat", "messages": HELLO, "temperature": 10**4000},
    {"model": "flat", "messages": HELLO, "drop_params": True, "a\r\nb": 1},
    {"model": "gone", "messages": [{"role": "user", "content": PROMPT}]},
    {"model": "gone", "messages": [{"role": "user", "content": PROMPT}], "stream": True},
)
KEYS: tuple[Any, ...] = (
    b"{",
    {"keys": [WRONG_KEY]},
    {"key": WRONG_KEY, "duration": PROMPT},
    {"key": WRONG_KEY, "metadata": PROMPT},
    {"key": [WRONG_KEY]},
)
# Answers of a broken upstream. They hold secrets that the proxy must not pass on.
ANSWERS = (
    [http(b"<html>Traceback at 10.1.2.3</html>", kind="text/html")],
    [http(b"", status="302 Found", extra="Location: http://10.1.2.3/\r\n")],
    [http(b'{"outputs":[{"name":"10.1.2.3"}]}')],
    [b"10.1.2.3\r\n\r\n"],
    chunked(event(text_output="a"), b"data: <10.1.2.3>\n\n"),
    # Gateways quote the credentials that they refuse.
    [http(f'{{"error":"Incorrect API key: {UPSTREAM_KEY}"}}'.encode(), status="401 Unauthorized")],
    [http(f'{{"error":"{HEADER} and {TOKEN} may not do this"}}'.encode(), status="403 Forbidden")],
    [http(f'{{"error":"Authorization: Bearer {UPSTREAM_KEY}"}}'.encode())],
    chunked(event(error=f"no more for {UPSTREAM_KEY}")),
    chunked(event(text_output="a"), event(error=f"no more for {UPSTREAM_KEY}")),
)


def test_nothing_leaks(tmp_path: Path) -> None:
    path = tmp_path / "config.yaml"
    with Emulator(MODELS) as emulator, Upstream() as upstream:
        path.write_text(
            CONFIG.format(
                emulator=emulator.url,
                upstream=upstream.url,
                key=UPSTREAM_KEY,
                master=MASTER,
                token=TOKEN,
                header=HEADER,
            )
        )
        process = subprocess.Popen(
            [
                sys.executable,
                "-m",
                "triton_adapter.cli",
                "--config",
                str(path),
                "--port=0",
                "--detailed_debug",
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Python's own debug mode logs what runs for long; no proxy is there.
            env={
                **os.environ,
                "PYTHONUNBUFFERED": "1",
                "PYTHONASYNCIODEBUG": "1",
                "HTTP_PROXY": f"http://user:{PROXY_PASSWORD}@127.0.0.1:9",
            },
        )
        try:
            assert process.stdout is not None
            port = int(process.stdout.readline().rpartition(":")[2])
            answers = asked_everything(port, upstream)
        finally:
            process.send_signal(signal.SIGTERM)
            log, _ = process.communicate(timeout=60)
        assert process.returncode == 0
        addresses = (emulator.url.rpartition(":")[2], upstream.url.rpartition(":")[2])
    assert log.count(" 400 chat/completions") > len(BODIES) / 2
    said = "\n".join([log, *answers])
    secrets = (MASTER, UPSTREAM_KEY, WRONG_KEY, TOKEN, HEADER, PROXY_PASSWORD)
    for hidden in (*secrets, "Traceback", 'File "', "10.1.2.3", "127.0.0.1:9"):
        assert hidden not in said, hidden
    for secret in (*secrets, VIRTUAL_KEY):
        digest = hashlib.sha256(secret.encode()).hexdigest()
        assert not any(text in log for text in (secret, digest, base64.b64encode(secret.encode()).decode()))
    for address in addresses:
        assert f":{address}" not in said
    assert PROMPT not in log
    assert str(tmp_path) not in said


def asked_everything(port: int, upstream: Upstream) -> list[str]:
    """Send all the requests; return the answers with their headers."""
    found = []
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=30) as client:

        def ask(path: str, body: Any, key: str = MASTER, method: str = "POST") -> httpx.Response:
            content = body if isinstance(body, bytes) else json.dumps(body).encode()
            reply = client.request(method, path, content=content, headers={"Authorization": f"Bearer {key}"})
            found.append(f"{reply.headers.raw!r} {reply.text}")
            return reply

        for body in BODIES:
            for route in ("chat/completions", "completions", "embeddings"):
                reply = ask(f"/v1/{route}", body)
                if reply.status_code != 200:
                    status, _, _ = error_of(reply)
                    assert status < 500 or status == 503
        for segments, stream in product(ANSWERS, (True, False)):
            upstream.answers.clear()
            upstream.answers.extend([Answer(segments)] * 4)  # some are asked again
            ask("/v1/chat/completions", {"model": "m", "messages": HELLO, "stream": stream})
        ask("/v1/chat/completions", {"model": "far", "messages": HELLO})
        for body in KEYS:
            for route in ("generate", "update", "delete", "block", "unblock", "regenerate"):
                ask(f"/key/{route}", body)
        admin = {"Authorization": f"Bearer {MASTER}"}
        made = client.post("/key/generate", json={"key": VIRTUAL_KEY}, headers=admin).json()
        ask("/v1/chat/completions", {"model": "flat", "messages": HELLO}, made["key"])
        for path in (
            "/health",
            "/model/info",
            "/v1/models",
            "/metrics",
            "/key/list",
            "/key/info?key=" + WRONG_KEY,
            "/key/info?key=" + VIRTUAL_KEY,
            "/v1/models?api_key=" + VIRTUAL_KEY,
            "/v1/models/nobody?key=" + VIRTUAL_KEY,
        ):
            for key in (MASTER, WRONG_KEY):
                ask(path, b"", key, "GET")
        ask("/v1/chat/completions", {"model": "flat", "messages": HELLO}, WRONG_KEY)
        assert made["key"] not in "".join(found)
    for raw in (
        b"GET /" + WRONG_KEY.encode() + b"\xff HTTP/1.1\r\n\r\n",
        b"GET / HTTP/1.1\r\nUpgrade: websocket\r\nConnection: upgrade\r\n\r\n",
        b"\x16\x03\x01",
    ):
        with socket.create_connection(("127.0.0.1", port), timeout=60) as connection:
            connection.sendall(raw)
            found.append(connection.recv(4096).decode())
    return found
