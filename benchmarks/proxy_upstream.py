"""The upstream of the measured proxies: a bare ASGI callable that always gives the same answer at once.

`python -m benchmarks.proxy_upstream PORT`. The time of a real model would hide that of the proxies.
"""

import json
import sys
from typing import Any

import uvicorn

EVENTS = 20
METADATA = {
    "name": "m",
    "versions": ["1"],
    "platform": "python",
    "inputs": [
        {"name": "text_input", "datatype": "BYTES", "shape": [1]},
        {"name": "max_tokens", "datatype": "INT32", "shape": [1]},
    ],
    "outputs": [{"name": "text_output", "datatype": "BYTES", "shape": [1]}],
}
CONFIG = {
    "name": "m",
    "max_batch_size": 0,
    "input": [{"name": "text_input"}, {"name": "max_tokens", "optional": True}],
}
ANSWER = {"model_name": "m", "model_version": "1", "text_output": "I am a model that answers."}
REPLIES = {
    "/v2/models/m": METADATA,
    "/v2/models/m/config": CONFIG,
    "/v2/models/m/generate": ANSWER,
    "/v2/models/m/ready": {},
}
BODIES = {path: json.dumps(document).encode() for path, document in REPLIES.items()}
EVENT = b"data: " + json.dumps({**ANSWER, "text_output": " word"}).encode() + b"\n\n"


async def app(scope: Any, receive: Any, send: Any) -> None:
    """Answer a path of `BODIES`, or the event stream."""
    if scope["type"] != "http":
        return
    while (await receive()).get("more_body"):
        pass
    if scope["path"].endswith("/generate_stream"):
        headers = [(b"content-type", b"text/event-stream; charset=utf-8")]
        await send({"type": "http.response.start", "status": 200, "headers": headers})
        for _ in range(EVENTS):
            await send({"type": "http.response.body", "body": EVENT, "more_body": True})
        await send({"type": "http.response.body", "body": b""})
        return
    body = BODIES.get(scope["path"])
    status, body = (404, b'{"error":"Not Found"}') if body is None else (200, body)
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})


if __name__ == "__main__":
    uvicorn.run(app, port=int(sys.argv[1]), log_level="error", access_log=False, lifespan="off")
