#!/usr/bin/env python3
"""n! in full for each n below N, by a pool of workers: factorials.c."""
import argparse
import concurrent.futures
import math
import multiprocessing
import os
import signal
import sys
import time

MODULUS = 1000000007
BAR_WIDTH = 50


def draw_bar(percent):
    bar = "#" * (percent * BAR_WIDTH // 100)
    end = "\n" if percent == 100 else ""
    os.write(2, f"\r[{bar:{BAR_WIDTH}}] {percent:3}%{end}".encode())


def start_worker(counter, all_tasks):
    """What a task needs beside its item; None = no progress bar."""
    global done, total
    done, total = counter, all_tasks


def count_progress():
    if done is None:
        return
    with done.get_lock():
        done.value += 1
        now = done.value
    if now * 100 // total != (now - 1) * 100 // total:
        draw_bar(now * 100 // total)


def count_digits(number):
    """str(number) would take longer than the factorial: use logarithms."""
    logarithm = math.log10(number)
    whole = round(logarithm)
    if abs(logarithm - whole) > 1e-6:
        return math.floor(logarithm) + 1
    return whole + (number >= 10 ** whole)


# region: task
def factorial(task):
    n, crash = task
    if crash:
        os.kill(os.getpid(), signal.SIGKILL)
    number = math.factorial(n)
    answer = count_digits(number), number % MODULUS
    count_progress()
    return answer
# endregion


def run_serially(tasks, counter):
    start_worker(counter, len(tasks))
    return [factorial(task) for task in tasks]


# region: run
def run_in_pool(tasks, counter, options):
    with multiprocessing.Pool(options.workers, start_worker,
                              (counter, len(tasks))) as pool:
        return pool.map(factorial, tasks, options.chunksize or None)
# endregion


def run_and_crash(tasks, counter, options):
    """A Pool whose worker is killed waits for ever for what it had. Python's
    other pool notices, but breaks down as a whole and does not tell which
    item did it: try all that are not done once more, one by one."""
    def executor(workers):
        return concurrent.futures.ProcessPoolExecutor(
            workers, initializer=start_worker, initargs=(counter, len(tasks)))

    def outcome(future):
        try:
            return future.result()
        except concurrent.futures.process.BrokenProcessPool:
            return None

    with executor(options.workers) as pool:
        futures = []
        for task in tasks:
            try:
                futures.append(pool.submit(factorial, task))
            except concurrent.futures.process.BrokenProcessPool:
                break
        answers = [outcome(future) for future in futures]
    answers += [None] * (len(tasks) - len(answers))
    pool = executor(1)
    for i, answer in enumerate(answers):
        if answer is None:
            answers[i] = outcome(pool.submit(factorial, tasks[i]))
            if answers[i] is None:
                pool.shutdown()
                pool = executor(1)
    pool.shutdown()
    return answers


def whole_number(low, high):
    def convert(text):
        n = int(text)
        if not low <= n <= high:
            raise ValueError(text)
        return n
    return convert


def read_command_line():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--n", type=whole_number(0, 1000000), default=12000)
    parser.add_argument("--workers", type=whole_number(1, 1000), default=5)
    parser.add_argument("--chunksize", type=whole_number(0, 1000000),
                        default=0)
    parser.add_argument("--serial", action="store_true")
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--crash", type=whole_number(0, 999999), default=-1)
    options = parser.parse_args()
    if options.crash >= options.n:
        parser.error(f"--crash wants one of the {options.n} items, "
                     f"not {options.crash}")
    if options.crash >= 0 and options.serial:
        parser.error("--crash needs a worker to kill, --serial has none")
    return options


def main():
    options = read_command_line()
    tasks = [(i, i == options.crash) for i in range(options.n)]
    counter = None
    if sys.stderr.isatty():
        counter = multiprocessing.Value("l", 0)
    start = time.monotonic()
    if options.serial:
        answers = run_serially(tasks, counter)
    elif options.crash >= 0:
        answers = run_and_crash(tasks, counter, options)
    else:
        answers = run_in_pool(tasks, counter, options)
    seconds = time.monotonic() - start
    lost = [i for i, answer in enumerate(answers) if answer is None]
    if lost and counter is not None:
        print(file=sys.stderr)      # the bar does not reach its end
    for i in lost:
        print("lost", i, file=sys.stderr)
    if lost:
        return 1
    if options.list:
        for i, (digits, residue) in enumerate(answers):
            print(f"{i}! has {digits} digits, residue {residue}")
    print(f"workers={0 if options.serial else options.workers} "
          f"tasks={options.n} digits={sum(d for d, _ in answers)} "
          f"sum={sum(r for _, r in answers)} seconds={seconds:.3f}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
