"""Lab 07: the lesson's work by one worker, threads and processes."""
from figures import BUILT, CORES, PYTHON, ROOT, WORKERS, Aim, Figure, Run

PROGRAM = [BUILT / "07-benchmarks/solution/bench"]
TWIN = [PYTHON, "labs/07-benchmarks/demo/bench.py"]
ROWS = [PYTHON, "tests/07-benchmarks/rows.py"]
TIMELINE = ROOT / "build/bench/07-benchmarks-timeline"


def run(side, program, items, names, *options, rounds=0):
    """Keys of the program's rows, and their names: Python's threads are
    under a lock, whatever we ask for."""
    names = {key: f"{side} {name}" for key, name in names.items()}
    return Run([*ROWS, items, *program, *options], names, rounds)


def four(workers, chunk=1):
    """The lesson's four ways."""
    return {"serial": "serial",
            f"gil-{workers}-{chunk}": f"threads({workers}) under a GIL",
            f"threads-{workers}-{chunk}": f"threads({workers})",
            f"processes-{workers}-{chunk}": f"processes({workers})"}


def lesson(what, items, options, c_rounds, python_rounds, rounds=0):
    return Figure(what, "C processes(4)", [
        run("C", PROGRAM, items, four(4), "--workers", 4, *options,
            "--rounds", c_rounds, rounds=rounds),
        run("Python", TWIN, items, four(4), "--workers", 4, *options,
            "--rounds", python_rounds, rounds=rounds)])


once = lesson("factorial(5000), four times", "4", [], 5, 3)
once.notes = ("To start the processes takes longer than the work: no number "
              "of cores helps. The time is that of one factorial.")

much = lesson("factorial(5000), four times 200", "4x200",
              ["--times", 200, "--warmups", 0], 3, 1)

sleeping = lesson("four tasks of one second", "1", ["--work", "sleep"], 1, 1, 1)
sleeping.notes = "Who sleeps needs no core. In the first round only."

TURNS = 1, 2, 5, 10, 20, 50, 100


def turning(times):
    """One point of the curve."""
    names = {key: name for key, name in four(2).items()
             if not key.startswith("gil")}
    options = ["--workers", 2, "--times", times, "--modes",
               "threads,processes"]
    return Figure(f"4 tasks of {times} factorial{'s' * (times > 1)} each",
                  "C processes(2)", [
        run("C", PROGRAM, f"4x{times}", names, *options, "--rounds", 3),
        run("Python", TWIN, f"4x{times}", names, *options, "--rounds",
            1 if times > 10 else 3)])


turns = [turning(times) for times in TURNS]

CREWS = sorted({1, 2, 4, 8, CORES, 2 * CORES})
scaling = Figure("64 tasks of 5 factorials", f"C processes({WORKERS})", [
    run("C", PROGRAM, "64x5",
        {"serial": "serial"} |
        {f"{mode}-{w}-1": f"{mode}({w})" for w in CREWS
         for mode in ("threads", "processes")},
        "--n", 64, "--times", 5, "--modes", "threads,processes", "--workers",
        ",".join(map(str, CREWS)), "--rounds", 3)])

CHUNKS = 1, 10, 100, 1000, 10000, 100000, 1000000


def grain(side, program, n, chunks, modes):
    names = {"serial": "serial"} | {
        f"{mode}-2-{chunk}": f"{'threads' if mode == 'gil' else mode}(2), "
        f"chunks of {chunk}" for mode in modes for chunk in chunks}
    return run(side, program, n, names, "--work", "tiny", "--n", n,
               "--workers", 2, "--chunks", ",".join(map(str, chunks)),
               "--modes", ",".join(modes), "--rounds", 1, "--warmups", 1)


tiny = Figure("a million tiny tasks by 2 workers",
              "C processes(2), chunks of 10000",
              [grain("C", PROGRAM, "1000000", CHUNKS,
                     ["threads", "processes"])])
python_tiny = Figure("a hundred thousand tiny tasks in Python",
                     "Python processes(2), chunks of 10000",
                     [grain("Python", TWIN, "100000", CHUNKS[:-1],
                            ["processes"])])

# Not for its time: who did which item when.
timeline = Figure("16 tasks of 20 factorials, with a timeline",
                  f"C processes({WORKERS})", [
    run("C", PROGRAM, "16x20", {
        "serial": "serial", **{f"{mode}-{WORKERS}-1": f"{mode}({WORKERS})"
                               for mode in ("gil", "threads", "processes")}},
        "--n", 16, "--times", 20, "--workers", WORKERS, "--rounds", 1,
        "--timeline", f"{TIMELINE}.csv"),
    run("Python", TWIN, "16x20", {
        "serial": "serial",
        **{f"{mode}-{WORKERS}-1": f"{mode}({WORKERS})"
           for mode in ("gil", "threads", "processes")}},
        "--n", 16, "--times", 20, "--workers", WORKERS, "--rounds", 1,
        "--timeline", f"{TIMELINE}-python.csv")])

beside_python = [once, much, sleeping]
figures = [once, much, sleeping, *turns, scaling, tiny, python_tiny, timeline]
for figure in once, much:
    figure.aims = [Aim("Python processes(4)", "C processes(4)", at_least=3)]
