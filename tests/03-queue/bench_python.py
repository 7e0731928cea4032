#!/usr/bin/env python3
"""Python's side of the queue's benchmark: DESIGN HOW SIZE PRODUCERS CONSUMERS
ITEMS, where HOW is through, one-core or one-way as in bench_designs.c.

queue   multiprocessing.Queue, bounded like the others
simple  multiprocessing.SimpleQueue, bounded only by its pipe
"""
import multiprocessing
import os
import sys
import time

CAPACITY = 1024
fork = multiprocessing.get_context("fork")


def make(design):
    match design:
        case "queue":
            return fork.Queue(CAPACITY)
        case "simple":
            return fork.SimpleQueue()
    raise ValueError(design)


def produce(queue, me, producers, items, size):
    for i in range(me, items, producers):
        queue.put(i.to_bytes(8, "little") + bytes(size - 8))
    return 0


def consume(queue, items):
    total = 0
    for _ in range(items):
        total += int.from_bytes(queue.get()[:8], "little")
    return total


def play(there, back, items, size, begins):
    total = 0
    for i in range(items // 2):
        if not begins:
            i = int.from_bytes(there.get()[:8], "little")
        (there if begins else back).put(i.to_bytes(8, "little")
                                        + bytes(size - 8))
        if begins:
            i = int.from_bytes(back.get()[:8], "little")
        total += i
    return total


def live(me, how, queues, start, spans, sums, size, producers, consumers,
         items):
    if how == "one-core":
        os.sched_setaffinity(0, {min(os.sched_getaffinity(0))})
    start.wait()
    spans[2 * me] = time.monotonic()
    if how == "one-way":
        sums[me] = play(*queues, items, size, me == 0)
    elif me < producers:
        sums[me] = produce(queues[0], me, producers, items, size)
    else:
        sums[me] = consume(queues[0], items // consumers)
    spans[2 * me + 1] = time.monotonic()


def main(design, how, size, producers, consumers, items):
    items -= items % (2 * producers * consumers)
    members = producers + consumers
    queues = [make(design) for _ in range(2 if how == "one-way" else 1)]
    start = fork.Barrier(members)
    spans, sums = fork.RawArray("d", 2 * members), fork.RawArray("q", members)
    processes = [fork.Process(target=live, args=(
        me, how, queues, start, spans, sums, size, producers, consumers,
        items)) for me in range(members)]
    for p in processes:
        p.start()
    for p in processes:
        p.join()
    n, times = (items // 2, 2) if how == "one-way" else (items, 1)
    if sum(sums) != n * (n - 1) // 2 * times:
        sys.exit("something was lost or invented")
    print(f"row={design} seconds={max(spans[1::2]) - min(spans[::2]):.9f} "
          f"items={items}")


if __name__ == "__main__":
    try:
        name, kind, *numbers = sys.argv[1:]
        main(name, kind, *map(int, numbers))
    except (ValueError, TypeError):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
