#!/usr/bin/env python3
"""Python's side of the lock's benchmark: DESIGN PROCESSES INCREMENTS.

value   a Value and a Lock: the lesson's add, from labs/05-lock/demo
raw     the same, but the number has no second lock of its own: RawValue
own     a Value and the lock that it brings: value.get_lock()
"""
import multiprocessing
import pathlib
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "labs/05-lock/demo"))
from counter import add  # noqa: E402

fork = multiprocessing.get_context("fork")


def make(design):
    """The number, and the lock that guards it."""
    match design:
        case "value":
            return fork.Value("l", 0), fork.Lock()
        case "raw":
            return fork.RawValue("l", 0), fork.Lock()
        case "own":
            value = fork.Value("l", 0)
            return value, value.get_lock()
    raise ValueError(design)


def work(me, start, spans, value, lock, increments):
    start.wait()
    spans[2 * me] = time.monotonic()
    add(value, lock, increments)
    spans[2 * me + 1] = time.monotonic()


def main(design, processes, increments):
    value, lock = make(design)
    start = fork.Barrier(processes)
    spans = fork.RawArray("d", 2 * processes)
    workers = [fork.Process(target=work, args=(me, start, spans, value, lock,
                                               increments))
               for me in range(processes)]
    for p in workers:
        p.start()
    for p in workers:
        p.join()
    total = processes * increments
    if value.value != total:
        sys.exit(f"the total is {value.value}, not {total}")
    print(f"row={design} seconds={max(spans[1::2]) - min(spans[::2]):.9f} "
          f"items={total}")


if __name__ == "__main__":
    try:
        name, *numbers = sys.argv[1:]
        main(name, *map(int, numbers))
    except (ValueError, TypeError):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
