#!/usr/bin/env python3
"""A child gives a sign of life while the parent computes n!

The twin of watchdog.c: the same options, the same lines.
"""
import argparse
import math
import multiprocessing
import os
import signal
import sys
import time


def line(text):
    """One line in one write, so that lines of several processes never mix."""
    os.write(1, (text + "\n").encode())


#region: heartbeat
def heartbeat(every):
    start, parent, beat = time.monotonic(), os.getppid(), 1
    while os.getppid() == parent:
        line(f"Heartbeat {beat}")
        time.sleep(max(0, start + beat * every - time.monotonic()))
        beat += 1
#endregion


def factorial(n):
    """n!, one factor after the other, as the lesson does it."""
    product = 1
    for i in range(2, n + 1):
        product *= i
    return product


def digits(number):
    """The number of decimal digits; str() would take minutes."""
    n = int(number.bit_length() * math.log10(2)) + 1
    return n if number >= 10 ** (n - 1) else n - 1


#region: main
def run(every, n):
    fork = multiprocessing.get_context("fork")
    watchdog = fork.Process(target=heartbeat, args=(every,), name="Watchdog")
    try:
        watchdog.start()
    except OSError as error:
        sys.exit(f"watchdog.py: cannot start the watchdog: {error.strerror}")
    line(f"{n}! has {digits(factorial(n))} digits")
    watchdog.terminate()
    watchdog.join()
    if watchdog.exitcode != -signal.SIGTERM:
        sys.exit("watchdog.py: the watchdog ended too early,"
                 f" with exit code {watchdog.exitcode}")
#endregion


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--every", type=float, default=5, metavar="SECONDS",
                        help="between two heartbeats (5)")
    parser.add_argument("--n", type=int, default=100000, metavar="N",
                        help="compute N! (100000)")
    args = parser.parse_args()
    if not 0.001 <= args.every <= 86400:
        parser.error(f"--every wants seconds from 0.001 to 86400,"
                     f" not '{args.every}'")
    if not 0 <= args.n <= 10000000:
        parser.error(f"--n wants a whole number from 0 to 10000000,"
                     f" not '{args.n}'")
    return args


if __name__ == "__main__":
    args = options()
    run(args.every, args.n)
