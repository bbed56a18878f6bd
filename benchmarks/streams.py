"""Many streams at once: how many events a core sends, and how well each stream keeps its pace.

    python -m benchmarks.streams [--streams=500,1000,2000,4000] [--pace-ms=50] [--seconds=5] [--grpc] [--workers=1]

A server of its own streams tokens from a stand-in with `time_per_token_ms`. This program reads them, in one process,
and prints a line for each number of streams:

 -  events per second, and how many were planned
 -  processor time of the server, with all its workers, for each event, from which follows how many a whole core could
    send
 -  the error of the gaps between the events of a stream, as seen here: the 50th and the 99th percentile of the
    difference from the pace. The reader has errors of its own, so this is an upper bound.

The machine should be quiet: another program on the same cores makes the gaps worse, and caches colder.
"""

import argparse
import asyncio
import json
import os
import select
import socket
import subprocess
import sys
import tempfile
import time
from array import array
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

_CONFIG = """
backend: "tensorrtllm"
model_transaction_policy { decoupled: true }
input { name: "text_input" data_type: TYPE_STRING dims: [ 1 ] }
input { name: "stream" data_type: TYPE_BOOL dims: [ 1 ] optional: true }
output { name: "text_output" data_type: TYPE_STRING dims: [ -1 ] }
"""
_SETTINGS = """
models:
  llm: {behaviour: text, length: %d, time_to_first_token_ms: 200, time_per_token_ms: %g}
"""
_BODY = json.dumps({"text_input": "who are u?", "stream": True}).encode()
_REQUEST = (
    b"POST /v2/models/llm/generate_stream HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\n"
    b"Content-Length: %d\r\n\r\n%b" % (len(_BODY), _BODY)
)
_START_SECONDS = 60
#: streams of one connection over gRPC
_STREAMS_PER_CHANNEL = 50


@dataclass(frozen=True)
class Measured:
    """What was seen of so many streams, by whom a rate and times in milliseconds and microseconds are."""

    streams: int
    per_second: float
    planned: float
    cpu_us: float
    gap_p50_ms: float
    gap_p99_ms: float

    def __str__(self) -> str:
        return (
            f"{self.streams:>6} streams {self.per_second:>8.0f} of {self.planned:>7.0f} events/s "
            f"{self.cpu_us:>6.1f} us of processor each ({1e6 / self.cpu_us:>7.0f}/s per core) "
            f"gap error p50 {self.gap_p50_ms:>5.1f} ms p99 {self.gap_p99_ms:>5.1f} ms"
        )


@contextmanager
def _server(tokens: int, pace_ms: float, workers: int) -> Iterator[tuple[int, int, int]]:
    """A server in a process of its own: its id and its ports of HTTP and gRPC."""
    with tempfile.TemporaryDirectory() as folder, socket.socket() as one, socket.socket() as two:
        models = Path(folder)
        (models / "llm" / "1").mkdir(parents=True)
        (models / "llm" / "config.pbtxt").write_text(_CONFIG)
        (models / "emulator.yaml").write_text(_SETTINGS % (tokens, pace_ms))
        for each in (one, two):
            each.bind(("127.0.0.1", 0))
        ports = one.getsockname()[1], two.getsockname()[1]
        one.close()
        two.close()
        command = [
            sys.executable,
            "-m",
            "triton_emulator",
            f"--model-repository={models}",
            "--log-info=false",
        ]
        command += [f"--http-port={ports[0]}", f"--grpc-port={ports[1]}", "--allow-metrics=false"]
        process = subprocess.Popen([*command, f"--workers={workers}"])
        try:
            _wait_for(ports[0], process)
            yield process.pid, *ports
        finally:
            process.kill()
            process.wait()


def _wait_for(port: int, process: "subprocess.Popen[bytes]") -> None:
    end = time.monotonic() + _START_SECONDS
    while time.monotonic() < end and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port)) as connection:
                # a connection to a port that nobody listens on may get that port itself, and be one with itself
                if connection.getsockname() != connection.getpeername():
                    return
        except OSError:
            time.sleep(0.05)
    raise SystemExit("the server did not start")


def _cpu_ns(pid: int) -> int:
    """The processor time that a process and its children have used, in nanoseconds."""
    children = Path(f"/proc/{pid}/task/{pid}/children").read_text().split()
    tasks = [task for each in (pid, *children) for task in Path(f"/proc/{each}/task").iterdir()]
    return sum(int((task / "schedstat").read_text().split()[0]) for task in tasks)


