"""The mailbox that brings responses from other threads to the event loop."""

import asyncio

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
