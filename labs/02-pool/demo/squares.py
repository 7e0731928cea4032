#!/usr/bin/env python3
"""The squares of all N by a pool, then the cube of 4: squares.c in Python."""
import argparse
import multiprocessing
import os

N_MAX = 2000000000


# region: tasks
def square(n):
    return n * n


def cube(n):
    return n * n * n
# endregion


def number(text):
    n = int(text)
    if not -N_MAX <= n <= N_MAX:
        raise ValueError(text)
    return n


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("numbers", metavar="N", nargs="*", type=number)
    numbers = parser.parse_args().numbers or [1, 2, 3, 4, 5]

    # region: squares
    with multiprocessing.Pool(os.cpu_count()) as pool:
        print("Squared results:", pool.map(square, numbers), flush=True)
        print("4 cubed is:", pool.apply(cube, (4,)))
    # endregion


if __name__ == "__main__":
    main()
