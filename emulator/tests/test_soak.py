"""A short soak: each kind of request some dozens of times, each with its answer. `benchmarks.soak` is the long one."""

from benchmarks import soak


def test_requests_of_every_kind_leak_nothing() -> None:
    readings = soak.run(2000)
    assert readings[-1].requests == 2000
