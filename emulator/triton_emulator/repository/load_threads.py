"""The threads that load models (`--model-load-thread-count`)."""

import threading
from collections import deque
from collections.abc import Callable, Iterable


def run_all(tasks: Iterable[Callable[[], None]], threads: int) -> None:
    """Run the tasks, at most `threads` at once but one at least, and return when all are done. A task must not raise.

    2.51 loads with 0 threads too; a negative number makes it abort.

    The threads are daemons: a model whose import never ends must not keep the process from exiting.
    """
    waiting = deque(tasks)
    if len(waiting) == 1:
        waiting.popleft()()
        return
    workers = [
        threading.Thread(target=_work, args=(waiting,), name=f"model-load-{number}", daemon=True)
        for number in range(min(max(threads, 1), len(waiting)))
    ]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def _work(waiting: deque[Callable[[], None]]) -> None:
    while True:
        try:
            task = waiting.popleft()
        except IndexError:
            return
        task()
