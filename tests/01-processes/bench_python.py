#!/usr/bin/env python3
"""Python's side of bench_process: what it costs to start and join processes.

usage: bench_python.py one|five|small-pages|huge-pages [METHOD]

METHOD is how Python starts processes: fork (if not given), forkserver, spawn.
"""
import mmap
import multiprocessing
import statistics
import sys
import threading
import time

LARGE = 500 << 20


def target():
    pass


def run_processes(context, n):
    processes = [context.Process(target=target) for _ in range(n)]
    for process in processes:
        process.start()
    for process in processes:
        process.join()
        if process.exitcode != 0:
            sys.exit("a process did not end as it should")


def run_threads(n):
    threads = [threading.Thread(target=target) for _ in range(n)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()


def grow(advice):
    memory = mmap.mmap(-1, LARGE, flags=mmap.MAP_PRIVATE | mmap.MAP_ANONYMOUS)
    memory.madvise(advice)
    page = b"\1" * (1 << 20)
    for _ in range(LARGE // len(page)):
        memory.write(page)
    return memory


def measure(key, function, n, repetitions):
    times = []
    for _ in range(repetitions + 1):
        start = time.perf_counter()
        function()
        times.append(time.perf_counter() - start)
    seconds = statistics.median(times[1:])      # the first is a warm-up
    print(f"row={key} seconds={seconds:.9f} items={n}")


def main():
    what, method = sys.argv[1], (sys.argv[2:] or ["fork"])[0]
    context = multiprocessing.get_context(method)
    n = 5 if what == "five" else 1
    memory = None
    if what == "small-pages":
        memory = grow(mmap.MADV_NOHUGEPAGE)
    elif what == "huge-pages":
        memory = grow(mmap.MADV_HUGEPAGE)
    repetitions = 5 if method != "fork" else 15 if memory else 40
    measure(method, lambda: run_processes(context, n), n, repetitions)
    if what in ("one", "five") and method == "fork":
        measure("thread", lambda: run_threads(n), n, repetitions)


if __name__ == "__main__":
    if len(sys.argv) not in (2, 3):
        sys.exit(__doc__)
    main()
