"""Many calls at once: threads and tasks share connections, and each gets its own answer."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from adapter.tests.driving import ask
from triton_adapter import AsyncClient, Call, Target, acompletion, completion
from triton_adapter.steps import HttpRequest


def test_threads_get_their_own_answers(triton: str) -> None:
    def one(number: int) -> Any:
        return completion("triton/flat", ask(f"SAY {number}"), api_base=triton)

    with ThreadPoolExecutor(8) as pool:
        replies = list(pool.map(one, range(40)))
    assert [reply.choices[0].message.content for reply in replies] == [str(number) for number in range(40)]


@pytest.mark.parametrize("model", ["flat", "vllm"])
def test_tasks_get_their_own_answers(triton: str, model: str) -> None:
    async def every() -> list[Any]:
        calls = [
            acompletion(f"triton/{model}", ask(f"SAY {number} x"), api_base=triton) for number in range(40)
        ]
        return await asyncio.gather(*calls)

    replies = asyncio.run(every())
    assert [reply.choices[0].message.content for reply in replies] == [f"{number} x" for number in range(40)]


def test_streams_side_by_side_do_not_mix(triton: str) -> None:
    async def one(number: int) -> str:
        text = ""
        stream: Any = await acompletion("triton/vllm", ask(f"SAY a {number} b"), api_base=triton, stream=True)
        async for chunk in stream:
            text += chunk.choices[0].delta.content or ""
        return text

    async def every() -> list[str]:
        return await asyncio.gather(*(one(number) for number in range(20)))

    assert asyncio.run(every()) == [f"a {number} b" for number in range(20)]


def test_calls_streams_and_streams_that_are_left_share_connections_and_nothing_else(triton: str) -> None:
    async def one(number: int) -> str:
        if number % 3 == 0:
            return str(
                (await acompletion("triton/flat", ask(f"SAY {number}"), api_base=triton))
                .choices[0]
                .message.content
            )
        stream: Any = await acompletion("triton/vllm", ask(f"SAY {number} a b"), api_base=triton, stream=True)
        text = ""
        async with stream:
            async for chunk in stream:
                text += chunk.choices[0].delta.content or ""
                if number % 3 == 1 and text:
                    break
        return text.removesuffix(" a b")

    async def every() -> list[str]:
        places = asyncio.Semaphore(32)

        async def placed(number: int) -> str:
            async with places:
                return await one(number)

        return await asyncio.gather(*(placed(number) for number in range(300)))

    assert asyncio.run(every()) == [str(number) for number in range(300)]


def test_threads_that_stream_and_leave_get_their_own_answers(triton: str) -> None:
    def one(number: int) -> str:
        stream: Any = completion(
            "triton/vllm", ask(f"SAY {number} a b"), api_base=triton, stream=True, n=1 + number % 2
        )
        text = ""
        with stream:
            for chunk in stream:
                if chunk.choices[0].index == 0:
                    text += chunk.choices[0].delta.content or ""
                if number % 3 == 1 and text:
                    break
        return text.removesuffix(" a b")

    with ThreadPoolExecutor(8) as pool:
        assert list(pool.map(one, range(100))) == [str(number) for number in range(100)]


def test_the_client_a_proxy_is_built_on_takes_and_gives_dicts(triton: str) -> None:
    async def calls() -> None:
        async with AsyncClient() as client:
            target = Target.of("triton/vllm", triton)
            body = {"messages": ask("SAY one two"), "model": "ignored"}
            call = Call(model="alias", request_id="abc")
            reply: Any = await client.chat(target, body, call)
            assert (reply["id"], reply["model"]) == ("chatcmpl-abc", "alias")
            batches: Any = await client.chat(target, {**body, "stream": True}, Call(model="alias"))
            chunks = [chunk async for batch in batches for chunk in batch]
            assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "one two"
            ready = await client.fetch(HttpRequest("GET", target.api_base.url("/v2/health/ready")))
            assert (ready.status, ready.body) == (200, b"")

    asyncio.run(calls())
