"""The metrics port: Prometheus text, folded from the models' statistics."""
