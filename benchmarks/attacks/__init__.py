"""Attacks on an emulator: what a hostile client or a broken model does, and whether others are still answered."""
