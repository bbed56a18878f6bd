"""Stand-ins: answers made from a model's configuration, for backends that cannot run here."""
