"""The mailbox that brings responses from other threads to the event loop."""

import asyncio
from functools import partial

import pytest

from triton_emulator.engine.mailbox import Mailbox
from triton_emulator.protocol.messages import InferResponse


def test_a_receiver_that_fails_does_not_keep_the_others_waiting(caplog: pytest.LogCaptureFixture) -> None:
    delivered: list[bool] = []

    def fails(response: InferResponse | None, final: bool) -> None:
        raise ZeroDivisionError

    def takes(response: InferResponse | None, final: bool) -> None:
        delivered.append(final)

    async def post() -> None:
        mailbox = Mailbox(asyncio.get_running_loop())
        mailbox.post(fails, None, True)
        mailbox.post(takes, None, True)
        await asyncio.sleep(0)

    asyncio.run(post())
    assert delivered == [True]
    assert "a response could not be delivered" in caplog.text


def test_a_model_that_posts_without_end_leaves_turns_to_others() -> None:
    delivered: list[int] = []

    async def post() -> int:
        mailbox = Mailbox(asyncio.get_running_loop())

        def posts_again(response: InferResponse | None, final: bool) -> None:
            delivered.append(len(delivered))
            if len(delivered) < 100_000:
                mailbox.post(posts_again, None, False)

        mailbox.post(posts_again, None, False)
        await asyncio.sleep(0)
        await asyncio.sleep(0)
        return len(delivered)

    assert asyncio.run(post()) < 100_000


def test_responses_are_delivered_in_the_order_of_posting_in_however_many_turns() -> None:
    delivered: list[int] = []

    async def post() -> None:
        mailbox, all_came = Mailbox(asyncio.get_running_loop()), asyncio.Event()

        def takes(number: int, response: InferResponse | None, final: bool) -> None:
            delivered.append(number)
            if final:
                all_came.set()

        for number in range(1000):
            mailbox.post(partial(takes, number), None, number == 999)
        await all_came.wait()

    asyncio.run(post())
    assert delivered == list(range(1000))
