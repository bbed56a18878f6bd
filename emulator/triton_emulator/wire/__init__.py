"""What leaves a socket: the operations of a response, and the server protocol that performs them."""
