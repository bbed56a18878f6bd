"""Retries: after which errors, how often, and after how long. The waits are computed, not slept."""

import random
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from typing import Any

import pytest

from triton_adapter import errors
from triton_adapter.errors import AdapterError
from triton_adapter.steps import HttpReply, Sleep, Steps
from triton_adapter.target import Target
from triton_adapter.triton.replies import read_error


def waits(target: Target, failures: Sequence[AdapterError]) -> tuple[list[float], AdapterError | None]:
    """The seconds between attempts that fail one after the other, and the final error, if there is one."""
    left = list(failures)

    def attempt() -> Steps:
        yield from ()
        if left:
            raise left.pop(0)
        return "done"

    steps: Any = target.retrying(attempt)
    found = []
    try:
        effect = next(steps)
        while True:
            assert isinstance(effect, Sleep)
            found.append(effect.seconds)
            effect = steps.send(None)
    except StopIteration:
        return found, None
    except AdapterError as error:
        return found, error


def target(**given: Any) -> Target:
    return Target.of("triton/m", "http://127.0.0.1:9", **given)


def busy(retry_after: str | None = None, status: int = 503) -> AdapterError:
    headers = {} if retry_after is None else {"Retry-After": retry_after}
    return read_error(HttpReply(status, headers, b'{"error":"busy"}'))


def test_the_wait_doubles_from_half_a_second_to_eight_with_some_chance_in_it() -> None:
    random.seed(1)
    found, error = waits(target(retries=7), [busy() for _ in range(7)])
    assert error is None
    limits = [0.5, 1, 2, 4, 8, 8, 8]
    assert all(0.75 * limit <= wait <= limit for wait, limit in zip(found, limits, strict=True))
    assert len(set(found)) == 7


def test_what_retry_after_says_is_waited_instead() -> None:
    assert waits(target(), [busy("3"), busy("0", 429)]) == ([3, 0], None)


def test_a_retry_after_may_be_a_date_to_come() -> None:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=40), usegmt=True)
    (wait,), error = waits(target(), [busy(date)])
    assert error is None
    assert 30 < wait <= 40


@pytest.mark.parametrize(
    "said",
    [
        "inf",
        "nan",
        "1e999",
        "Mon, 99999999999999999999 Jan 2026 00:00:00 GMT",
        "Mon, 01 Jan 2026 00:00:00 -9999999999999999999999",
        "soon",
    ],
)
def test_a_retry_after_that_says_nothing_is_as_none(said: str) -> None:
    assert busy(said).retry_after is None


def test_a_retry_after_of_ages_is_cut_to_what_can_be_written() -> None:
    assert busy("1e300").retry_after == 1e9


@pytest.mark.parametrize(
    "said",
    ["600", format_datetime(datetime.now(UTC) + timedelta(hours=1), usegmt=True)],
    ids=["seconds", "a date"],
)
def test_more_than_a_minute_is_not_waited(said: str) -> None:
    found, error = waits(target(retries=5), [busy(said, 429)])
    assert found == []
    assert isinstance(error, errors.RateLimitError)
    assert error.retry_after is not None
    assert error.retry_after > 500


def test_the_last_error_is_raised_when_the_retries_are_used_up() -> None:
    last = busy("1")
    assert waits(target(retries=2), [busy("1"), busy("1"), last]) == ([1, 1], last)
    assert waits(target(retries=0), [last]) == ([], last)


@pytest.mark.parametrize(
    "error",
    [
        errors.BadRequestError("no"),
        errors.AuthenticationError("no"),
        errors.NotFoundError("no"),
        errors.InternalServerError("it may have been done"),
        errors.BadGatewayError("no"),
        errors.APIConnectionError("the answer broke off"),
        errors.APITimeoutError("no"),
    ],
    ids=lambda error: type(error).__name__,
)
def test_what_may_have_been_done_or_will_fail_again_is_not_tried_again(error: AdapterError) -> None:
    assert waits(target(retries=5), [error]) == ([], error)


def test_a_connection_that_broke_before_a_byte_is_tried_again_at_once_then_with_waits() -> None:
    broken = [errors.APIConnectionError("broke", retryable=True) for _ in range(3)]
    found, error = waits(target(retries=2), broken)
    assert error is None
    assert len(found) == 2


def test_a_connection_that_breaks_after_each_answer_costs_no_retry() -> None:
    broken = errors.APIConnectionError("broke", retryable=True)
    assert waits(target(retries=2), [broken, busy("1"), broken, busy("2"), broken]) == ([1, 2], None)
