#!/usr/bin/env python3
"""Python's side: there_and_back|one_way CORES SIZE MESSAGES DESIGN.

pipe    Pipe(), send_bytes and recv_bytes
simplex Pipe(duplex=False), the same
objects Pipe(), send and recv: a bytes object goes through pickle
"""
import multiprocessing
import os
import statistics
import sys
import time

TURNS, ENOUGH = 5, 0.5
fork = multiprocessing.get_context("fork")


def make(design):
    receiver, sender = fork.Pipe(duplex=design != "simplex")
    calls = ("send", "recv") if design == "objects" else \
        ("send_bytes", "recv_bytes")
    return receiver, sender, *calls


def serve(end, send, recv, back, message, n, parents_end):
    parents_end.close()
    send, recv = getattr(end, send), getattr(end, recv)
    for _ in range(n):
        if back:
            message = recv()
        send(message)


def converse(end, send, recv, back, message, n):
    send, recv = getattr(end, send), getattr(end, recv)
    if not back:                # the first one: both are awake
        recv()
        n -= 1
    start = time.monotonic()
    for _ in range(n):
        if back:
            send(message)
        if len(recv()) != len(message):
            sys.exit("a message is not what was sent")
    return time.monotonic() - start


def run_once(design, back, message, n):
    mine, theirs, send, recv = make(design)
    child = fork.Process(target=serve, args=(theirs, send, recv, back, message,
                                             n, mine))
    child.start()
    theirs.close()
    seconds = converse(mine, send, recv, back, message, n)
    child.join()
    mine.close()
    return seconds


def main(mode, cores, size, n, design):
    if cores == 1:
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    back, times = mode == "there_and_back", []
    end = time.monotonic() + ENOUGH
    while not times or len(times) < TURNS and time.monotonic() < end:
        times.append(run_once(design, back, bytes(size), n))
    print(f"row={design} seconds={statistics.median(times):.9f} "
          f"items={n if back else n - 1}")


if __name__ == "__main__":
    try:
        main(sys.argv[1], *map(int, sys.argv[2:5]), sys.argv[5])
    except (ValueError, IndexError):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
