"""Clients that were not written here, each making the same calls of the emulator and of the real server."""
