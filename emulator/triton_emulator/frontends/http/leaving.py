"""Clients that disconnect before they have their answer.

2.51 reads nothing from a connection between a request and the head of its answer, so it does not notice until then
that the client has disconnected, and the model is not told. A stand-in is told at once: its wait is only simulated.
"""

import asyncio
from collections.abc import Coroutine
from typing import Any, TypeVar

from triton_emulator.frontends.http.request import Request
from triton_emulator.inference import Exchange

T = TypeVar("T")


def watch(exchange: Exchange, request: Request) -> "asyncio.Task[None]":
    """Cancel the request when its client disconnects, until this task is cancelled."""
    return asyncio.create_task(_cancel_on_disconnect(exchange, request))


async def _cancel_on_disconnect(exchange: Exchange, request: Request) -> None:
    while (await request.receive())["type"] != "http.disconnect":
        pass
    exchange.cancel()


def while_connected(
    exchange: Exchange, request: Request, answer: Coroutine[Any, Any, T]
) -> Coroutine[Any, Any, T]:
    """What the model answers; a stand-in that has not answered yet is cancelled when its client disconnects.

    So is one that is a member of an ensemble.
    """
    if exchange.has_response or not (exchange.model.stands_in or exchange.hears_cancellation):
        return answer
    return _watched(exchange, request, answer)


async def _watched(exchange: Exchange, request: Request, answer: Coroutine[Any, Any, T]) -> T:
    watcher = watch(exchange, request)
    try:
        return await answer
    finally:
        watcher.cancel()
