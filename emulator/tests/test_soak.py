"""A short soak: each kind of request some dozens of times, each with its answer. The long one is a program."""

from benchmarks import soak


def test_requests_of_every_kind_leave_nothing_behind() -> None:
    readings = soak.run(2000)
    assert readings[-1].requests == 2000
