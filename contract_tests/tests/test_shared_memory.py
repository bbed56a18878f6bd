"""The shared memory objects of a case belong to one run at a time."""

import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from triton_contract.cases.case import SharedMemory
from triton_contract.playing.shared_memory import contents, present

KEY = "contract_tests_two_runs"


def has_its_own(value: int) -> bool:
    """Have the object 200 times; return whether it held this value each time, for as long as it was had."""
    mine = SharedMemory.model_validate({"key": KEY, "size": 4, "data": {"int32": [value]}})
    for _ in range(200):
        with present([mine]):
            if [contents(KEY) for _ in range(3)] != [value.to_bytes(4, "little")] * 3:
                return False
    return True


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the objects are not files")
def test_two_runs_of_a_case_wait_for_each_other() -> None:
    with ThreadPoolExecutor(2) as pool:
        assert list(pool.map(has_its_own, (1, 2))) == [True, True]
