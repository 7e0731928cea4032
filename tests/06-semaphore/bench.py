"""Lab 06: what it costs to take a place and to give it back."""
from figures import BUILT, PYTHON, Aim, Figure, Run

DESIGNS = BUILT / "06-semaphore/bench/bench_designs"
PYTHON_SIDE = "tests/06-semaphore/bench_python.py"

OURS = "C semaphore_acquire, semaphore_release"
SYSTEM = "C sem_t"
LESSON = "Python Semaphore"

IN_C = {
    "ours": OURS,
    "bounded": "C ours, bounded",
    "semaphore": SYSTEM,
    "word": "C a word and a futex, no note",
    "monitor": "C mutex and condition variable",
}
SLOW_IN_C = {
    "event": "C eventfd",
    "tokens": "C tokens in a pipe",
    "system_v": "C System V semaphore with undo",
}
IN_PYTHON = {"semaphore": LESSON, "bounded": "Python BoundedSemaphore"}


def figure(what, processes, pairs, factor):
    """Those with system calls go through less often, Python as well."""
    def in_c(names, n):
        return Run([DESIGNS, processes, n, *names], names)
    return Figure(what, OURS, [
        in_c(IN_C, pairs),
        in_c(SLOW_IN_C, pairs // 50),
        *(Run([PYTHON, PYTHON_SIDE, key, processes, pairs // 10], {key: name})
          for key, name in IN_PYTHON.items())],
        [Aim(LESSON, OURS, at_least=factor), Aim(OURS, SYSTEM, at_most=1.2)])


alone = figure("two places, one process", 1, 2000000, 25)

five = figure("two places, five processes", 5, 1000000, 4)
five.notes = (
    "Nobody does anything inside: this is the most that a semaphore can be "
    "wanted. How often somebody must sleep depends on how many cores are "
    "free. Where it is one, hardly ever.")

figures = [alone, five]
