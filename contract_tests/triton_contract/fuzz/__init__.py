"""Fuzzing for agreement: the same generated requests go to two servers, whose answers must be equal."""
