"""Lab 01: what it costs to start a process and to join it."""
from figures import BUILT, PYTHON, Aim, Figure, Run

C = BUILT / "01-processes/bench/bench_process"
TWIN = "tests/01-processes/bench_python.py"

OURS = "C process_start + process_join"
BARE = "C bare fork + waitpid"
FORKED = "Python Process (fork)"

in_c = {"process": OURS, "fork": BARE, "thread": "C thread",
        "server": "C server that was forked early"}
in_python = {"fork": FORKED, "thread": "Python thread"}

figures = [
    Figure("one process: start and join", OURS, [
        Run([C, "one"], in_c),
        Run([PYTHON, TWIN, "one"], in_python),
        Run([PYTHON, TWIN, "one", "forkserver"],
            {"forkserver": "Python Process (forkserver)"}),
        Run([PYTHON, TWIN, "one", "spawn"],
            {"spawn": "Python Process (spawn)"}),
    ], [
        Aim(FORKED, OURS, at_least=10),
        Aim(OURS, BARE, at_most=1.15),
    ]),
    Figure("five processes: start all, join all", OURS, [
        Run([C, "five"], in_c),
        Run([PYTHON, TWIN, "five"], in_python),
    ]),
    Figure("one process from a parent of 500 MB (pages of 4 KiB)", OURS, [
        Run([C, "small-pages"], in_c),
        Run([PYTHON, TWIN, "small-pages"], in_python),
    ], [Aim(OURS, BARE, at_most=1.15)],
        "fork copies the page tables, whoever calls it. No language helps, "
        "only a parent that is small when it forks, or larger pages."),
    Figure("one process from a parent of 500 MB (pages of 2 MB)", OURS, [
        Run([C, "huge-pages"], in_c),
        Run([PYTHON, TWIN, "huge-pages"], in_python),
    ], [Aim(OURS, BARE, at_most=1.15)]),
]
