"""The blocking calls: from any thread, inside a running event loop, after a fork, interrupted, and cancelled."""

import asyncio
import signal
import subprocess
import sys
import threading
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import pytest

from adapter.tests.driving import ask
from adapter.tests.upstream import Upstream, chunked, event
from triton_adapter import Call, Client, Target, completion, errors
from triton_adapter.steps import Sleep, Steps
from triton_adapter.transport.threads import ThreadTransport

ONE = event(text_output="one")


def said(triton: str, text: str) -> Any:
    return completion("triton/flat", ask(f"SAY {text}"), api_base=triton).choices[0].message.content


def test_a_blocking_call_may_be_made_while_an_event_loop_runs(triton: str) -> None:
    async def notebook() -> Any:
        return said(triton, "hi")

    assert asyncio.run(notebook()) == "hi"


FORKING = """
import os, sys
from triton_adapter import completion
def said(text):
    messages = [{"role": "user", "content": f"SAY {text}"}]
    return completion("triton/flat", messages, api_base=sys.argv[1]).choices[0].message.content
assert said("before") == "before"
if child := os.fork():
    assert os.waitpid(child, 0)[1] == 0
    print(said("after"))
else:
    assert said("inside") == "inside"
"""


def test_a_forked_process_calls_for_itself_and_its_parent_goes_on(triton: str) -> None:
    done = subprocess.run(
        [sys.executable, "-c", FORKING, triton], capture_output=True, text=True, timeout=30, check=True
    )
    assert done.stdout == "after\n"


def test_a_program_ends_though_its_stream_is_open(upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")
    program = (
        "import sys; from triton_adapter import completion;"
        "s = completion('triton/m', [{'role': 'user', 'content': 'x'}], api_base=sys.argv[1], stream=True);"
        "next(s); print(next(s).choices[0].delta.content)"
    )
    done = subprocess.run(
        [sys.executable, "-W", "error", "-c", program, upstream.url],
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, "one\n", "")
    assert upstream.left.wait(60)


def test_the_streams_of_several_choices_are_read_side_by_side(upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")
    upstream.answer(*chunked(ONE))
    stream: Any = completion("triton/m", ask("x"), api_base=upstream.url, stream=True, n=2)
    ended = {choice.index: choice.finish_reason for choice in _until_an_end(stream)}
    stream.close()
    assert list(ended.values()).count("stop") == 1
    assert upstream.left.wait(60)


def _until_an_end(stream: Any) -> list[Any]:
    found = []
    for chunk in stream:
        found += chunk.choices
        if found[-1].finish_reason:
            return found
    raise AssertionError("no choice ended")


def test_leaving_a_stream_of_several_choices_closes_every_connection(upstream: Upstream) -> None:
    for _ in range(3):
        upstream.answer(*chunked(ONE, end=False), then="hang")
    stream: Any = completion("triton/m", ask("x"), api_base=upstream.url, stream=True, n=3)
    seen: set[int] = set()
    with stream:
        while len(seen) < 3:
            seen.add(next(stream).choices[0].index)
    for _ in range(3):
        assert upstream.leavers.acquire(timeout=60)


@pytest.mark.parametrize("begun", [True, False], ids=["begun", "not begun"])
def test_a_stream_without_a_reference_is_closed(upstream: Upstream, begun: bool) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")
    stream: Any = completion("triton/m", ask("x"), api_base=upstream.url, stream=True)
    if begun:
        next(stream)
    del stream
    assert upstream.left.wait(60)


def test_closing_a_stream_frees_the_thread_that_waits_for_its_next_chunk(upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")
    stream: Any = completion("triton/m", ask("x"), api_base=upstream.url, stream=True)
    assert [next(stream).choices[0].delta.content for _ in range(2)] == ["", "one"]
    with ThreadPoolExecutor(1) as pool:
        waiting = pool.submit(next, stream)
        while not stream._chunks._chunks.gi_running:
            pass
        stream.close()
        with pytest.raises(errors.APIConnectionError, match="the answer was closed before its end"):
            waiting.result(60)
    assert upstream.left.wait(60)


NO_FILES = """
import os, resource
from triton_adapter import completion, errors
from triton_adapter.client import Client
import triton_adapter.transport.threads

def failure():
    try:
        completion("triton/m", [{"role": "user", "content": "x"}], api_base="http://127.0.0.1:1", num_retries=0)
    except errors.ServiceUnavailableError as error:
        return error.message

files = []
resource.setrlimit(resource.RLIMIT_NOFILE, (64, 64))
try:
    while True:
        files.append(os.open(os.devnull, os.O_RDONLY))
except OSError:
    pass
print(failure())
for file in files:
    os.close(file)
print(failure())
"""


def test_a_call_without_a_free_descriptor_fails_and_a_later_call_connects() -> None:
    ended = subprocess.run(
        [sys.executable, "-c", NO_FILES], capture_output=True, text=True, timeout=30, check=True
    )
    assert ended.stdout.splitlines() == [
        "no event loop could be made: too many open files?",
        "Triton cannot be reached: connection refused",
    ]


def test_an_interrupt_ends_the_wait_and_the_request(upstream: Upstream) -> None:
    main = threading.main_thread().ident
    upstream.on_post = lambda: signal.pthread_kill(main or 0, signal.SIGINT)
    upstream.answer(then="hang")
    # The parent process of the tests may have set SIGINT to be ignored.
    handler = signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        with pytest.raises(KeyboardInterrupt):
            completion("triton/m", ask("x"), api_base=upstream.url)
    finally:
        signal.signal(signal.SIGINT, handler)
    assert upstream.left.wait(60)


def call_without_end(transport: ThreadTransport) -> None:
    def pause() -> Steps:
        yield Sleep(0)

    while True:
        transport.run(pause())


def test_calls_of_other_threads_end_when_their_client_is_closed() -> None:
    for _ in range(20):
        transport = ThreadTransport()
        with ThreadPoolExecutor(3) as pool:
            calls = [pool.submit(call_without_end, transport) for _ in range(3)]
            while not transport._running():
                pass
            transport.close()
            for call in calls:
                with pytest.raises(RuntimeError, match="the client is closed"):
                    call.result(60)


def test_a_client_of_ones_own_is_closed_with_its_connections(upstream: Upstream) -> None:
    upstream.answer(*chunked(ONE, end=False), then="hang")
    target = Target.of("triton/m", upstream.url)
    body = {"messages": ask("x"), "stream": True}
    with Client() as client:
        chunks: Any = client.chat(target, body, Call())
        next(chunks)
    assert upstream.left.wait(60)
    chunks.close()
    with pytest.raises(RuntimeError, match="the client is closed"):
        client.chat(target, body, Call())
