"""A large reply is read in a thread: the event loop serves others meanwhile.

No time is measured: the functions are noted that run on the thread of the event loop.
"""

import asyncio
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from types import CodeType, FrameType
from typing import Any

import pytest

from adapter.tests.upstream import Upstream, chunked, event, http
from triton_adapter.call import Call
from triton_adapter.client import AsyncClient
from triton_adapter.errors import BadGatewayError
from triton_adapter.generation.answers import Answer
from triton_adapter.generation.pieces import from_event
from triton_adapter.target import Target
from triton_adapter.transport.loop import LARGE

HELLO = [{"role": "user", "content": "hello"}]
SIZES = pytest.mark.parametrize(("events", "here"), [(3, True), (LARGE // 20, False)], ids=["small", "large"])


@contextmanager
def noted() -> Iterator[set[CodeType]]:
    """Collect the functions that this thread calls."""
    found: set[CodeType] = set()

    def note(frame: FrameType, kind: str, argument: Any) -> None:
        found.add(frame.f_code)

    before = sys.getprofile()
    sys.setprofile(note)
    try:
        yield found
    finally:
        sys.setprofile(before)


async def ask(api_base: str, **body: Any) -> list[Any]:
    """Return a reply in a list, or the chunks of a stream."""
    async with AsyncClient() as client:
        answer = await client.chat(Target.of("m", api_base), {"messages": HELLO, **body}, Call())
        return [answer] if isinstance(answer, dict) else [one async for batch in answer for one in batch]


@SIZES
@pytest.mark.parametrize("choices", [1, 2])
def test_a_reply_is_read_on_the_event_loop_unless_it_is_large(
    upstream: Upstream, events: int, here: bool, choices: int
) -> None:
    for _ in range(choices):
        upstream.answer(*chunked(event(text_output="a") * events))
    with noted() as found:
        (reply,) = asyncio.run(ask(upstream.url, n=choices))
    assert [choice["message"]["content"] for choice in reply["choices"]] == ["a" * events] * choices
    assert (from_event.__code__ in found) is here


@SIZES
def test_a_reply_that_is_no_answer_is_an_error_from_the_thread_too(
    upstream: Upstream, events: int, here: bool
) -> None:
    upstream.answer(*chunked(event(text_output="a") * events + b"data: nonsense\n\n"))
    with noted() as found, pytest.raises(BadGatewayError, match="not JSON"):
        asyncio.run(ask(upstream.url))
    assert (from_event.__code__ in found) is here


def test_an_answer_that_a_model_gives_whole_is_cut_into_chunks_in_a_thread(whole_upstream: Upstream) -> None:
    body = b'{"outputs":[{"name":"text_output","datatype":"BYTES","shape":[1],"data":["hi"]}]}'
    whole_upstream.answer(http(body))
    whole_upstream.metadata = None  # /infer is asked, which has no stream
    with noted() as found:
        chunks = asyncio.run(ask(f"{whole_upstream.url}/infer", stream=True))
    assert "".join(chunk["choices"][0]["delta"].get("content", "") for chunk in chunks) == "hi"
    assert Answer.feed.__code__ not in found


def test_a_call_that_is_cancelled_while_a_thread_reads_its_reply_ends(upstream: Upstream) -> None:
    upstream.answer(*chunked(event(text_output="a") * (LARGE // 20)))

    async def main() -> None:
        loop = asyncio.get_running_loop()
        task = asyncio.create_task(ask(upstream.url))
        run = loop.run_in_executor

        def cancelling(*arguments: Any) -> Any:
            loop.call_soon(task.cancel)
            return run(*arguments)

        loop.run_in_executor = cancelling  # type: ignore[assignment]  # tells when the thread begins
        with pytest.raises(asyncio.CancelledError):
            await task

    asyncio.run(main())
