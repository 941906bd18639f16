"""Two processes that train together, for tests; forked, so that nothing is imported anew."""

import multiprocessing
import os
import socket
import traceback

TIMEOUT_S = 100


def together(function, count=2):
    """Runs `function(rank)` in `count` processes that know of each other; returns what each returned, by rank."""
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        port = found.getsockname()[1]
    context = multiprocessing.get_context("fork")
    queue = context.SimpleQueue()
    ranks = [context.Process(target=_run, args=(function, rank, count, port, queue)) for rank in range(count)]
    for process in ranks:
        process.start()
    results = dict(queue.get() for _ in ranks)
    for process in ranks:
        process.join(TIMEOUT_S)
        assert process.exitcode == 0
    failed = {rank: value for rank, (fine, value) in results.items() if not fine}
    assert not failed, "\n".join(failed.values())
    return [results[rank][1] for rank in range(count)]


def _run(function, rank, count, port, queue):
    environment = {"RANK": rank, "LOCAL_RANK": rank, "WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1"}
    # Of a forked process OpenMP's threads are gone; accelerate would ask for two, and the first product wait for ever.
    environment |= {"MASTER_PORT": port, "OMP_NUM_THREADS": 1}
    os.environ.update({key: str(value) for key, value in environment.items()})
    try:
        result = (True, function(rank))
    except BaseException:
        result = (False, traceback.format_exc())
    queue.put((rank, result))