def _errors(gaps: "array[float]", pace: float) -> tuple[float, float]:
    errors = sorted(abs(gap - pace) * 1000 for gap in gaps)
    return errors[len(errors) // 2], errors[int(len(errors) * 0.99)]


def over_http(streams: int, pace_ms: float, seconds: float, workers: int = 1) -> Measured:
    """Read so many streams over HTTP, from a server with so many workers."""
    pace = pace_ms / 1000
    tokens = int((seconds + 4) / pace) + 200
    with _server(tokens, pace_ms, workers) as (pid, port, _), ExitStack() as stack:
        poll = select.epoll()
        readers: dict[int, socket.socket] = {}
        last: dict[int, float] = {}
        for number in range(streams):
            connection = stack.enter_context(socket.create_connection(("127.0.0.1", port)))
            connection.setblocking(False)
            connection.send(_REQUEST)
            readers[connection.fileno()] = connection
            poll.register(connection, select.EPOLLIN)
            if number % 50 == 0:  # spread over the pace, as the requests of many clients are
                time.sleep(pace * 50 / streams)
        begin = time.monotonic() + 1.5
        end = begin + seconds
        events, cpu, gaps = 0, 0, array("d")
        now = time.monotonic()
        while now < end:
            for fd, _ in poll.poll(1):
                try:
                    data = readers[fd].recv(65536)
                except BlockingIOError:
                    continue
                now = time.monotonic()
                found = data.count(b"data: ")
                if now >= begin:
                    if not cpu:
                        cpu = _cpu_ns(pid)
                        begin = now
                    events += found
                    if found:
                        gaps.append(now - last.get(fd, now - pace))
                        gaps.extend([0.0] * (found - 1))
                if found:
                    last[fd] = now
            now = time.monotonic()
        used, passed = _cpu_ns(pid) - cpu, now - begin
    return Measured(streams, events / passed, streams / pace, used / events / 1000, *_errors(gaps, pace))


def over_grpc(streams: int, pace_ms: float, seconds: float, workers: int = 1) -> Measured:
    """Read so many streams over gRPC, some of them over each connection, from a server with so many workers."""
    return asyncio.run(_over_grpc(streams, pace_ms, seconds, workers))


async def _over_grpc(streams: int, pace_ms: float, seconds: float, workers: int) -> Measured:
    import grpc
    from tritonclient.grpc import service_pb2

    pace = pace_ms / 1000
    tokens = int((seconds + 4) / pace) + 200
    message = service_pb2.ModelInferRequest(model_name="llm")
    message.inputs.add(name="text_input", datatype="BYTES", shape=[1]).contents.bytes_contents.append(
        b"who are u?"
    )
    message.inputs.add(name="stream", datatype="BOOL", shape=[1]).contents.bool_contents.append(True)
    request = message.SerializeToString()
    seen = {"events": 0}
    gaps = array("d")
    window = [time.monotonic() + 1e9, 0.0]

    async def read(channel: "grpc.aio.Channel") -> None:
        call = channel.stream_stream("/inference.GRPCInferenceService/ModelStreamInfer")()
        await call.write(request)
        last = 0.0
        while await call.read() is not grpc.aio.EOF:
            now = time.monotonic()
            if window[0] <= now < window[1]:
                seen["events"] += 1
                if last:
                    gaps.append(now - last)
            last = now

    with _server(tokens, pace_ms, workers) as (pid, _, port):
        channels = [
            grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=[("grpc.use_local_subchannel_pool", 1)])
            for _ in range(-(-streams // _STREAMS_PER_CHANNEL))
        ]
        readers = []
        for number in range(streams):
            readers.append(asyncio.create_task(read(channels[number // _STREAMS_PER_CHANNEL])))
            await asyncio.sleep(pace / streams)
        await asyncio.sleep(1.5)
        begin, cpu = time.monotonic(), _cpu_ns(pid)
        window[:] = begin, begin + seconds
        await asyncio.sleep(seconds)
        used, passed = _cpu_ns(pid) - cpu, time.monotonic() - begin
        for reader in readers:
            reader.cancel()
        await asyncio.wait(readers)
        for channel in channels:
            await channel.close()
    events = seen["events"]
    return Measured(streams, events / passed, streams / pace, used / events / 1000, *_errors(gaps, pace))


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.streams", description=__doc__.splitlines()[0])
    parser.add_argument("--streams", default="500,1000,2000,4000", help="numbers of streams, with commas")
    parser.add_argument("--pace-ms", type=float, default=50, help="milliseconds from token to token")
    parser.add_argument("--seconds", type=float, default=5, help="how long each is measured")
    parser.add_argument("--grpc", action="store_true", help="ModelStreamInfer in place of generate_stream")
    parser.add_argument(
        "--workers", type=int, default=1, help="processes of the server (triton-emulator --workers)"
    )
    given = parser.parse_args(arguments)
    measure = over_grpc if given.grpc else over_http
    print(
        f"{'gRPC' if given.grpc else 'HTTP'}, a token every {given.pace_ms:g} ms, workers: {given.workers}, "
        f"load {os.getloadavg()[0]:.1f}"
    )
    for streams in map(int, given.streams.split(",")):
        print(measure(streams, given.pace_ms, given.seconds, given.workers), flush=True)


if __name__ == "__main__":
    main()
