"""The proxy: an OpenAI-compatible HTTP server in front of Triton, configured by LiteLLM's `config.yaml`."""
