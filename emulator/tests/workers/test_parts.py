"""The parts of several workers: sums, whose turn it is, messages, connections that are handed on."""

import asyncio
import pickle
import socket
from collections.abc import AsyncIterator, Callable
from contextlib import ExitStack, asynccontextmanager, suppress

import pytest

from triton_emulator.engine.first_responses import FirstResponses, Histogram
from triton_emulator.engine.statistics import FailureCounts, ModelStatistics, RequestEvent, total
from triton_emulator.engine.summaries import Seen
from triton_emulator.frontends.metrics.families import ModelRow
from triton_emulator.frontends.metrics.readings import Readings
from triton_emulator.frontends.metrics.readings import total as total_readings
from triton_emulator.workers.counted import Counted
from triton_emulator.workers.counted import total as total_counted
from triton_emulator.workers.handing import HandedConnections, count_ended, hand
from triton_emulator.workers.line import Answers, Failed, Gone, Line
from triton_emulator.workers.spreading import Spreader, in_turn


async def until(holds: Callable[[], bool]) -> None:
    """Let the event loop turn until a condition holds."""
    while not holds():  # noqa: ASYNC110  (what is waited for tells nobody)
        await asyncio.sleep(0)


LABELS = {"model": "m", "version": "1"}


def counted(*ends_ms: int, batch: int = 1, failures: tuple[str, ...] = ()) -> ModelStatistics:
    """The statistics of executions that ended then: each took 10 ns, of which 1, 2, 3 and 4 of its parts."""
    found = ModelStatistics()
    for end in ends_ms:
        found.fold(RequestEvent(batch, bool(failures), failures, end, 10, 1, 2, 3, 4, 1, batch))
    return found


# --- sums ---


def test_statistics_are_added_up_and_the_last_inference_is_the_latest() -> None:
    parts = [counted(5, 7), counted(6, batch=4), counted(3, failures=("BACKEND",))]
    assert total(parts).value("m", 1, responses=False) == {
        "name": "m",
        "version": "1",
        "last_inference": 7,
        "inference_count": 6,
        "execution_count": 4,
        "inference_stats": {
            "success": {"count": 3, "ns": 30},
            "fail": {"count": 1, "ns": 10},
            "queue": {"count": 3, "ns": 3},
            "compute_input": {"count": 3, "ns": 6},
            "compute_infer": {"count": 3, "ns": 9},
            "compute_output": {"count": 3, "ns": 12},
            "cache_hit": {"count": 0, "ns": 0},
            "cache_miss": {"count": 0, "ns": 0},
        },
        "batch_stats": [
            {
                "batch_size": 1,
                "compute_input": {"count": 3, "ns": 6},
                "compute_infer": {"count": 3, "ns": 9},
                "compute_output": {"count": 3, "ns": 12},
            },
            {
                "batch_size": 4,
                "compute_input": {"count": 1, "ns": 2},
                "compute_infer": {"count": 1, "ns": 3},
                "compute_output": {"count": 1, "ns": 4},
            },
        ],
        "memory_usage": [],
    }


def test_a_sum_changes_none_of_its_parts() -> None:
    part = counted(5)
    total([part, part])
    assert (part.execution_count, part.success.count, part.batches[1].count) == (1, 1, 1)


def readings(
    pending: int, *, load: float, seen: Seen, first: Histogram, failed: int = 0, gpu: int = 0
) -> Readings:
    failures = FailureCounts()
    failures.open(LABELS)
    failures.fold(LABELS, ["OTHER"] * failed)
    row = ModelRow(LABELS, counted(5), pending, False, {"request": seen}, load, first)
    return Readings((row,), failures, frozenset({gpu}), busy_ns=100)


ONE = readings(2, load=0.5, seen=Seen(3, 60, [10, 20, 30]), first=Histogram((1.0,), (1, 2), 9), failed=2)
OTHER = readings(3, load=0.7, seen=Seen(1, 15, [15]), first=Histogram((1.0,), (4, 0), 2), failed=1, gpu=1)


def test_readings_are_added_up_and_the_longest_load_counts() -> None:
    found = total_readings([ONE, OTHER])
    (row,) = found.rows
    assert (row.labels, row.pending, row.load_seconds) == (LABELS, 5, 0.7)
    assert row.statistics.execution_count == 2
    assert row.first_responses == Histogram((1.0,), (5, 2), 11)
    assert row.summaries == {"request": Seen(4, 75, [10, 15, 20, 30])}
    assert row.summaries["request"].quantile(0.5) == 20
    assert list(found.failures.items()) == [
        (LABELS, {"REJECTED": 0, "CANCELED": 0, "BACKEND": 0, "OTHER": 3})
    ]
    assert (found.gpus, found.busy_ns) == (frozenset({0, 1}), 200)


