#!/usr/bin/env python3
"""Producers that put numbers into a queue, consumers that get them.

The twin of prodcons.c: the same options, the same lines.
"""
import argparse
import math
import multiprocessing
import multiprocessing.connection
import os
import sys
import time

MOST_PROCESSES = 200
MOST_SECONDS = 3600


def line(text):
    """One line in one write, so that lines of several processes never mix."""
    os.write(1, (text + "\n").encode())


#region: produce
def produce(queue, producer, args):
    for i in range(producer, args.items, args.producers):
        line(f"Produced: {i}")
        queue.put(i)
        time.sleep(args.produce_every)
#endregion


#region: consume
def consume(queue, consumer, args):
    who = "Consumed" if args.consumers == 1 else f"Consumer {consumer} consumed"
    while (i := queue.get()) is not None:
        line(f"{who}: {i}")
        time.sleep(args.consume_every)
#endregion


def stop(processes, message):
    for p in processes:
        p.kill()
    for p in processes:
        p.join()
    sys.exit(f"prodcons.py: {message}")


def start(fork, target, n, others, *args):
    started = []
    for i in range(n):
        p = fork.Process(target=target, args=(args[0], i, *args[1:]),
                         daemon=True)
        try:
            p.start()
        except OSError as error:
            stop(others + started,
                 f"cannot start all processes: {error.strerror}")
        started.append(p)
    return started


def join(processes, everybody):
    """Wait for these; but if any of all dies, that is the end of all: who
    is killed inside a Queue may take its lock along."""
    waiting = set(processes)
    running = {p.sentinel: p for p in everybody}
    while waiting:
        for sentinel in multiprocessing.connection.wait(running):
            p = running.pop(sentinel)
            p.join()
            if p.exitcode != 0:
                stop(everybody, "a process has died")
            waiting.discard(p)


def main(args):
    fork = multiprocessing.get_context("fork")
    #region: main
    queue = fork.Queue(args.capacity)
    consumers = start(fork, consume, args.consumers, [], queue, args)
    producers = start(fork, produce, args.producers, consumers, queue, args)
    join(producers, producers + consumers)
    for _ in consumers:
        queue.put(None)             # the sentinel: nothing more will come
    join(consumers, consumers)
    line("All processes have completed")
    #endregion


def number(low, high, convert=int):
    def checked(text):
        n = convert(text)
        if not (math.isfinite(n) and low <= n <= high):
            raise ValueError(text)
        return n
    checked.__name__ = f"{convert.__name__} from {low} to {high}"
    return checked


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    for name, low, high, default, text in (
            ("items", 0, 1000000000, 5, "how many are produced"),
            ("producers", 1, MOST_PROCESSES, 1, "how many produce them"),
            ("consumers", 1, MOST_PROCESSES, 1, "how many consume them"),
            ("capacity", 1, 1000000, 5, "how many the queue holds")):
        parser.add_argument(f"--{name}", type=number(low, high), metavar="N",
                            default=default, help=f"{text} ({default})")
    for name, text in (("produce", "put"), ("consume", "get")):
        parser.add_argument(f"--{name}-every", default=0.0, metavar="S",
                            type=number(0, MOST_SECONDS, float),
                            help=f"pause after each {text} (0 s)")
    return parser.parse_args()


if __name__ == "__main__":
    main(options())
