"""Measures one client: `python -P benchmarks/sdk_calls.py CLIENT URL CALLS` prints a line of JSON.

It imports nothing of this project except the named client, so that it can run where LiteLLM is installed.
"""

import json
import sys
import time
from collections.abc import Callable
from statistics import median
from typing import Any

MESSAGES = [{"role": "user", "content": "who are u?"}]
BODY = json.dumps({"text_input": "who are u?", "max_tokens": 10}).encode()
HEADERS = {"Content-Type": "application/json"}
WARM = 20
Call = Callable[[], Any]


def _http_client(url: str) -> tuple[Call, Call]:
    import http.client

    host = url.removeprefix("http://").partition("/")[0]
    connection = http.client.HTTPConnection(host)
    path = url.removeprefix(f"http://{host}")

    def whole() -> Any:
        connection.request("POST", path, BODY, HEADERS)
        return json.loads(connection.getresponse().read())

    def stream() -> None:
        connection.request("POST", f"{path}_stream", BODY, HEADERS)
        for line in connection.getresponse():
            if line.startswith(b"data: "):
                json.loads(line[6:])

    return whole, stream


def _httpx(url: str) -> tuple[Call, Call]:
    import httpx

    client = httpx.Client()

    def stream() -> None:
        with client.stream("POST", f"{url}_stream", content=BODY, headers=HEADERS) as reply:
            for line in reply.iter_lines():
                if line.startswith("data: "):
                    json.loads(line[6:])

    return lambda: client.post(url, content=BODY, headers=HEADERS).json(), stream


def _triton_adapter(url: str) -> tuple[Call, Call]:
    from triton_adapter import completion

    return _sdk(completion, url)


def _litellm(url: str) -> tuple[Call, Call]:
    from litellm import completion  # type: ignore[import-not-found]  # in an environment of its own

    return _sdk(completion, url)


def _sdk(completion: Any, url: str) -> tuple[Call, Call]:
    common: dict[str, Any] = {
        "model": "triton/m",
        "messages": MESSAGES,
        "max_tokens": 10,
        "api_base": url,
    }

    def stream() -> None:
        for _ in completion(stream=True, **common):
            pass

    return lambda: completion(**common), stream


CLIENTS = {
    "http.client": _http_client,
    "httpx": _httpx,
    "triton_adapter": _triton_adapter,
    "litellm": _litellm,
}


def _timed(call: Call, calls: int) -> tuple[float, float]:
    """The median time and the mean processor time of a call, in microseconds."""
    for _ in range(min(WARM, calls)):
        call()
    times = []
    processor = time.process_time()
    for _ in range(calls):
        began = time.perf_counter()
        call()
        times.append(time.perf_counter() - began)
    return 1e6 * median(times), 1e6 * (time.process_time() - processor) / calls


def main() -> None:
    client, url, calls = sys.argv[1], sys.argv[2], int(sys.argv[3])
    began = time.perf_counter()
    whole, stream = CLIENTS[client](url)
    imported = time.perf_counter() - began
    whole_us, whole_cpu_us = _timed(whole, calls)
    stream_us, stream_cpu_us = _timed(stream, max(1, calls // 3))
    found = {
        "import_ms": 1e3 * imported,
        "whole_us": whole_us,
        "whole_cpu_us": whole_cpu_us,
        "stream_us": stream_us,
        "stream_cpu_us": stream_cpu_us,
    }
    sys.stdout.write(json.dumps(found) + "\n")


if __name__ == "__main__":
    main()
