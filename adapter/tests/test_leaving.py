"""Leaving a call ends the generation. The model of each server sees the cancellation."""

import asyncio
import time
from typing import Any

from adapter.tests.driving import ask
from triton_adapter import acompletion, completion


def cancelled(triton: str) -> int:
    """How many of its generations the model has seen cancelled."""
    return int(completion("triton/endless", ask("COUNT"), api_base=triton).choices[0].message.content or "")


def wait_for(triton: str, count: int) -> None:
    """Ask the model until it has seen that many cancellations."""
    deadline = time.monotonic() + 60
    while cancelled(triton) < count:
        assert time.monotonic() < deadline, "the generation went on"


def test_leaving_a_stream_ends_the_generation(triton: str) -> None:
    before = cancelled(triton)
    with completion("triton/endless", ask("talk"), api_base=triton, stream=True) as stream:
        for _ in range(3):
            next(stream)
    wait_for(triton, before + 1)


def test_leaving_an_awaited_stream_ends_the_generation(triton: str) -> None:
    async def leave() -> None:
        stream = await acompletion("triton/endless", ask("talk"), api_base=triton, stream=True)
        async with stream:
            for _ in range(3):
                await anext(stream)

    before = cancelled(triton)
    asyncio.run(leave())
    wait_for(triton, before + 1)


def test_a_stop_sequence_ends_the_generation(triton: str) -> None:
    before = cancelled(triton)
    stream: Any = completion(
        "triton/endless", ask("talk"), api_base=triton, stream=True, stop="word word word"
    )
    text = "".join(chunk.choices[0].delta.content or "" for chunk in stream)
    assert text == ""
    wait_for(triton, before + 1)


def test_giving_up_a_call_that_is_not_streamed_ends_the_generation(triton: str) -> None:
    async def give_up() -> None:
        try:
            async with asyncio.timeout(0.3):
                await acompletion("triton/endless", ask("talk"), api_base=triton)
        except TimeoutError:
            return
        raise AssertionError("an endless answer ended")

    before = cancelled(triton)
    asyncio.run(give_up())
    wait_for(triton, before + 1)