def test_models_that_have_no_summaries_or_histograms_have_none_together() -> None:
    row = ModelRow(LABELS, counted(5), 0, False, None)
    (found,) = total_readings([Readings((row,)), Readings((row,))]).rows
    assert (found.summaries, found.first_responses, found.load_seconds) == (None, None, None)


def test_of_a_worker_that_has_ended_counts_stay_and_nothing_waits_or_is_recent() -> None:
    (row,) = ONE.at_the_end().rows
    assert (row.pending, row.statistics.execution_count) == (0, 1)
    assert row.summaries == {"request": Seen(3, 60, ())}
    (found,) = total_readings([ONE.at_the_end(), OTHER]).rows
    assert (found.pending, found.statistics.execution_count) == (3, 2)
    assert found.summaries == {"request": Seen(4, 75, [15])}


def test_what_workers_send_is_what_they_have_counted() -> None:
    sent = Counted({("m", 1): counted(5)}, ONE)
    came = pickle.loads(pickle.dumps(sent))  # noqa: S301
    assert came.statistics == sent.statistics
    assert came.readings.rows == ONE.rows
    found = total_counted([came, sent, Counted()])
    assert found.statistics["m", 1].execution_count == 2
    assert list(total_counted([]).statistics) == []


def test_a_histogram_is_a_copy_of_what_is_counted() -> None:
    counts = FirstResponses((1.0, 2.0))
    counts.observe(1)
    shown = counts.seen()
    counts.observe(5)
    assert shown == Histogram((1.0, 2.0), (1, 0, 0), 1)


# --- whose turn it is ---


@pytest.mark.parametrize(
    ("connections", "turn", "order"),
    [
        ([0, 0, 0], 0, [0, 1, 2]),
        ([0, 0, 0], 1, [1, 2, 0]),
        ([0, 0, 0], 5, [2, 0, 1]),
        ([2, 1, 1], 0, [1, 2, 0]),
        ([2, 1, 1], 2, [2, 1, 0]),
        ([5, 9, 0], 7, [2, 0, 1]),
        ([], 3, []),
    ],
)
def test_the_worker_with_the_fewest_connections_comes_first_and_equal_ones_take_turns(
    connections: list[int], turn: int, order: list[int]
) -> None:
    assert in_turn(connections, turn) == order


class Taker:
    """Takes connections while it has room."""

    def __init__(self, room: int) -> None:
        self.open_connections = 0
        self.taken: list[socket.socket] = []
        self.room = room

    def take(self, connection: socket.socket) -> bool:
        if len(self.taken) >= self.room:
            return False
        self.taken.append(connection.dup())
        self.open_connections += 1
        return True


async def test_a_connection_that_no_worker_takes_waits_until_one_does() -> None:
    takers = [Taker(1), Taker(1)]
    with socket.socket() as listening, ExitStack() as stack:
        listening.bind(("127.0.0.1", 0))
        spreader = Spreader(listening, lambda: takers)
        spreader.start()
        assert repr(spreader) == f"<Spreader {listening.getsockname()[1]}>"
        clients = [stack.enter_context(socket.create_connection(listening.getsockname())) for _ in range(3)]
        await until(lambda: sum(len(taker.taken) for taker in takers) == 2)
        takers[1].room = 2
        await until(lambda: len(takers[1].taken) == 2)
        for taken in (*takers[0].taken, *takers[1].taken):
            taken.sendall(b"hello")
            taken.close()
        assert [client.recv(10) for client in clients] == [b"hello"] * 3
        spreader.close()
        assert repr(spreader) == "<Spreader closed>"
        spreader.close()


async def test_a_connection_that_nobody_took_is_closed_with_its_port() -> None:
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        spreader = Spreader(listening, list)
        spreader.start()
        with socket.create_connection(listening.getsockname(), timeout=60) as client:
            await until(lambda: spreader._kept is not None)
            spreader.close()
            with suppress(ConnectionResetError):
                assert client.recv(10) == b""


# --- connections that are handed on ---


