"""The gRPC side of the contract: cases that call methods, a client that works on bytes, messages as JSON lines."""
