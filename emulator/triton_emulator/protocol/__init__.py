"""Triton's protocol as bytes and values: pure functions and tables, no I/O."""
