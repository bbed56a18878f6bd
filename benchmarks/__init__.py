"""Benchmarks: programs that measure the emulator and the real server in one run. No test runs them."""
