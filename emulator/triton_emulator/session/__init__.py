"""The mutable things of one session: its models, shared memory, trace and log settings."""
