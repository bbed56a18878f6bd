"""A folder on the path of processes that a model spawns. It holds nothing but what Triton puts on a model's path."""
