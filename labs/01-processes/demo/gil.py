#!/usr/bin/env python3
"""The same work by threads under the real GIL, by threads that release it,
by processes, and by threads that mostly wait.

The twin of gil.c: the same options, the same lines, the same result. The work
is zlib.crc32, which gives the GIL back while it reads more than 5 KiB: in
mode threads it gets the data whole, in mode gil in pieces of 4 KiB.
"""
import argparse
import multiprocessing
import os
import resource
import sys
import threading
import time
import zlib

DATA = (bytes(range(251)) * 1045)[:256 << 10]
PIECE = 4 << 10
WAIT = 0.005
MODES = ("gil", "threads", "processes", "io")


class Board:
    """What all workers see, processes too."""

    def __init__(self, context):
        self.inside = context.Value("i", 0, lock=False)
        self.most = context.Value("i", 0, lock=False)
        self.result = context.Value("Q", 0, lock=False)
        self.lock = context.Lock()

    def __enter__(self):
        with self.lock:
            self.inside.value += 1
            self.most.value = max(self.most.value, self.inside.value)

    def __exit__(self, *_):
        with self.lock:
            self.inside.value -= 1

    def add(self, n):
        with self.lock:
            self.result.value += n


#region: steps
def crc_with_gil(seed):
    for i in range(0, len(DATA), PIECE):
        seed = zlib.crc32(DATA[i:i + PIECE], seed)
    return seed


def crc_without_gil(seed):
    return zlib.crc32(DATA, seed)


def work_with_gil(seed, board):
    with board:
        crc = crc_with_gil(seed)
    board.add(crc)


def work_without_gil(seed, board):
    with board:
        crc = crc_without_gil(seed)
    board.add(crc)


def compute_and_wait(seed, board):
    board.add(crc_with_gil(seed))
    with board:
        time.sleep(WAIT)
#endregion


STEP = {"gil": work_with_gil, "threads": work_without_gil,
        "processes": work_with_gil, "io": compute_and_wait}


def worker(step_function, number, steps, board):
    for step in range(steps):
        step_function((number * 1000003 + step) % 2**32, board)
        time.sleep(0)           # let the others have the GIL


#region: modes
def run(mode, n, steps, board, fork):
    kind = fork.Process if mode == "processes" else threading.Thread
    workers = [kind(target=worker, args=(STEP[mode], i, steps, board))
               for i in range(n)]
    started = []
    try:
        for w in workers:
            w.start()
            started.append(w)
    finally:                    # also when one could not be started
        for w in started:
            w.join()
    return all(getattr(w, "exitcode", 0) == 0 for w in workers)
#endregion


def cpu_used():
    uses = [resource.getrusage(who) for who in
            (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(use.ru_utime + use.ru_stime for use in uses)


def measure(mode, n, steps):
    fork = multiprocessing.get_context("fork")
    board = Board(fork if mode == "processes" else multiprocessing)
    sys.setswitchinterval(3600)     # hand over between steps, not within
    cpu, seconds = cpu_used(), time.monotonic()
    try:
        if not run(mode, n, steps, board, fork):
            sys.exit("gil.py: a worker died")
    except (OSError, RuntimeError) as error:
        sys.exit(f"gil.py: cannot run {n} workers in mode {mode}: {error}")
    seconds, cpu = time.monotonic() - seconds, cpu_used() - cpu
    share = 100 * cpu / seconds / len(os.sched_getaffinity(0))
    print(f"mode={mode} workers={n} steps={steps}"
          f" max_inside={board.most.value} cpu={share:.0f}%"
          f" result={board.result.value}")


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--mode", choices=MODES, default="gil", help="gil"
                        " (default), threads, processes or io",
                        metavar="MODE")
    parser.add_argument("--workers", type=int, default=4, metavar="N",
                        help="how many (4)")
    parser.add_argument("--steps", type=int, default=200, metavar="N",
                        help="of each (200)")
    args = parser.parse_args()
    if not 1 <= args.workers <= 1000:
        parser.error("--workers wants a whole number from 1 to 1000,"
                     f" not '{args.workers}'")
    if not 1 <= args.steps <= 1000000:
        parser.error("--steps wants a whole number from 1 to 1000000,"
                     f" not '{args.steps}'")
    return args


if __name__ == "__main__":
    args = options()
    measure(args.mode, args.workers, args.steps)
