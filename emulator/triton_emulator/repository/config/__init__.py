"""A model's configuration: read, completed, checked in Triton's words, and shown as JSON."""
