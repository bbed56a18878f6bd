"""Type-checked by `ci/check` and never run: the types of faults, plans and the journal.

A line with `type: ignore` holds a mistake that has to be reported: an ignore that is not needed is an error itself.
"""

import re
from collections.abc import Mapping
from typing import Any, assert_type

import numpy as np
import numpy.typing as npt

from triton_emulator import Code, Emulator, Fault, JournalEntry, Plan, Requests, fault


def faults_have_types() -> None:
    assert_type(fault.error(503, "overloaded"), Fault)
    assert_type(fault.error(Code.UNAVAILABLE), Fault)
    assert_type(fault.delay(1) + fault.reset(), Fault)
    fault.cut(after_events=5)
    fault.cut(5)  # type: ignore[call-arg]
    fault.wrong_output("OUT", values=np.zeros(3))
    fault.delay("1")  # type: ignore[arg-type]


def plans_have_types() -> None:
    with Emulator() as emulator, emulator.session() as triton:
        for watched in (emulator, triton):
            plan = watched.inject(
                fault.error(503),
                operation="infer",
                model="simple",
                version=1,
                protocol="http",
                headers={"X-Team": "a", "X-Any": None, "X-Like": re.compile("a")},
                where=lambda entry: entry.model == "simple",
                times=None,
                after=2,
                probability=0.5,
            )
            assert_type(plan, Plan)
            assert_type((plan.fired, plan.completed), tuple[int, int])
            watched.inject(503)  # type: ignore[arg-type]
            watched.inject(fault.reset(), times="1")  # type: ignore[arg-type]
            watched.inject(fault.reset(), oepration="infer")  # type: ignore[call-arg]


def requests_have_types() -> None:
    with Emulator() as triton:
        assert_type(triton.requests, Requests)
        assert_type(triton.requests.where("infer", model="simple").wait_for(2, timeout=1), Requests)
        assert_type(triton.requests.count, int)
        entry = triton.requests.last
        assert_type(entry, JournalEntry)
        assert_type(entry.inputs, Mapping[str, npt.NDArray[Any]])
        assert_type(entry.status, int | str | None)
        for each in triton.requests:
            assert_type(each, JournalEntry)
        assert_type(triton.requests[0], JournalEntry)
        assert_type(triton.requests[1:], list[JournalEntry])
        assert_type(triton.assert_requested("infer", inputs={"X": [1]}, times=1), Requests)
