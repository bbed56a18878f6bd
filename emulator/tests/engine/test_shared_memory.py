"""Shared memory regions of the operating system: registered, read, written, kept while in use, and released."""

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from triton_emulator.protocol.errors import Code, TritonError
from triton_emulator.protocol.messages import SharedMemoryRef
from triton_emulator.protocol.personality import DEFAULT_VERSION, personality
from triton_emulator.session.shared_memory import COPY_LIMIT, CudaSharedMemory, SystemSharedMemory

DIRECTORY = Path("/dev/shm")  # noqa: S108


@pytest.fixture
def memory() -> Iterator[SystemSharedMemory]:
    memory = SystemSharedMemory(personality("2.51.0"))
    yield memory
    memory.clear()


@pytest.fixture
def path() -> Iterator[Path]:
    path = DIRECTORY / f"emulator_test_{secrets.token_hex(6)}"
    path.write_bytes(bytes(range(64)) + bytes(8192 - 64))
    yield path
    path.unlink(missing_ok=True)


def refused(call: Callable[..., object], *arguments: object) -> tuple[Code, str]:
    with pytest.raises(TritonError) as caught:
        call(*arguments)
    return caught.value.code, caught.value.message


def read(memory: SystemSharedMemory, ref: SharedMemoryRef) -> bytes:
    with memory.lease() as lease:
        return bytes(lease.source(ref).whole())


