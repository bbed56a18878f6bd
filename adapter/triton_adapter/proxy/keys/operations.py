"""Operations on the key store: generators that yield calls which may block, and do the rest themselves."""

from collections.abc import Awaitable, Callable, Generator
from typing import Any

Work = Callable[[], Any]
Operation = Generator[Work, Any, Any]


async def driven(operation: Operation, perform: Callable[[Work], Awaitable[Any]]) -> Any:
    """Return an operation's result; `perform` makes the calls of the file that it yields."""
    try:
        work = next(operation)
        while True:
            try:
                result = await perform(work)
            except Exception as error:  # noqa: BLE001 - it is the operation's
                work = operation.throw(error)
            else:
                work = operation.send(result)
    except StopIteration as done:
        return done.value


def run(operation: Operation) -> Any:
    """Run an operation in this thread."""

    async def here(work: Work) -> Any:
        return work()

    try:
        driven(operation, here).send(None)
    except StopIteration as done:
        return done.value
    raise AssertionError("an operation that is run in this thread has waited")
