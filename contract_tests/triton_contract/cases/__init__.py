"""Cases: what to send. The YAML files (`http/`, `grpc/`), their schema, and the bytes that a step becomes."""
