"""Several processes that serve the same models on the same ports (`triton-emulator --workers=N`).

This is for load tests of a client or a gateway: one process answers on one processor core, N processes on N.

Theory of operation
===================

The command is the *parent*, which `workers.Workers` is. It loads no model. It starts N processes, the *workers*, each
of which is an ordinary `Server` with all the models. A worker is started as a new interpreter and not as a fork: a
parent with an event loop and threads cannot be forked safely, and so a worker can be started again at any time.

Connections
-----------
A connection belongs to one worker, from its first byte to its last. Which one is decided when it is accepted:

- HTTP: the parent listens and accepts. It hands the socket of each connection to the worker that has the fewest open
  ones, through a Unix socket, and has no part in what follows (`spreading`, `handing`). So the shares are equal: each
  worker has its part of a gateway's connections, however few these are.
- gRPC: its library accepts by itself and takes no sockets from others. So all workers listen on one port
  (SO_REUSEPORT), and Linux chooses one for each connection, by a hash of its addresses. The shares are equal only on
  the average. The parent has the port reserved all the time, by a socket that does not listen.
- metrics: the parent listens and answers.

Measured with 16 connections over 4 workers, 20 times: the busiest worker had 1.00 times its share where sockets were
handed on, 1.5 to 2.25 times with SO_REUSEPORT, and 1.5 to 4 times where all workers accepted from one inherited socket,
as the first that wakes up takes all connections that wait.

Messages
--------
Parent and worker have one more Unix socket, a `Line`: each can ask the other one by name and gets an answer. When a
process ends, for whatever reason, the other one reads the end of the file.

    parent asks a worker     load, listen, counts, drain, close
    a worker asks the parent totals

- A start: all workers `load`, and only when all have, they `listen` and the parent accepts. So the server is ready when
  all workers are. What cannot be served by several processes is refused here (`session.one_process`), and before, in
  the command line (`refusals`).
- Statistics: the worker that is asked for them asks for `totals`. The parent asks all workers for `counts` and adds
  them up. A request is counted in the turn of the event loop that hands its last byte to the transport. So a client
  that has its answer and asks any worker is counted. Metrics are the same sum.
- An end: `drain` and then `close`, each of all workers together. So a worker that has nothing to do serves open
  connections until the last one has done, as one process does.

Ends
----
- A worker that ends is started again, after a pause that grows while it does not last (`PAUSES`). Its connections are
  lost. What it had counted when it was last asked still counts, so no sum goes down; what it had counted since is lost,
  which the log says. If it does not find the models that it had, it is not taken: the log says that they have changed.
- A worker ends at once when its parent has ended. On Linux the kernel kills it (`start`), whatever it does then.
  Elsewhere it ends when it reads the end of its messages.
- SIGINT and SIGTERM are for the parent. They are blocked in workers, since a terminal or a service manager sends them
  to all processes of a group.

    workers     the parent: start, statistics, restart, end
    process     a worker as the parent has it
    worker      a worker's own work; `start` is its program
    line        the messages
    spreading   which worker gets a connection; `handing` is the worker's side
    counted     what a worker has counted, and the sum
    metrics     the metrics port
    refusals    what contradicts several workers
"""
