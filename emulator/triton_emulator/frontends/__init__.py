"""How clients reach a server: HTTP, gRPC, metrics and the control plane."""
