"""Schedulers: how requests reach a model's instances, one at a time, in batches or in sequences."""
