"""Lab 02: the lesson's factorials, and what handing out work costs."""
import subprocess

from figures import BUILT, PYTHON, WORKERS, Aim, Figure, Run

PROGRAM = BUILT / "02-pool/solution/factorials"
TWIN = "labs/02-pool/demo/factorials.py"
PYTHON_SIDE = "tests/02-pool/bench_python.py"
PROGRAMS = BUILT / "02-pool/bench"

# Debian's package is for Debian's Python.
GMPY2 = next((python for python in (PYTHON, "/usr/bin/python3")
              if subprocess.run([python, "-c", "import gmpy2"],
                                capture_output=True).returncode == 0), None)

FIVE = "C pool(5)"
SERIAL = "C serial"
PYTHON_FIVE = "Python Pool(5)"

factorials = Figure("the factorials of 0 to 11999", FIVE, [
    Run([PROGRAM, "--serial"], SERIAL),
    Run([PROGRAM], FIVE),
    Run([PYTHON, TWIN], PYTHON_FIVE),
    Run([GMPY2, PYTHON_SIDE, "gmpy2"], "Python Pool(5) with gmpy2",
        lacks="" if GMPY2 else "python3-gmpy2 is not installed"),
    Run([PROGRAMS / "bench_growing", 12000], "C serial: n! from (n-1)!"),
    Run([PYTHON, PYTHON_SIDE, "growing"], "Python serial: n! from (n-1)!"),
    Run([PYTHON, TWIN, "--serial"], "Python serial", rounds=1),
], [
    Aim(PYTHON_FIVE, FIVE, at_least=8.5),
    Aim(FIVE, SERIAL, at_most=1.15, shared_by=5),
], "The gain over Python's Pool is that of GMP, which C and gmpy2 both use: "
   "gmpy2 is the fair peer. And no number of workers makes up for the better "
   "algorithm." + (f" (gmpy2 here: that of {GMPY2}.)" if GMPY2 else ""))

GUIDED = f"C pool({WORKERS}) guided chunks"
PYTHON_MAP = f"Python Pool({WORKERS}).map"
FIRST = ": first map"
MILLION = 1000000

trivial = Figure("a map of a million trivial tasks", GUIDED, [
    Run([PROGRAMS / "bench_pool", MILLION, WORKERS],
        {"steady": GUIDED, "first": GUIDED + FIRST}),
    Run([PYTHON, PYTHON_SIDE, "map", MILLION, WORKERS, 0],
        {"steady": PYTHON_MAP, "first": PYTHON_MAP + FIRST,
         "serial": "Python serial map"}),
    Run([PROGRAMS / "bench_openmp", MILLION, WORKERS],
        {"serial": "C serial loop", "guided": "C OpenMP threads guided",
         "dynamic": "C OpenMP threads dynamic"}),
    Run([PROGRAMS / "bench_pipes", MILLION, WORKERS, 64, 64],
        {"pipes": "C pipes: 64 items a message"}),
], [Aim(PYTHON_MAP, GUIDED, at_least=50)],
    "Trivial tasks are no work for processes: items and results are copied to "
    "the workers and back, where a loop and threads just use them.")

ONES = f"C pool({WORKERS}) chunks of one"
PYTHON_ONES = f"Python Pool({WORKERS}) chunks of one"
ATOMIC = f"C atomic additions by {WORKERS} processes"
FEW = 20000

ones = Figure("trivial tasks handed out one by one", ONES, [
    Run([PROGRAMS / "bench_pool", MILLION, WORKERS, 1],
        {"steady": ONES, "first": ONES + FIRST}),
    Run([PROGRAMS / "bench_atomic", MILLION, WORKERS], {"atomic": ATOMIC}),
    Run([PYTHON, PYTHON_SIDE, "map", FEW, WORKERS, 1],
        {"steady": PYTHON_ONES, "first": PYTHON_ONES + FIRST}),
    Run([PROGRAMS / "bench_pipes", 10 * FEW, WORKERS, 1, 1000],
        {"pipes": "C pipes: 1000 messages under way"}),
    Run([PROGRAMS / "bench_pipes", FEW, WORKERS, 1, WORKERS],
        {"pipes": f"C pipes: {WORKERS} messages under way"}),
    Run([PROGRAMS / "bench_pipes", FEW, WORKERS, 1, 1],
        {"pipes": "C pipes: one there and one back"}),
], [
    Aim(PYTHON_ONES, ONES, at_least=1000),
    Aim(ONES, ATOMIC, at_most=2),
], "Where an item takes microseconds, 20,000 are measured instead of a million "
   "(200,000 with 1000 messages under way). Where only one core is free, nobody "
   "contends for the additions, and copying items and results weighs more.")

figures = [factorials, trivial, ones]
