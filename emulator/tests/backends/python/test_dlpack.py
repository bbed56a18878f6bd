"""Tensors through DLPack that end the real server's instance. Here they work."""

import gc

import numpy as np
import pytest

from triton_emulator.backends.python import dlpack
from triton_emulator.backends.python.tensors import Tensor
from triton_emulator.backends.python.values import TritonModelException


def test_a_numpy_array_becomes_a_tensor() -> None:
    tensor = Tensor.from_dlpack("x", np.arange(6, dtype=np.int32).reshape(2, 3))
    assert tensor.name() == "x"
    assert tensor.as_numpy().dtype == np.int32
    assert tensor.as_numpy().tolist() == [[0, 1, 2], [3, 4, 5]]


def test_a_bool_array_becomes_a_tensor() -> None:
    assert Tensor.from_dlpack("x", np.array([True, False])).as_numpy().tolist() == [True, False]


def test_a_capsule_is_used_up() -> None:
    capsule = Tensor("x", np.array([1.5], np.float32)).to_dlpack()
    assert Tensor.from_dlpack("y", capsule).as_numpy().tolist() == [1.5]
    with pytest.raises(TritonModelException, match="used before"):
        Tensor.from_dlpack("z", capsule)


def test_an_array_lives_as_long_as_its_memory_is_referenced() -> None:
    tensor = Tensor("x", np.arange(1000, dtype=np.float64))
    view = np.from_dlpack(tensor)
    del tensor
    gc.collect()
    assert view.tolist() == list(range(1000))


def test_an_unused_capsule_is_freed() -> None:
    capsule = Tensor("x", np.zeros(3, np.float32)).to_dlpack()
    assert dlpack._OUT
    del capsule
    gc.collect()
    assert not dlpack._OUT


def test_complex_numbers_have_no_datatype() -> None:
    with pytest.raises(TritonModelException, match=r'DType code "5" is not supported\.'):
        Tensor.from_dlpack("x", np.zeros(2, np.complex64))


def test_a_scalar_and_an_empty_array_become_tensors() -> None:
    for array in (np.array(3.5), np.zeros((0, 4), np.int8)):
        tensor = Tensor.from_dlpack("x", Tensor("x", array))
        assert tensor.shape() == list(array.shape)
        assert tensor.as_numpy().tolist() == array.tolist()


def test_a_numpy_array_is_warned_of_and_a_capsule_is_not(caplog: pytest.LogCaptureFixture) -> None:
    Tensor.from_dlpack("x", Tensor("y", np.zeros(2)))
    assert caplog.messages == []
    Tensor.from_dlpack("x", np.zeros(2))
    assert caplog.messages == [
        "tritonserver 2.51 ends a model's process that gives numpy's own arrays to Tensor.from_dlpack()"
    ]
