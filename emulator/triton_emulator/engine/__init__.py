"""What happens to a request between a frontend and a model."""
