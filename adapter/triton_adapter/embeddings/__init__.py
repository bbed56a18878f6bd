"""Embeddings: from texts or token lists to requests that the model can take, and from its outputs to vectors."""
