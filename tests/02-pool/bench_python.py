#!/usr/bin/env python3
"""Python's side of the pool's benchmark.

map TASKS WORKERS CHUNKSIZE   trivial tasks in multiprocessing.Pool; 0 = its
                              own choice, which adds a serial map
gmpy2                         labs/02-pool/demo/factorials.py with numbers
                              that are GMP's, as in C
growing                       n! from (n-1)!, serially
"""
import math
import multiprocessing
import pathlib
import statistics
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[2]
sys.path.append(str(ROOT / "labs/02-pool/demo"))
import factorials  # noqa: E402

MAPS = 3


def double_and_add_one(number):
    return 2 * number + 1


def measure(key, count, function, n):
    times = []
    for _ in range(count):
        start = time.perf_counter()
        results = function()
        times.append(time.perf_counter() - start)
        if results != list(range(1, 2 * n + 1, 2)):
            sys.exit(f"a result of {key} is wrong")
    print(f"row={key} seconds={statistics.median(times):.9f} items={n}")


def run_map(n, workers, chunksize):
    items = list(range(n))
    with multiprocessing.Pool(workers) as pool:
        def in_pool():
            return pool.map(double_and_add_one, items, chunksize or None)
        measure("first", 1, in_pool, n)
        measure("steady", MAPS, in_pool, n)
    if not chunksize:
        measure("serial", MAPS,
                lambda: list(map(double_and_add_one, items)), n)


def factorial_by_gmp(task):
    number = gmpy2.fac(task[0])
    return factorials.count_digits(number), int(number % factorials.MODULUS)


def run_gmpy2():
    """The program as it is, on other numbers."""
    global gmpy2
    import gmpy2
    math.log10 = lambda number: float(gmpy2.log10(number))
    factorials.factorial = factorial_by_gmp
    sys.argv[1:] = []
    return factorials.main()


def run_growing():
    number, n, digits, residues = 1, 12000, 0, 0
    start = time.perf_counter()
    for i in range(n):
        number *= i or 1
        digits += factorials.count_digits(number)
        residues += number % factorials.MODULUS
    seconds = time.perf_counter() - start
    print(f"tasks={n} digits={digits} sum={residues} seconds={seconds:.6f}")


if __name__ == "__main__":
    match sys.argv[1:]:
        case ["map", *numbers] if len(numbers) == 3:
            run_map(*map(int, numbers))
        case ["gmpy2"]:
            sys.exit(run_gmpy2())
        case ["growing"]:
            run_growing()
        case _:
            print(__doc__, file=sys.stderr)
            sys.exit(2)
