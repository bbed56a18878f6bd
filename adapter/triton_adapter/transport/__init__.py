"""Drives the steps of calls, on an event loop or, for callers that block, on one in a thread. All I/O is here."""
