"""What an upgrade of Triton changes: the table of changes, probes for anybody's models, and the page made of both."""
