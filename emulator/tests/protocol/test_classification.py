"""The top classes of an output, as strings."""

import numpy as np
import pytest

from triton_emulator.protocol.classification import classify
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.tensor import Tensor


def test_floats_print_six_decimals_and_labels_follow() -> None:
    tensor = Tensor("OUT", "FP32", [1, 3], array=np.array([[0.25, 0.5, 0.125]], np.float32))
    top = classify(tensor, 2, [b"cat", b"dog"], batching=True)
    assert (top.datatype, top.shape) == ("BYTES", (1, 2))
    assert top.array.tolist() == [[b"0.500000:1:dog", b"0.250000:0:cat"]]


def test_each_row_of_a_batch_is_ranked_separately() -> None:
    tensor = Tensor("OUT", "INT32", [2, 2], array=np.array([[1, 2], [4, 3]], np.int32))
    assert classify(tensor, 1, [], batching=True).array.tolist() == [[b"2:1"], [b"4:0"]]


def test_up_to_sixteen_equal_values_stay_in_index_order() -> None:
    tensor = Tensor("OUT", "INT64", [3], array=np.array([7, 7, 9], np.int64))
    assert classify(tensor, 3, [], batching=False).array.tolist() == [b"9:2", b"7:0", b"7:1"]


def test_integers_beyond_a_doubles_precision_are_distinguished() -> None:
    tensor = Tensor("OUT", "INT64", [2], array=np.array([2**60, 2**60 + 1], np.int64))
    assert classify(tensor, 1, [], batching=False).array.tolist() == [b"1152921504606846977:1"]


def test_strings_have_no_classes() -> None:
    tensor = Tensor("OUT", "BYTES", [1], data=b"\x01\x00\x00\x00a")
    with pytest.raises(TritonError, match="unsupported type 'BYTES'"):
        classify(tensor, 1, [], batching=False)


@pytest.mark.parametrize("datatype", ["INT8", "BOOL"])
def test_a_row_of_more_values_than_the_limit_is_refused(datatype: str) -> None:
    tensor = Tensor("OUT", datatype, [2, 3], data=bytes(6))
    with pytest.raises(TritonError, match=r"^classification output tensor too large$"):
        classify(tensor, 1, [], batching=True, limit=2)


def test_each_row_of_a_batch_may_have_as_many_values_as_the_limit() -> None:
    tensor = Tensor("OUT", "INT8", [2, 3], data=bytes([1, 2, 3, 6, 5, 4]))
    assert classify(tensor, 1, [], batching=True, limit=3).array.tolist() == [[b"3:2"], [b"6:0"]]


def test_strings_are_refused_for_their_datatype_however_many_they_are() -> None:
    tensor = Tensor("OUT", "BYTES", [2], data=bytes(8))
    with pytest.raises(TritonError, match="unsupported type 'BYTES'"):
        classify(tensor, 1, [], batching=False, limit=1)
