"""The wheel: many timers that share those of the event loop."""

import asyncio
import logging
import time

import pytest

from triton_emulator.clock import Wheel


def test_functions_are_called_in_the_order_of_their_times_and_never_before() -> None:
    async def run() -> list[tuple[str, bool]]:
        loop = asyncio.get_running_loop()
        wheel, called, done = Wheel(loop), [], loop.create_future()

        def note(name: str, due: float) -> None:
            called.append((name, time.monotonic() >= due))
            if name == "last":
                done.set_result(None)

        for name, seconds in (("last", 0.03), ("second", 0.02), ("first", 0.01), ("third", 0.02)):
            due = time.monotonic() + seconds
            wheel.call_later(seconds, lambda name=name, due=due: note(name, due))  # type: ignore[misc]
        await done
        return called

    assert asyncio.run(run()) == [("first", True), ("second", True), ("third", True), ("last", True)]


def test_one_that_is_cancelled_is_not_called_not_even_by_one_of_its_own_millisecond() -> None:
    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        wheel, called, done = Wheel(loop), list[str](), loop.create_future()
        wheel.call_later(0.01, lambda: called.append("cancelled before")).cancel()

        def cancel_the_other() -> None:
            other.cancel()

        wheel.call_later(0.02, cancel_the_other)
        other = wheel.call_later(0.02, lambda: called.append("cancelled by another"))
        wheel.call_later(0.03, lambda: done.set_result(None))
        await done
        return called

    assert asyncio.run(run()) == []


def test_a_function_that_fails_is_logged_and_keeps_no_other_from_being_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        wheel, done = Wheel(loop), loop.create_future()
        wheel.call_later(0.005, lambda: 1 / 0)
        wheel.call_later(0.005, lambda: done.set_result(None))
        await done

    with caplog.at_level(logging.ERROR):
        asyncio.run(run())
    assert [record.getMessage() for record in caplog.records] == ["what waited for the clock failed"]


def test_a_function_may_wait_again_and_for_a_shorter_time() -> None:
    async def run() -> int:
        loop = asyncio.get_running_loop()
        wheel, turns, done = Wheel(loop), [0], loop.create_future()

        def again() -> None:
            turns[0] += 1
            if turns[0] == 5:
                done.set_result(None)
            else:
                wheel.call_later(0.0001, again)

        wheel.call_later(60, lambda: None)
        wheel.call_later(0.002, again)
        await done
        return turns[0]

    assert asyncio.run(run()) == 5