async def test_a_connection_is_handed_on_and_its_end_is_told() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    one, other = socket.socketpair()
    served: asyncio.Future[socket.socket] = asyncio.get_running_loop().create_future()

    async def serve(connection: socket.socket) -> None:
        served.set_result(connection)

    with ours, theirs, one:
        handed = HandedConnections(theirs, serve)
        with other:
            assert hand(ours, other)
        connection = await served
        with connection:
            connection.sendall(b"hello")
        assert one.recv(10) == b"hello"
        assert count_ended(ours) == 0
        handed.ended()
        handed.ended()
        assert repr(handed) == "<HandedConnections, ends to be told: 0>"
        assert count_ended(ours) == 2
        asyncio.get_running_loop().remove_reader(theirs)


async def test_a_connection_whose_client_is_gone_has_ended() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def serve(connection: socket.socket) -> None:
        raise ConnectionResetError

    with ours, theirs, socket.socket() as connection:
        handed = HandedConnections(theirs, serve)
        assert hand(ours, connection)
        await until(lambda: count_ended(ours) == 1)
        assert repr(handed) == "<HandedConnections, ends to be told: 0>"
        asyncio.get_running_loop().remove_reader(theirs)


async def test_ends_that_could_not_be_told_are_told_later() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)

    async def serve(connection: socket.socket) -> None:
        """Nothing comes."""

    with ours, theirs:
        handed = HandedConnections(theirs, serve)
        filled = 0
        with suppress(BlockingIOError):
            while True:
                filled += theirs.send(bytes(1 << 16))
        handed.ended()
        assert repr(handed) == "<HandedConnections, ends to be told: 1>"
        read = 0
        while read < filled:
            read += count_ended(ours) or 0
        handed.ended()
        assert count_ended(ours) == 2
        asyncio.get_running_loop().remove_reader(theirs)


def test_a_channel_that_is_full_or_closed_takes_no_connection() -> None:
    ours, theirs = socket.socketpair()
    ours.setblocking(False)
    with ours, socket.socket() as connection:
        while hand(ours, connection):
            pass
        theirs.close()
        assert not hand(ours, connection)
        assert count_ended(ours) is None


# --- messages ---


async def double(number: int) -> int:
    return 2 * number


async def fail(text: str) -> None:
    raise ValueError(text)


async def wait() -> None:
    await asyncio.get_running_loop().create_future()


@asynccontextmanager
async def two_ends() -> AsyncIterator[tuple[Line, Line]]:
    answers: Answers = {"double": double, "fail": fail, "wait": wait}
    ends = Line(answers), Line(answers)
    for end, sock in zip(ends, socket.socketpair(), strict=True):
        await end.open(sock)
    running = [asyncio.create_task(end.run()) for end in ends]
    yield ends
    ends[0].close()
    await asyncio.gather(*running)


async def test_both_ends_ask_and_answer_at_the_same_time() -> None:
    async with two_ends() as (one, other):
        asked = [end.ask("double", number) for number in range(20) for end in (one, other)]
        assert await asyncio.gather(*asked) == [2 * number for number in range(20) for _ in range(2)]
        assert repr(one) == "<Line open, questions: 0>"


async def test_a_large_answer_arrives_whole() -> None:
    async with two_ends() as (one, _):
        assert await one.ask("double", 1 << 10_000_000) == 1 << 10_000_001


async def test_a_failure_is_told_with_its_text() -> None:
    async with two_ends() as (one, other):
        with pytest.raises(Failed, match=r"^no such model$"):
            await one.ask("fail", "no such model")
        with pytest.raises(Failed, match=r"^ValueError$"):
            await one.ask("fail", "")
        with pytest.raises(Failed, match="unknown"):
            await other.ask("unknown")
        assert await other.ask("double", 4) == 8


async def test_a_question_that_the_asker_gives_up_has_no_effect() -> None:
    async with two_ends() as (one, _):
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(one.ask("wait"), 0)
        assert repr(one) == "<Line open, questions: 0>"
        assert await one.ask("double", 3) == 6


async def test_an_end_without_the_other_one_is_told_to_all_who_ask() -> None:
    async with two_ends() as (one, other):
        waits = asyncio.create_task(one.ask("wait"))
        await one.ask("double", 1)
        other.close()
        with pytest.raises(Gone):
            await waits
        with pytest.raises(Gone):
            await one.ask("double", 1)
        assert repr(one) == "<Line closed, questions: 0>"


async def test_half_a_message_is_the_end() -> None:
    ours, theirs = socket.socketpair()
    line = Line({})
    await line.open(ours)
    with theirs:
        theirs.sendall(b"\x10\0\0\0half")
    await line.run()
    with pytest.raises(Gone):
        await line.ask("double", 1)
