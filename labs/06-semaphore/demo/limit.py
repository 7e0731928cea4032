#!/usr/bin/env python3
"""Workers, of which only so many are in the room at the same time.

The twin of limit.c: the same options, the same lines.
"""
import argparse
import math
import multiprocessing
import multiprocessing.connection
import os
import sys
import time

MOST_WORKERS = 1000
FAILED_CODE = 1


def line(text):
    """Whole, and at once: lines of several processes never mix."""
    os.write(1, (text + "\n").encode())


#region: room
def room(i, semaphore, work, fail_every):
    line(f"Worker {i} entered, {semaphore.get_value()} left")
    time.sleep(work)
    if fail_every > 0 and (i + 1) % fail_every == 0:
        line(f"Worker {i} failed")
        sys.exit(FAILED_CODE)
    line(f"Worker {i} left")
#endregion


#region: worker
def worker(i, semaphore, inside, work, fail_every):
    line(f"Worker {i} is waiting")
    with semaphore:
        inside[i] = True
        try:
            room(i, semaphore, work, fail_every)
        finally:
            inside[i] = False
#endregion


def start(fork, semaphore, inside, args):
    """What was started, and whether that is all."""
    workers = []
    for i in range(args.workers):
        p = fork.Process(target=worker, daemon=True, args=(
            i, semaphore, inside, args.work, args.fail_every))
        try:
            p.start()
        except OSError as error:
            print("limit.py: cannot start all workers:", error.strerror,
                  file=sys.stderr)
            return workers, False
        workers.append(p)
    return workers, True


def join(workers, semaphore, inside):
    """In the order in which they end. A semaphore does not know who is
    inside, but we do, nearly: who is killed between taking its place and
    saying so, or between giving it back and saying so, deceives us."""
    running = {p.sentinel: i for i, p in enumerate(workers)}
    while running:
        for sentinel in multiprocessing.connection.wait(running):
            i = running.pop(sentinel)
            workers[i].join()
            if inside[i]:
                semaphore.release()


def limit(args):
    fork = multiprocessing.get_context("fork")
    #region: main
    semaphore = fork.Semaphore(args.limit)
    inside = fork.RawArray("b", args.workers)
    workers, complete = start(fork, semaphore, inside, args)
    join(workers, semaphore, inside)
    #endregion
    if not complete:
        return 1
    if any(p.exitcode not in (0, FAILED_CODE) for p in workers):
        print("limit.py: a worker died", file=sys.stderr)
    line("All processes have completed")
    return 0 if all(p.exitcode == 0 for p in workers) else 1


def whole_number(low, high):
    def convert(text):
        n = int(text)
        if not low <= n <= high:
            raise ValueError(text)
        return n
    convert.__name__ = f"whole number from {low} to {high}"
    return convert


def seconds(text):
    n = float(text)
    if not (math.isfinite(n) and 0 <= n <= 86400):
        raise ValueError(text)
    return n


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--workers", default=6, metavar="N",
                        type=whole_number(1, MOST_WORKERS),
                        help="how many (6)")
    parser.add_argument("--limit", default=2, metavar="N",
                        type=whole_number(1, MOST_WORKERS),
                        help="how many may be inside (2)")
    parser.add_argument("--work", default=0.2, metavar="SECONDS",
                        type=seconds, help="how long each is inside (0.2)")
    parser.add_argument("--fail-every", default=0, metavar="N",
                        type=whole_number(0, MOST_WORKERS),
                        help="every Nth worker fails; 0 = none (0)")
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(limit(options()))
