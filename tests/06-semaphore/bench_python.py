#!/usr/bin/env python3
"""Python's side of the semaphore's benchmark: DESIGN PROCESSES PAIRS.

semaphore   Semaphore(2): the lesson's
bounded     BoundedSemaphore(2)
"""
import multiprocessing
import sys
import time

PLACES = 2
fork = multiprocessing.get_context("fork")
DESIGNS = {"semaphore": fork.Semaphore, "bounded": fork.BoundedSemaphore}


def go_through(semaphore, pairs):
    for _ in range(pairs):
        with semaphore:
            pass


def work(me, start, spans, semaphore, pairs):
    start.wait()
    spans[2 * me] = time.monotonic()
    go_through(semaphore, pairs)
    spans[2 * me + 1] = time.monotonic()


def main(design, processes, pairs):
    semaphore = DESIGNS[design](PLACES)
    start = fork.Barrier(processes)
    spans = fork.RawArray("d", 2 * processes)
    workers = [fork.Process(target=work,
                            args=(me, start, spans, semaphore, pairs))
               for me in range(processes)]
    for p in workers:
        p.start()
    for p in workers:
        p.join()
    if semaphore.get_value() != PLACES:
        sys.exit(f"{semaphore.get_value()} places in the end, not {PLACES}")
    print(f"row={design} seconds={max(spans[1::2]) - min(spans[::2]):.9f} "
          f"items={processes * pairs}")


if __name__ == "__main__":
    try:
        name, *numbers = sys.argv[1:]
        main(name, *map(int, numbers))
    except (KeyError, ValueError, TypeError):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
