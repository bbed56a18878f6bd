"""Comparing two observations of a case: verdicts by axis, normalisers, known divergences, results."""
