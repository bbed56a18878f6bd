"""The event loop that a server runs on, uvloop's where it is installed, and a process that does nothing else."""

import asyncio
import resource
import sys
from collections.abc import Coroutine
from typing import Any, TypeVar

T = TypeVar("T")

#: Seconds after which a thread must let another one run. gRPC hands each message from a thread of its own to the event
#: loop. Beside a model that computes in Python, this thread waits that long for its turn at each message. With
#: Python's default of 0.005, a hundred busy streams kept other calls waiting for 2 s; with this, for 30 ms.
_SWITCH_SECONDS = 0.001


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # not available on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()


def run_process(work: Coroutine[Any, Any, T]) -> T:
    """Return or raise what `work` does, for which alone this process is there."""
    _raise_descriptor_limit()
    sys.setswitchinterval(_SWITCH_SECONDS)
    loop = new_loop()
    try:
        return loop.run_until_complete(work)
    finally:
        loop.run_until_complete(loop.shutdown_default_executor())
        loop.close()


def _raise_descriptor_limit() -> None:
    """Allow as many open files as the system does: each connection is one, and the usual limit is 1024."""
    _, most = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
