"""LiteLLM's `config.yaml`: its values, its schema, and the reader that reports every mistake at once."""
