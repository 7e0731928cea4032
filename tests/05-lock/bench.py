"""Lab 05: what it costs to add 1 to a number that others add to as well."""
from figures import BUILT, PYTHON, Aim, Figure, Run

DESIGNS = BUILT / "05-lock/bench/bench_designs"
PYTHON_SIDE = "tests/05-lock/bench_python.py"

OURS = "C counter_worker"
ROBUST = "C mutex, robust"
LESSON = "Python Value and Lock"

IN_C = {
    "ours": OURS,
    "robust": ROBUST,
    "plain": "C mutex, process-shared",
    "futex": "C a word and a futex",
    "semaphore": "C semaphore",
    "spinning": "C spin lock that yields",
    "addition": "C atomic addition, no lock",
    "shards": "C a sum for each, no lock",
}
MEDIUM_IN_C = {"inheriting": "C mutex, inheriting priority"}
SLOW_IN_C = {
    "record_lock": "C record lock (fcntl)",
    "system_v": "C System V semaphore",
}
IN_PYTHON = {
    "value": LESSON,
    "own": "Python Value and its own lock",
    "raw": "Python RawValue and Lock",
}




def figure(what, processes, increments, python_rounds=0):
    """Those who take microseconds an increment make fewer of them."""
    def in_c(names, n):
        return Run([DESIGNS, processes, n, *names], names)
    return Figure(what, OURS, [
        in_c(IN_C, increments),
        in_c(MEDIUM_IN_C, 100000),
        in_c(SLOW_IN_C, 10000),
        *(Run([PYTHON, PYTHON_SIDE, key, processes, increments], {key: name},
              python_rounds) for key, name in IN_PYTHON.items())])


lesson = figure("4 processes, 100,000 increments each", 4, 100000)
lesson.aims = [Aim(LESSON, OURS, at_least=30), Aim(OURS, ROBUST, at_most=1.2)]
lesson.notes = (
    "A run of the faster ones is over in a few milliseconds, so the processes "
    "hardly meet: the next figure tells more. Record locks and System V make "
    "10,000 increments, and below as well.")

long_run = figure("4 processes, 2,000,000 increments each", 4, 2000000, 1)
long_run.aims = [Aim(LESSON, OURS, at_least=30),
                 Aim(OURS, ROBUST, at_most=1.2)]
long_run.notes = (
    "Python in the first round only; mutexes that inherit priority make "
    "100,000 increments. Where only one core is free nobody contends for the "
    "lock, and what counter_worker does besides, 2 ns, weighs more.")

alone = figure("one process, 2,000,000 increments, nobody in its way",
               1, 2000000, 1)

figures = [lesson, long_run, alone]