def test_a_region_is_read_at_its_offset(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("in", f"/{path.name}", 0, 64)
    assert read(memory, SharedMemoryRef("in", 8, 4)) == bytes([8, 9, 10, 11])


def test_a_region_is_written_where_the_client_sees_it(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("out", path.name, 4096, 4096)
    memory.write(SharedMemoryRef("out", 2, 6), memoryview(b"abc"))
    assert path.read_bytes()[4096:4102] == b"\0\0abc\0"


def test_an_offset_counts_from_the_start_of_the_region(memory: SystemSharedMemory, path: Path) -> None:
    with path.open("r+b") as file:
        file.seek(4096)
        file.write(b"second page")
    memory.register("page", path.name, 4096, 64)
    assert read(memory, SharedMemoryRef("page", 7, 4)) == b"page"


def test_an_object_without_a_name_any_more_is_still_there(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("gone", path.name, 0, 64)
    path.unlink()
    assert read(memory, SharedMemoryRef("gone", 1, 2)) == b"\1\2"


def test_an_object_that_has_shrunk_is_an_error_and_no_crash(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("short", path.name, 0, 64)
    os.truncate(path, 16)
    wanted = (
        Code.INTERNAL,
        f"shared memory region 'short' can not be used: '{path.name}' has become shorter than what was registered",
    )
    assert refused(read, memory, SharedMemoryRef("short", 8, 16)) == wanted
    assert refused(memory.write, SharedMemoryRef("short", 8, 16), bytes(16)) == wanted
    assert path.stat().st_size == 16
    assert read(memory, SharedMemoryRef("short", 8, 8)) == bytes(range(8, 16))


@pytest.mark.parametrize(
    "offset, size, reason",
    [
        (0, 8193, "invalid args"),
        (0, 0, "unable to process address spaceInvalid argument"),
        (32, 32, "unable to process address spaceInvalid argument"),
        (4096, 2**64 - 4096, "unable to process address spaceCannot allocate memory"),
        (2**64 - 4096, 4160, "unable to process address spaceValue too large for defined data type"),
    ],
    ids=["too large", "empty", "not at a page", "larger than memory", "at a negative offset"],
)
def test_an_invalid_region_is_refused(
    memory: SystemSharedMemory, path: Path, offset: int, size: int, reason: str
) -> None:
    message = f"failed to register shared memory region 'r': {reason}"
    assert refused(memory.register, "r", path.name, offset, size) == (Code.INVALID_ARG, message)
    assert memory.status() == []


@pytest.mark.parametrize(
    "key", ["", "/", "..", "/../../etc/passwd", "/a/b", "/nothing_of_this_name", "k" * 300, "\ud800"]
)
def test_a_key_that_names_no_object_is_refused(memory: SystemSharedMemory, key: str) -> None:
    message = f"Unable to open shared memory region: '{key}'"
    assert refused(memory.register, "r", key, 0, 64) == (Code.INTERNAL, message)


def test_a_name_is_registered_once(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("in", path.name, 0, 64)
    assert refused(memory.register, "in", "/nothing_of_this_name", 0, 64) == (
        Code.ALREADY_EXISTS,
        "shared memory region 'in' already in manager",
    )


def test_a_key_is_registered_once(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("in", path.name, 0, 64)
    message = f"Invalid shared memory region: '{path.name}'"
    assert refused(memory.register, "other", path.name, 0, 64) == (Code.INTERNAL, message)


def test_the_status_is_in_the_order_of_names(memory: SystemSharedMemory, path: Path) -> None:
    for number, name in enumerate("zBa"):
        memory.register(name, "/" * number + path.name, 0, 10)
    assert [region.name for region in memory.status()] == ["B", "a", "z"]
    assert [(region.key, region.byte_size) for region in memory.status("B")] == [("/" + path.name, 10)]
    assert refused(memory.status, "x") == (Code.NOT_FOUND, "Unable to find system shared memory region: 'x'")


@pytest.mark.parametrize(
    "offset, size, message",
    [
        (64, 1, "Invalid offset for shared memory region: 'in'"),
        (2**64 - 1, 16, "Invalid offset for shared memory region: 'in'"),
        (63, 2, "Invalid offset + byte size for shared memory region: 'in'"),
        (0, 65, "Invalid offset + byte size for shared memory region: 'in'"),
        (0, 0, "Invalid offset + byte size for shared memory region: 'in'"),
        (17, 2**64 - 1, "Invalid offset + byte size for shared memory region: 'in'"),
    ],
)
def test_a_tensor_stays_inside_its_region(
    memory: SystemSharedMemory, path: Path, offset: int, size: int, message: str
) -> None:
    memory.register("in", path.name, 0, 64)
    ref = SharedMemoryRef("in", offset, size)
    for call in (memory.check, memory.find):
        assert refused(call, ref) == (Code.INVALID_ARG, message)


def test_an_empty_tensor_after_the_start_of_a_region_is_allowed(
    memory: SystemSharedMemory, path: Path
) -> None:
    memory.register("in", path.name, 0, 64)
    assert read(memory, SharedMemoryRef("in", 5, 0)) == b""


def test_an_unknown_region_is_not_found(memory: SystemSharedMemory) -> None:
    assert refused(read, memory, SharedMemoryRef("nope", 0, 4)) == (
        Code.NOT_FOUND,
        "Unable to find shared memory region: 'nope'",
    )


def test_a_region_is_not_released_while_a_request_uses_it(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("in", path.name, 0, 64)
    memory.register("idle", "/" + path.name, 0, 64)
    with memory.lease() as lease:
        lease.source(SharedMemoryRef("in", 0, 4)).whole()
        lease.check(SharedMemoryRef("in", 0, 4))
        assert refused(memory.unregister, "in") == (
            Code.INTERNAL,
            "Cannot unregister shared memory region 'in', it is currently in use.",
        )
        assert refused(memory.unregister_all) == (
            Code.INTERNAL,
            "Failed to unregister the following system shared memory regions: in ,",
        )
        assert [region.name for region in memory.status()] == ["in"]
    memory.unregister("in")
    assert memory.status() == []


def test_a_lease_holds_nothing_where_a_check_failed(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("in", path.name, 0, 64)
    with memory.lease() as lease:
        refused(lease.check, SharedMemoryRef("in", 0, 65))
        memory.unregister("in")


def test_unregistering_an_unknown_region_is_no_error(memory: SystemSharedMemory) -> None:
    memory.unregister("nope")
    memory.unregister_all()


def test_no_descriptor_is_left_open(memory: SystemSharedMemory, path: Path) -> None:
    before = len(list(Path("/proc/self/fd").iterdir()))
    for _ in range(20):
        memory.register("in", path.name, 0, 64)
        refused(memory.register, "bad", "/" + path.name, 0, 8193)
        memory.unregister("in")
    memory.register("in", path.name, 0, 64)
    memory.clear()
    assert len(list(Path("/proc/self/fd").iterdir())) == before


def test_cuda_regions_share_their_names_with_system_regions(memory: SystemSharedMemory, path: Path) -> None:
    cuda = CudaSharedMemory(memory, personality(DEFAULT_VERSION))
    memory.register("taken", path.name, 0, 64)
    assert refused(cuda.register, "taken", bytes(64), 0, 64) == (
        Code.ALREADY_EXISTS,
        "shared memory region 'taken' already in manager",
    )
    assert refused(cuda.status, "taken") == (
        Code.NOT_FOUND,
        "The region named 'taken' is registered as system shared memory, not CUDA shared memory",
    )
    cuda.unregister("taken")
    cuda.unregister_all()
    assert [region.name for region in memory.status()] == ["taken"]


def test_no_cuda_region_is_registered_without_a_gpu(memory: SystemSharedMemory) -> None:
    cuda = CudaSharedMemory(memory, personality(DEFAULT_VERSION))
    assert refused(cuda.register, "c", bytes(64), 0, 64) == (
        Code.INVALID_ARG,
        "failed to register shared memory region: invalid args",
    )
    assert refused(cuda.register, "c", bytes(63), 0, 64) == (
        Code.INVALID_ARG,
        "'raw_handle' must be a valid base64 encoded cudaIpcMemHandle_t",
    )
    assert refused(cuda.status, "c") == (Code.NOT_FOUND, "Unable to find cuda shared memory region: 'c'")


def test_a_region_is_read_in_parts(memory: SystemSharedMemory, path: Path) -> None:
    memory.register("in", path.name, 0, 64)
    with memory.lease() as lease:
        source = lease.source(SharedMemoryRef("in", 8, 16))
        assert (len(source), source.read(4, 2)) == (16, bytes([12, 13]))


def test_a_region_that_is_released_while_it_is_read_is_an_error(
    memory: SystemSharedMemory, path: Path
) -> None:
    memory.register("in", path.name, 0, 64)
    with memory.lease() as lease:
        source = lease.source(SharedMemoryRef("in", 0, 8))
        memory.clear()
        wanted = (Code.NOT_FOUND, "Unable to find shared memory region: 'in'")
        assert refused(source.whole) == wanted


def test_what_requests_in_flight_have_copied_has_a_limit(memory: SystemSharedMemory, path: Path) -> None:
    os.truncate(path, COPY_LIMIT + 4096)
    memory.register("in", path.name, 0, COPY_LIMIT + 4096)
    with memory.lease() as first:
        first.source(SharedMemoryRef("in", 0, 4096)).whole()
        with memory.lease() as second:
            source = second.source(SharedMemoryRef("in", 0, COPY_LIMIT))
            assert refused(source.whole) == (
                Code.UNAVAILABLE,
                "shared memory inputs of 2147487744 bytes would be in flight; the emulator takes 2147483648 bytes",
            )
    with memory.lease() as third:  # the first has given back what it had
        third.reserve(COPY_LIMIT)


def test_a_request_that_has_ended_copies_nothing_that_nobody_would_give_back(
    memory: SystemSharedMemory, path: Path
) -> None:
    memory.register("in", path.name, 0, 64)
    lease = memory.lease()
    source = lease.source(SharedMemoryRef("in", 0, 8))
    lease.release()
    assert refused(source.whole) == (Code.UNAVAILABLE, "the request has ended")
    with memory.lease() as other:
        other.reserve(COPY_LIMIT)
