"""Clients written by others; each makes the same calls to the emulator and to the real server."""
