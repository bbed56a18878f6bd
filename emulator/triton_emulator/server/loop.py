"""The event loop that a server runs on: uvloop's where it is installed, else asyncio's own."""

import asyncio


def new_loop() -> asyncio.AbstractEventLoop:
    try:
        import uvloop  # not available on every platform
    except ImportError:
        return asyncio.new_event_loop()
    return uvloop.new_event_loop()
