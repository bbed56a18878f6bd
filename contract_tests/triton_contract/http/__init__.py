"""HTTP: what a case is, how its bytes are made and sent, and what is seen on the wire."""
