"""Recorded answers of the real server (one folder per version), and the module that reads and writes them."""

from .files import (
    FOLDER,
    NEIGHBOURS,
    Provenance,
    fingerprint,
    provenance,
    read,
    recorded_versions,
    topic_file,
    write,
)

__all__ = [
    "FOLDER",
    "NEIGHBOURS",
    "Provenance",
    "fingerprint",
    "provenance",
    "read",
    "recorded_versions",
    "topic_file",
    "write",
]
