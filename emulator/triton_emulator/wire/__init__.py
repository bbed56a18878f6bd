"""The HTTP/1 server: connections, requests and their answers, with the wire format of Triton's server."""
