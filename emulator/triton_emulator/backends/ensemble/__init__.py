"""Ensembles: the data flow between their steps, and the executor that runs it."""
