"""Recorded answers of the real server (one folder per version), and the module that reads and writes them."""

from .files import FOLDER, Provenance, fingerprint, provenance, read, topic_file, write

__all__ = ["FOLDER", "Provenance", "fingerprint", "provenance", "read", "topic_file", "write"]
