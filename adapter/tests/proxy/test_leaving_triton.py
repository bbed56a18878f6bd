"""A client that disconnects from the proxy ends the generation. The model of each server sees the cancellation."""

import asyncio
import json
import socket
import time

from openai import AsyncOpenAI, OpenAI

from adapter.tests.proxy.serving import HELLO, MASTER, chat, get
from triton_adapter.proxy import ProxyServer

ENDLESS = {"model": "endless", "messages": HELLO}


def cancelled(proxy: ProxyServer) -> int:
    """How many of its generations the model has seen cancelled."""
    return int(chat(proxy, "endless", "COUNT").json()["choices"][0]["message"]["content"])


def wait_for(proxy: ProxyServer, count: int) -> None:
    """Ask the model until it has seen that many cancellations, then wait until none of its requests is in flight."""
    deadline = time.monotonic() + 60
    while cancelled(proxy) < count:
        assert time.monotonic() < deadline, "the generation went on"
    while "\ntriton_proxy_requests_in_flight 0\n" not in get(proxy, "/metrics").text:
        assert time.monotonic() < deadline, "the request is still counted"


def test_leaving_a_stream_ends_the_generation(proxy: ProxyServer) -> None:
    before = cancelled(proxy)
    with OpenAI(api_key=MASTER, base_url=proxy.url) as client:
        stream = client.chat.completions.create(
            model="endless", messages=[{"role": "user", "content": "talk"}], stream=True
        )
        assert next(stream).choices[0].delta.role == "assistant"
        stream.close()
    wait_for(proxy, before + 1)


def test_cancelling_an_awaited_stream_ends_the_generation(proxy: ProxyServer) -> None:
    async def leave() -> None:
        async with AsyncOpenAI(api_key=MASTER, base_url=proxy.url) as client:
            begun = asyncio.Event()

            async def read() -> None:
                stream = await client.chat.completions.create(
                    model="endless",
                    messages=[{"role": "user", "content": "talk"}],
                    stream=True,
                )
                async for _ in stream:
                    begun.set()

            task = asyncio.create_task(read())
            await begun.wait()
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)

    before = cancelled(proxy)
    asyncio.run(leave())
    wait_for(proxy, before + 1)


def test_leaving_before_the_answer_ends_the_generation(proxy: ProxyServer) -> None:
    host, port = proxy.url.removeprefix("http://").split(":")
    body = json.dumps(ENDLESS).encode()
    head = f"POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {MASTER}\r\n"
    before = cancelled(proxy)
    deadline = time.monotonic() + 60
    while cancelled(proxy) == before:
        # A client that leaves before Triton has its request cancels nothing there, so the loop tries again.
        assert time.monotonic() < deadline, "no generation was cancelled"
        with socket.create_connection((host, int(port)), timeout=60) as connection:
            connection.sendall(f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body)
            while "\ntriton_proxy_requests_in_flight 1\n" not in get(proxy, "/metrics").text:
                assert time.monotonic() < deadline, "the request is not counted"
    wait_for(proxy, before + 1)
