"""The emulator measured beside the real server, in one run: programs to look at, not tests."""
