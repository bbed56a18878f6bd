"""The wheel: many timers that share those of the event loop."""

import asyncio
import logging
import time
from collections.abc import Callable

import pytest

from triton_emulator.clock import Timer, Wheel


def later(wheel: Wheel, seconds: float, function: Callable[[], object]) -> Timer:
    return wheel.call_at(time.monotonic_ns() + round(seconds * 1e9), function)


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
            later(wheel, seconds, lambda name=name, due=due: note(name, due))  # type: ignore[misc]
        await done
        return called

    assert asyncio.run(run()) == [("first", True), ("second", True), ("third", True), ("last", True)]


def test_one_that_is_cancelled_is_not_called_not_even_by_one_of_its_own_millisecond() -> None:
    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        wheel, called, done = Wheel(loop), list[str](), loop.create_future()
        later(wheel, 0.01, lambda: called.append("cancelled before")).cancel()

        def cancel_the_other() -> None:
            other.cancel()

        later(wheel, 0.02, cancel_the_other)
        other = later(wheel, 0.02, lambda: called.append("cancelled by another"))
        later(wheel, 0.03, lambda: done.set_result(None))
        await done
        return called

    assert asyncio.run(run()) == []


def test_a_function_that_fails_is_logged_and_keeps_no_other_from_being_called(
    caplog: pytest.LogCaptureFixture,
) -> None:
    async def run() -> None:
        loop = asyncio.get_running_loop()
        wheel, done = Wheel(loop), loop.create_future()
        later(wheel, 0.005, lambda: 1 / 0)
        later(wheel, 0.005, lambda: done.set_result(None))
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
                later(wheel, 0.0001, again)

        later(wheel, 60, lambda: None)
        later(wheel, 0.002, again)
        await done
        return turns[0]

    assert asyncio.run(run()) == 5


def test_one_whose_time_has_passed_leaves_the_loop_a_turn_for_other_work() -> None:
    async def run() -> list[str]:
        loop = asyncio.get_running_loop()
        wheel, called, done = Wheel(loop), list[str](), loop.create_future()

        def late(left: int) -> None:
            called.append("late")
            loop.call_soon(called.append, "other")
            if left:
                wheel.call_at(1, lambda: late(left - 1))
            else:
                loop.call_soon(done.set_result, None)

        wheel.call_at(1, lambda: late(2))
        await done
        return called

    assert asyncio.run(run()) == ["late", "other"] * 3


def test_one_whose_time_has_passed_is_called_in_the_next_turn_and_not_in_the_next_millisecond() -> None:
    async def run() -> list[int]:
        loop = asyncio.get_running_loop()
        wheel, turns, called, done = Wheel(loop), [0], list[int](), loop.create_future()

        def count() -> None:
            turns[0] += 1
            if not done.done():
                loop.call_soon(count)

        def late() -> None:
            called.append(turns[0])
            if len(called) == 5:
                done.set_result(None)
            else:
                wheel.call_at(1, late)

        loop.call_soon(count)
        wheel.call_at(1, late)
        await done
        return [turn - called[0] for turn in called]

    assert asyncio.run(run()) == [0, 1, 2, 3, 4]


def test_many_that_are_due_at_once_leave_turns_for_other_work_and_keep_their_order() -> None:
    async def run() -> list[int | str]:
        loop = asyncio.get_running_loop()
        wheel, called, done = Wheel(loop), list[int | str](), loop.create_future()

        def first() -> None:
            called.append(0)
            loop.call_soon(called.append, "other")

        wheel.call_at(1, first)
        for number in range(1, 300):
            wheel.call_at(number // 100 + 1, lambda number=number: called.append(number))  # type: ignore[misc]
        wheel.call_at(4, lambda: done.set_result(None))
        await done
        return called

    assert asyncio.run(run()) == [*range(128), "other", *range(128, 300)]
