"""Runs an instance of a Python model in a process of its own, as Triton's stub process does.

Theory of operation. `StubInstance` (`instance`) is the server's side: it has the interface of
`backends.python.instance.Instance`. It starts a stub process (`start`, then `process`), which makes an `Instance` of
that class and runs it on its main thread. Both sides exchange messages (`messages`) over two pairs of sockets
(`channel`), and the bytes of large tensors in shared memory without a name, whose descriptor travels with the message.
So nothing is left in the file system, however a process ends.

    server                                                        stub process
    instance's thread   Load, Initialize, Execute ...  -> jobs    main thread: runs the model
                                    Done, Executed ... <-
    reader thread                              Respond <- events  any thread: a response that a sender sends
                                                   Ask <-         any thread: BLS, loads, metrics, is it cancelled?
    any thread                      Reply, BlsResponse ->         reader thread

The bytes that come from the stub process are pickles. They are as trusted as the model's code, which without a stub
process runs in the server.

A stub process that ends, for whatever reason, is noticed by the end of its sockets: all its requests are answered with
Triton's text, and so are later ones until the model is loaded again (2.51 does not start it anew either). A stub
process whose server is gone ends at once.
"""
