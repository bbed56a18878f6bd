"""What `fault` and `inject` refuse when it is written, rather than let it never happen."""

import re

import pytest

from triton_emulator import Fault, Session, fault


@pytest.mark.parametrize(
    "first,second,text",
    [
        pytest.param(
            fault.error(503, "busy"),
            fault.reset(),
            "fault.error(503, 'busy') is the whole answer; fault.reset() cannot change it",
            id="after the answer",
        ),
        pytest.param(
            fault.cut(after_events=1),
            fault.error(503, "busy"),
            "fault.error(503, 'busy') is the whole answer; fault.cut(after_events=1) cannot change it",
            id="before the answer",
        ),
        pytest.param(
            fault.reset(),
            fault.delay(1),
            "fault.reset() is the whole answer; fault.delay(1) cannot change it",
            id="a delay that is too late",
        ),
        pytest.param(
            fault.delay(1) + fault.drip(9),
            fault.queue_full(),
            "fault.queue_full() is the whole answer; fault.drip(9) cannot change it",
            id="not only delays before the answer",
        ),
    ],
)
def test_nothing_but_a_delay_is_combined_with_a_whole_answer(first: Fault, second: Fault, text: str) -> None:
    with pytest.raises(ValueError, match=f"^{re.escape(text)}$"):
        first + second


def test_delays_before_a_whole_answer_add_up() -> None:
    both = fault.delay(1) + fault.delay(2) + fault.empty()
    assert repr(both) == "fault.delay(1) + fault.delay(2) + fault.empty()"


def test_an_operation_that_a_protocol_lacks_is_told(triton: Session) -> None:
    with pytest.raises(ValueError, match=r"^there is no generate over grpc$"):
        triton.inject(fault.error(503), operation="generate", protocol="grpc")
