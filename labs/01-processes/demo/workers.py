#!/usr/bin/env python3
"""Start some processes, wait for all of them, say how they ended.

The twin of workers.c: the same options, the same lines.
"""
import argparse
import multiprocessing
import os
import sys

MOST_WORKERS = 1000
FAILED_CODE = 3


def line(text):
    """One line in one write, so that lines of several processes never mix."""
    os.write(1, (text + "\n").encode())


#region: target
def work(number, failing):
    line(f"Worker process {number} is running")
    sys.exit(FAILED_CODE if number == failing else 0)
#endregion


def give_up(workers, error):
    """Leave nobody behind: end and collect those that were started."""
    for p in workers:
        p.terminate()
    for p in workers:
        p.join()
    sys.exit(f"workers.py: cannot start worker {len(workers)}:"
             f" {error.strerror}")


def join(number, p):
    p.join()
    if p.exitcode > 0:
        line(f"Worker {number} failed with exit code {p.exitcode}")
    if p.exitcode < 0:
        line(f"Worker {number} was killed by signal {-p.exitcode}")
    return p.exitcode == 0


#region: main
def run(n, failing):
    fork = multiprocessing.get_context("fork")
    workers = []
    line(f"Starting {n} workers")
    for i in range(n):
        p = fork.Process(target=work, args=(i, failing), name=f"Worker-{i}")
        try:
            p.start()
        except OSError as error:
            give_up(workers, error)
        workers.append(p)
    well = [join(i, p) for i, p in enumerate(workers)]
    line("All processes have completed")
    return all(well)
#endregion


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--workers", type=int, default=4, metavar="N",
                        help="how many (4)")
    parser.add_argument("--fail", type=int, metavar="K",
                        help="worker K fails")
    args = parser.parse_args()
    if not 1 <= args.workers <= MOST_WORKERS:
        parser.error(f"--workers wants a whole number from 1 to"
                     f" {MOST_WORKERS}, not '{args.workers}'")
    if args.fail is not None and not 0 <= args.fail < args.workers:
        parser.error(f"--fail wants one of the workers, 0 to"
                     f" {args.workers - 1}, not '{args.fail}'")
    return args


if __name__ == "__main__":
    args = options()
    sys.exit(0 if run(args.workers, args.fail) else 1)
