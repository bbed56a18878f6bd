"""Benchmarks: programs that measure the emulator and the real server in one run. They are no tests."""
