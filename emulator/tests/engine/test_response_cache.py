"""The response cache: which requests are equal to it, what it keeps, what it evicts first; and its flag."""

import pytest

from triton_emulator.engine.response_cache import ResponseCache, key_of, stored_size
from triton_emulator.protocol.errors import TritonError
from triton_emulator.protocol.messages import InferRequest, RequestedOutput
from triton_emulator.protocol.tensor import Tensor


def tensor(name: str = "X", shape: tuple[int, ...] = (1, 2), data: bytes = bytes(8)) -> Tensor:
    return Tensor(name, "INT32", shape, data=data)


def test_shape_outputs_order_and_id_make_no_difference_to_the_cache() -> None:
    one = InferRequest("m", id="a", inputs=[tensor(), tensor("Y")])
    other = InferRequest("m", inputs=[tensor("Y"), tensor(shape=(2, 1))], outputs=[RequestedOutput("O")])
    assert key_of("m", 1, one) == key_of("m", 1, other)


@pytest.mark.parametrize(
    ("name", "version", "data"),
    [("n", 1, bytes(8)), ("m", 2, bytes(8)), ("m", 1, bytes(7) + b"1")],
    ids=["model", "version", "data"],
)
def test_a_request_that_differs_in_this_has_another_key(name: str, version: int, data: bytes) -> None:
    request = InferRequest("m", inputs=[tensor()])
    other = InferRequest("m", inputs=[tensor(data=data)])
    assert key_of("m", 1, request) != key_of(name, version, other)


def test_sizes_are_those_of_tritons_pool() -> None:
    # measured on 2.51 by nv_cache_util: 128 bytes for COUNT [1,1] and Y [1,2], 48 for a response without outputs
    assert stored_size([tensor("COUNT", (1, 1), bytes(4)), tensor("Y")]) == 128
    assert stored_size([]) == 48


def test_the_least_recently_used_entry_is_evicted_first() -> None:
    cache = ResponseCache(128 + 3 * 80)
    for name in "abc":
        assert cache.insert((name,), [tensor("Y")]) == 0
    assert cache.look_up(("a",)) is not None
    assert cache.insert(("d",), [tensor("Y")]) == 1
    assert [cache.look_up((name,)) is not None for name in "abcd"] == [True, False, True, True]
    assert (len(cache), cache.utilization) == (3, 1.0)


def test_a_second_answer_to_one_request_is_not_stored() -> None:
    cache = ResponseCache(1024)
    assert cache.insert(("a",), [tensor("Y")]) == 0
    assert cache.insert(("a",), [tensor("Z")]) is None
    found = cache.look_up(("a",))
    assert found is not None
    assert found[0].name == "Y"


@pytest.mark.parametrize(
    "outputs",
    [[tensor("Y", (1, 0), b"")], [tensor("Y", (1, 1000), bytes(4000))]],
    ids=["an output without a byte", "a response that is larger than the cache"],
)
def test_an_unsuitable_response_is_not_stored(outputs: list[Tensor]) -> None:
    cache = ResponseCache(1024)
    assert cache.insert(("a",), outputs) == 0
    assert cache.look_up(("a",)) is None


def test_without_a_flag_there_is_no_cache() -> None:
    assert ResponseCache.of(()) is None


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        (("local", "size", "abc"), "Failed to initialize LocalCache: stoull"),
        (("local", "size", "-5"), "Failed to initialize LocalCache: failed to allocate buffer"),
        (
            ("local", "foo", "1"),
            "Failed to initialize LocalCache: config didn't contain a valid 'size' field.",
        ),
        (
            ("local", "size", "10"),
            "Failed to initialize LocalCache: Could not initialize buffer in basic_managed_external_buffer constructor",
        ),
        (
            ("redis", "host", "x"),
            "unable to find 'libtritoncache_redis.so' for cache. Searched: /opt/tritonserver/caches",
        ),
    ],
    ids=["no number", "below nothing", "no size", "too small", "another cache"],
)
def test_a_wrong_cache_flag_is_refused(settings: tuple[str, str, str], message: str) -> None:
    with pytest.raises(TritonError) as refused:
        ResponseCache.of([settings])
    assert refused.value.message == message


def test_a_size_is_read_as_far_as_it_is_a_number() -> None:
    assert ResponseCache.of([("local", "size", "1024x")]) is not None
