"""How the values of a generate request take a tensor's shape."""

import pytest

from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.generate import tensor_shape


@pytest.mark.parametrize(
    ("count", "spec", "shape"),
    [
        (1, [1], [1]),
        (4, [2, 2], [2, 2]),
        (3, [-1], [3]),
        (0, [-1], [0]),
        (8, [-1, 4], [2, 4]),
        (3, [-1, -1], [1, 3]),
        (6, [-1, 2, -1], [1, 2, 3]),
    ],
)
def test_fixed_dims_take_their_share_and_the_innermost_open_one_the_rest(
    count: int, spec: list[int], shape: list[int]
) -> None:
    assert shape == list(tensor_shape("X", count, spec))


@pytest.mark.parametrize(("count", "spec"), [(2, [1]), (3, [2, 2]), (0, [1]), (5, [-1, 2])])
def test_what_does_not_fit_is_refused_by_name(count: int, spec: list[int]) -> None:
    with pytest.raises(TritonError) as caught:
        tensor_shape("GRID", count, spec)
    assert caught.value.code is Code.INVALID_ARG
    assert caught.value.message == "The schema can not convert input 'GRID' to tensor with proper shape"
