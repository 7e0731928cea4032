#!/usr/bin/env python3
"""Processes that all add to one number at the same time.

The twin of counter.c: the same options, the same lines.
"""
import argparse
import multiprocessing
import multiprocessing.connection
import sys

MOST_PROCESSES = 1000
MOST_INCREMENTS = 1000000000
MEET_EVERY = 1000


#region: add
def add(value, lock, increments):
    for _ in range(increments):
        with lock:
            value.value += 1
#endregion


#region: unsafe
def add_unsafely(value, meeting, increments):
    """value += 1 in its steps, and with a meeting between reading and
    writing: counter.c tells why."""
    for i in range(increments):
        number = value.value
        if i % MEET_EVERY == 0:
            meeting.wait()
        value.value = number + 1
#endregion


def stop(workers):
    for p in workers:
        p.kill()
    for p in workers:
        p.join()
    sys.exit(1)


def start(fork, target, args, processes):
    workers = []
    for i in range(processes):
        p = fork.Process(target=target, args=args, daemon=True)
        try:
            p.start()
        except OSError as error:
            print(f"counter.py: cannot start process {i}: {error.strerror}",
                  file=sys.stderr)
            stop(workers)
        workers.append(p)
    return workers


def join(workers):
    """In the order in which they end: who waits for one that was killed
    while it held the lock would wait for ever."""
    running = {p.sentinel: i for i, p in enumerate(workers)}
    while running:
        for sentinel in multiprocessing.connection.wait(running):
            i = running.pop(sentinel)
            p = workers[i]
            p.join()
            if p.exitcode == 0:
                continue
            how = (f"failed with exit code {p.exitcode}" if p.exitcode > 0
                   else f"was killed by signal {-p.exitcode}")
            print(f"counter.py: process {i} {how}", file=sys.stderr)
            stop(workers)


def count(processes, increments, unsafe):
    fork = multiprocessing.get_context("fork")
    #region: main
    if unsafe:
        value = fork.RawValue("l", 0)
        target, guard = add_unsafely, fork.Barrier(processes)
    else:
        value = fork.Value("l", 0)
        target, guard = add, fork.Lock()
    join(start(fork, target, (value, guard, increments), processes))
    print("Final counter value:", value.value)
    #endregion


def whole_number(low, high):
    def convert(text):
        n = int(text)
        if not low <= n <= high:
            raise ValueError(text)
        return n
    convert.__name__ = f"whole number from {low} to {high}"
    return convert


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--processes", default=4, metavar="N",
                        type=whole_number(1, MOST_PROCESSES),
                        help="how many add at the same time (4)")
    parser.add_argument("--increments", default=100000, metavar="N",
                        type=whole_number(0, MOST_INCREMENTS),
                        help="how often each adds 1 (100000)")
    parser.add_argument("--unsafe", action="store_true",
                        help="without a lock")
    return parser.parse_args()


if __name__ == "__main__":
    args = options()
    count(args.processes, args.increments, args.unsafe)
