#!/usr/bin/env python3
"""Run a program of lab 07, and say its rows as tests/bench/bench.py reads them.

usage: rows.py ITEMS PROGRAM ARGUMENT...

ITEMS: what the time is divided by: 4, or 4x200. Each row's key is
MODE-WORKERS-CHUNK, and "serial" for one worker alone. What the program calls
result must be the same in all rows of a figure, by
whomever and in whichever language it was found.
"""
import csv
import math
import subprocess
import sys


def main():
    arguments = sys.argv[1:]
    if len(arguments) < 2:
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    items = math.prod(map(int, arguments[0].split("x")))
    done = subprocess.run(arguments[1:] + ["--csv"], text=True,
                          stdout=subprocess.PIPE, check=False)
    if done.returncode != 0:
        sys.exit(f"rows.py: it ended with status {done.returncode}")
    for row in csv.DictReader(done.stdout.splitlines()):
        key = f"{row['mode']}-{row['workers']}-{row['chunk']}"
        if row["mode"] == "serial":
            key = "serial"
        print(f"row={key} seconds={row['seconds']} items={items} "
              f"result={row['result']}")


if __name__ == "__main__":
    main()
