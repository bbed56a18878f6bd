"""A recorder: exchanges that have ended go into the files of a cassette, one after the other, through to the disk."""

import fcntl
import logging
import os
import secrets
from collections import Counter
from collections.abc import Callable, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any
from urllib.parse import quote

from triton_emulator.harness.cassettes import documents
from triton_emulator.harness.cassettes.meaning import digest
from triton_emulator.harness.cassettes.pieces import SUFFIX
from triton_emulator.harness.cassettes.reading import FORMAT, INDEX, TENSORS, CassetteError, check_index
from triton_emulator.harness.cassettes.recording import document
from triton_emulator.harness.journal import JournalEntry

_LOG = logging.getLogger(__name__)
#: exchanges that wait to be written, beyond which the one who ends another waits with it
_MOST_WAITING = 256
#: how a file ends that is whole
_LAST = b"\n...\n"
#: characters of a model's name in the name of a file
_LONGEST_NAME = 100


class Recorder:
    """Writes into one cassette. `take` is called on the event loop; a thread of its own writes."""

    def __init__(self, folder: Path, origin: Callable[[], Mapping[str, Any]]) -> None:
        """`origin` tells where the recordings come from; it is asked before the first is written.

        Raises CassetteError for a folder with something else in it, or a cassette of another format.
        """
        check_target(folder)
        self._folder = folder
        self._thread = ThreadPoolExecutor(1, thread_name_prefix="triton-recorder")
        self._waiting: list[Future[None]] = []
        self._origin = origin
        #: whether the index has been written
        self._begun = False
        #: exchanges that were not recorded, by the reason
        self.left_out: Counter[str] = Counter()
        #: exchanges that were recorded, by (protocol, operation, model)
        self.recorded: Counter[tuple[str, str, str]] = Counter()
        #: what went wrong when an exchange was written
        self.fault: Exception | None = None

    def __repr__(self) -> str:
        return f"<Recorder {self._folder}, {self.written} exchanges>"

    def told(self) -> str:
        """What was recorded: how many exchanges of which operations and models."""
        if not self.recorded:
            return "no exchange"
        kinds = ", ".join(
            f"{number} {' '.join(filter(None, (protocol, operation or 'other', model)))}"
            for (protocol, operation, model), number in sorted(self.recorded.items())
        )
        return f"{'1 exchange' if self.written == 1 else f'{self.written} exchanges'} ({kinds})"

    @property
    def written(self) -> int:
        """How many exchanges were recorded."""
        return self.recorded.total()

    def take(self, entry: JournalEntry) -> None:
        """Record an exchange that has ended, if the real server has answered it."""
        if entry.plan is not None:
            self.left_out["met a fault"] += 1
        elif entry.replayed:
            pass  # the cassette has it
        elif entry.upstream_error is not None:
            self.left_out["not answered to the end by the server"] += 1
        elif not entry.passed:
            self.left_out["ended before its answer did"] += 1
        elif entry.truncated:
            self.left_out["larger than journal_bytes"] += 1
        else:
            origin = {} if self._begun else self._origin()
            self._submit(self._write, entry, datetime.now(UTC), origin)

    def close(self) -> None:
        """Wait until everything is written, and log how much that is. Blocks."""
        self._thread.shutdown()
        _LOG.info("recorded %s into %s", self.told(), self._folder)
        if self.left_out:
            told = ", ".join(f"{count} {reason}" for reason, count in self.left_out.items())
            _LOG.warning("%s: not recorded: %s", self._folder, told)

    def _submit(self, work: Any, *arguments: Any) -> None:
        self._waiting = [future for future in self._waiting if not future.done()]
        if len(self._waiting) >= _MOST_WAITING:
            self._waiting[0].result()
        self._waiting.append(self._thread.submit(self._guarded, work, *arguments))

    def _guarded(self, work: Any, *arguments: Any) -> None:
        try:
            work(*arguments)
        except Exception as fault:  # noqa: BLE001  (told to the test, and in the log; the server goes on)
            self.left_out["could not be written"] += 1
            if self.fault is None:
                _LOG.error("%s: an exchange could not be recorded: %s", self._folder, fault)
                self.fault = fault

    def _write_origin(self, origin: Mapping[str, Any]) -> None:
        now = datetime.now(UTC).isoformat(timespec="seconds")
        recorder = f"triton-emulator {version('triton-emulator')}"
        self._folder.mkdir(parents=True, exist_ok=True)
        append(self._folder / INDEX, {"format": FORMAT, "recorded": now, "recorder": recorder, **origin})

    def _write(self, entry: JournalEntry, ended: datetime, origin: Mapping[str, Any]) -> None:
        if not self._begun:  # without its index no exchange is written: nothing could read it
            self._write_origin(origin)
            self._begun = True
        given = {"recorded": ended.isoformat(timespec="milliseconds"), **document(entry, self._keep)}
        file = self._folder / entry.protocol / file_name(entry.operation, entry.model)
        file.parent.mkdir(exist_ok=True)
        append(file, given)
        self.recorded[entry.protocol, entry.operation, entry.model] += 1

    def _keep(self, data: bytes) -> str:
        """Keep bytes in a file; the same bytes have one file."""
        name = digest(data) + SUFFIX
        file = self._folder / TENSORS / name
        if not file.exists():
            file.parent.mkdir(exist_ok=True)
            # other recorders, of this process or on other machines, may keep the same bytes now
            partial = file.with_name(f"{name}.{secrets.token_hex(8)}.partial")
            try:
                with partial.open("xb") as output:
                    output.write(data)
                    output.flush()
                    os.fsync(output.fileno())
                partial.rename(file)
            except BaseException:
                partial.unlink(missing_ok=True)
                raise
        return name


def check_target(folder: Path) -> None:
    """Raise CassetteError where nothing can be recorded."""
    try:
        there = any(folder.iterdir()) if folder.exists() else False
    except OSError as fault:
        raise CassetteError(folder, 0, f"cannot be a cassette: {fault.strerror}") from None
    if there:
        check_index(folder)


def file_name(operation: str, model: str) -> str:
    """The name of the file for an operation and a model, which may have any characters."""
    name = quote(model, safe="-_ ", errors="surrogateescape").replace(".", "%2E") if model else ""
    if len(name) > _LONGEST_NAME:
        name = f"{name[:_LONGEST_NAME]}~{digest(model.encode('utf-8', 'surrogateescape'))[:8]}"
    return ".".join(filter(None, (operation or "other", name, "yaml")))


def append(file: Path, given: Mapping[str, Any]) -> None:
    """Add a document to the end of a file, whole or not at all as far as the system can, and through to the disk."""
    data = documents.written(given)
    handle = os.open(file, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        size = os.fstat(handle).st_size
        if size and os.pread(handle, len(_LAST), size - len(_LAST)) != _LAST:
            raise CassetteError(
                file, 0, "ends in half an exchange, whose recorder was interrupted; take it out first"
            )
        while data:
            try:
                data = data[os.write(handle, data) :]
            except OSError:
                os.ftruncate(handle, size)  # a disk that is full: no half of a document stays
                raise
        os.fsync(handle)
    finally:
        os.close(handle)
