"""Shared memory of clients in versions after 2.51. Each test names the source that its expectation was read in."""

import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.messages import SharedMemoryRef
from triton_emulator.protocol.personality import personality
from triton_emulator.session.shared_memory import SystemSharedMemory

DIRECTORY = Path("/dev/shm")  # noqa: S108
OVERFLOW = (
    "Integer overflow detected: byte_size (18446744073709551614) + offset (2) exceeds maximum value "
    "(18446744073709551615) for region 'in'"
)
OWN = "triton_python_backend_shm_region_"


@pytest.fixture
def key() -> Iterator[str]:
    path = DIRECTORY / f"emulator_test_{secrets.token_hex(6)}"
    path.write_bytes(bytes(range(64)))
    yield path.name
    path.unlink()


@pytest.fixture
def make() -> Iterator[Callable[[str], SystemSharedMemory]]:
    made: list[SystemSharedMemory] = []

    def of(version: str) -> SystemSharedMemory:
        made.append(SystemSharedMemory(personality(version)))
        return made[-1]

    yield of
    for memory in made:
        memory.clear()


Make = Callable[[str], SystemSharedMemory]


def refused(call: Callable[..., object], *arguments: object) -> tuple[Code, str]:
    with pytest.raises(TritonError) as caught:
        call(*arguments)
    return caught.value.code, caught.value.message


# server r24.12, src/shared_memory_manager.cc


def test_from_2_53_a_region_in_use_is_released_when_its_requests_have_ended(make: Make, key: str) -> None:
    memory = make("2.53.0")
    memory.register("in", key, 0, 64)
    first, second = memory.lease(), memory.lease()
    for lease in (first, first, second):
        lease.check(SharedMemoryRef("in", 0, 4))
    memory.unregister("in")
    memory.unregister("in")
    assert [region.name for region in memory.status()] == ["in"]
    assert refused(memory.register, "in", key, 0, 64) == (
        Code.ALREADY_EXISTS,
        "shared memory region 'in' already in manager",
    )
    first.release()
    assert [region.name for region in memory.status()] == ["in"]
    second.release()
    assert memory.status() == []


def test_from_2_53_all_regions_are_released_though_some_are_in_use(make: Make, key: str) -> None:
    memory = make("2.53.0")
    memory.register("in", key, 0, 64)
    memory.register("idle", "/" + key, 0, 64)
    with memory.lease() as lease:
        lease.check(SharedMemoryRef("in", 0, 4))
        memory.unregister_all()
        assert [region.name for region in memory.status()] == ["in"]
    assert memory.status() == []


def test_from_2_53_a_region_that_was_released_later_can_be_registered_again(make: Make, key: str) -> None:
    memory = make("2.53.0")
    for _ in range(2):
        memory.register("in", key, 0, 64)
        with memory.lease() as lease:
            lease.check(SharedMemoryRef("in", 0, 4))
            memory.unregister("in")
    memory.register("in", key, 0, 64)
    with memory.lease() as lease:
        lease.check(SharedMemoryRef("in", 0, 4))
    assert [region.name for region in memory.status()] == ["in"]


def test_before_2_53_a_region_in_use_is_not_released(make: Make, key: str) -> None:
    memory = make("2.52.0")
    memory.register("in", key, 0, 64)
    with memory.lease() as lease:
        lease.check(SharedMemoryRef("in", 0, 4))
        assert refused(memory.unregister, "in") == (
            Code.INTERNAL,
            "Cannot unregister shared memory region 'in', it is currently in use.",
        )
    assert [region.name for region in memory.status()] == ["in"]


# server r25.05, src/shared_memory_manager.cc


@pytest.mark.parametrize(
    "offset, size, message",
    [
        (1, 2**64 - 2, "Invalid offset + byte size for shared memory region: 'in'"),
        (2, 2**64 - 2, OVERFLOW),
        (64, 2**64 - 1, "Invalid offset for shared memory region: 'in'"),
    ],
    ids=["64 bits", "65 bits", "behind the end"],
)
def test_from_2_58_a_range_of_more_than_64_bits_has_a_text_of_its_own(
    make: Make, key: str, offset: int, size: int, message: str
) -> None:
    memory = make("2.58.0")
    memory.register("in", key, 0, 64)
    assert refused(memory.check, SharedMemoryRef("in", offset, size)) == (Code.INVALID_ARG, message)


# server r25.07, src/shared_memory_manager.cc; server r25.08, src/common.cc


def reserved(key: str) -> tuple[Code, str]:
    return (
        Code.INVALID_ARG,
        f"cannot register shared memory region 'r' with key '{key}' as the key contains the reserved prefix '{OWN}'",
    )


def not_there(key: str) -> tuple[Code, str]:
    return Code.INTERNAL, f"Unable to open shared memory region: '{key}'"


def invalid(key: str) -> tuple[Code, str]:
    return Code.INVALID_ARG, f"cannot register shared memory region 'r' - invalid shm key '{key}'"


@pytest.mark.parametrize(
    "key, in_2_59_0, in_2_59_1, in_2_60",
    [
        (OWN, not_there, reserved, reserved),
        (f"{OWN}7", not_there, reserved, reserved),
        (f"/{OWN}7", not_there, not_there, reserved),
        (f"//{OWN}", not_there, not_there, reserved),
        (f"a{OWN}", not_there, not_there, not_there),
        (OWN[:-1], not_there, not_there, not_there),
        ("", not_there, not_there, invalid),
        ("///", not_there, not_there, invalid),
    ],
)
def test_a_key_of_the_server_itself(
    make: Make,
    key: str,
    in_2_59_0: Callable[[str], object],
    in_2_59_1: Callable[[str], object],
    in_2_60: Callable[[str], object],
) -> None:
    for version, answer in (("2.59.0", in_2_59_0), ("2.59.1", in_2_59_1), ("2.60.0", in_2_60)):
        assert refused(make(version).register, "r", key, 0, 64) == answer(key)


# server r25.08, src/shared_memory_manager.cc


def test_from_2_60_nothing_can_be_read_at_the_start_of_a_region(make: Make, key: str) -> None:
    memory = make("2.60.0")
    memory.register("in", key, 0, 64)
    with memory.lease() as lease:
        assert bytes(lease.source(SharedMemoryRef("in", 0, 0)).whole()) == b""
    assert refused(make("2.59.1").check, SharedMemoryRef("in", 0, 0))[0] == Code.NOT_FOUND


# server r26.05, src/shared_memory_manager.cc


def test_from_2_69_an_object_is_opened_for_each_region(make: Make, key: str) -> None:
    memory = make("2.69.0")
    before = len(list(Path("/proc/self/fd").iterdir()))
    for name in ("a", "b", "a"):
        memory.register(name, key, 0, 64)
        memory.unregister(name)
    memory.register("a", key, 0, 64)
    memory.register("b", key, 0, 64)
    assert [(region.name, region.key) for region in memory.status()] == [("a", key), ("b", key)]
    memory.unregister_all()
    assert len(list(Path("/proc/self/fd").iterdir())) == before
