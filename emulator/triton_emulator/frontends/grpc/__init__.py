"""Triton's gRPC side: a table from method to handler over the messages that `tritonclient` describes. Needs grpcio."""
