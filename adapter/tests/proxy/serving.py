"""Starts proxies for tests and sends them literal JSON over real sockets."""

import json
from contextlib import AbstractContextManager
from typing import Any

import httpx
import yaml

from triton_adapter.proxy import ProxyServer, read_config

MASTER = "sk-test-8Zk3vQ1nT6yR9wLx"
BEARER = {"Authorization": f"Bearer {MASTER}"}
HELLO = [{"role": "user", "content": "hello"}]


def serve(*models: dict[str, Any], **sections: Any) -> AbstractContextManager[ProxyServer]:
    """Run a proxy with this config. It has a master key unless `general_settings` says otherwise."""
    sections.setdefault("general_settings", {"master_key": MASTER})
    text = yaml.safe_dump({"model_list": list(models), **sections})
    return ProxyServer(read_config(text, {}))


def entry(name: str, api_base: str, model: str = "m", **params: Any) -> dict[str, Any]:
    """An entry of `model_list`."""
    info = params.pop("model_info", {})
    return {
        "model_name": name,
        "litellm_params": {"model": f"triton/{model}", "api_base": api_base, **params},
        "model_info": info,
    }


def post(proxy: ProxyServer, path: str, body: Any, **headers: str) -> httpx.Response:
    """POST JSON, or bytes unchanged, with the master key."""
    content = body if isinstance(body, bytes) else json.dumps(body).encode()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return httpx.post(proxy.url + path, content=content, headers={**BEARER, **given})


def get(proxy: ProxyServer, path: str, **headers: str) -> httpx.Response:
    """GET with the master key."""
    return httpx.get(proxy.url + path, headers={**BEARER, **headers})


def chat(proxy: ProxyServer, model: str = "m", content: str = "hello", **params: Any) -> httpx.Response:
    """Request a chat completion with the master key."""
    messages = [{"role": "user", "content": content}]
    return post(proxy, "/v1/chat/completions", {"model": model, "messages": messages, **params})


def error_of(reply: httpx.Response) -> tuple[int, Any, Any]:
    """Check that a reply is an OpenAI error object without other fields; return its status, param and code."""
    document = reply.json()
    assert list(document) == ["error"], document
    assert list(document["error"]) == ["message", "type", "param", "code"], document
    assert isinstance(document["error"]["message"], str)
    assert document["error"]["message"]
    return reply.status_code, document["error"]["param"], document["error"]["code"]


def events(text: str) -> list[Any]:
    """The events of a stream. The last one may be `[DONE]`."""
    found = [part.removeprefix("data: ") for part in text.split("\n\n") if part]
    return [part if part == "[DONE]" else json.loads(part) for part in found]
