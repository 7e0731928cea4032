"""Lab 03: what it costs to hand an item to another process."""
import pathlib
import shutil
import subprocess

from figures import BUILT, PYTHON, Aim, Figure, Run

DESIGNS = BUILT / "03-queue/bench/bench_designs"
BOOST = BUILT / "03-queue/bench/boost.so"
HERE = pathlib.Path(__file__).parent
PYTHON_SIDE = "tests/03-queue/bench_python.py"

OURS = "C queue_put, queue_get"
FAST = "C the same, spin-yield-futex"
BOOSTS = "C++ Boost message_queue"
QUEUE = "Python Queue"

IN_C = {
    "ours": OURS,
    "fast": FAST,
    "conditions": "C mutex and conditions",
    "semaphores": "C two semaphores and a mutex",
    "batches": "C conditions, batches of 32",
    "tickets": "C ring of tickets, no lock",
}
FOR_ONE_AND_ONE = {"pair": "C ring for one and one, no lock"}
BY_THE_SYSTEM = {
    "pipe": "C pipe",
    "seqpacket": "C socket pair, SEQPACKET",
    "mq": "C POSIX message queue",
}
IN_PYTHON = {"queue": QUEUE, "simple": "Python SimpleQueue"}


def make_boost():
    """Why there is no Boost here, if so: it is C++, and not our Makefile's."""
    if shutil.which("g++") is None:
        return "g++ is not installed"
    header = "boost/interprocess/ipc/message_queue.hpp"
    if not pathlib.Path("/usr/include", header).exists():
        return "libboost-dev is not installed"
    done = subprocess.run(["g++", "-O2", "-shared", "-fPIC", "-o", BOOST,
                           HERE / "bench_boost.cc"], check=False)
    return "bench_boost.cc cannot be compiled" if done.returncode else ""


NO_BOOST = make_boost()


def figure(what, how, size, producers, consumers, quick, slow, in_python):
    """`quick`, `slow`, `in_python`: how many items each kind moves."""
    def in_c(names, items, lacks=""):
        return Run([DESIGNS, how, size, producers, consumers, items, *names],
                   names, lacks=lacks)
    alone = FOR_ONE_AND_ONE if producers == consumers == 1 else {}
    return Figure(what, OURS, [
        in_c({**IN_C, **alone}, quick),
        in_c({"boost": BOOSTS}, quick, NO_BOOST),
        in_c(BY_THE_SYSTEM, slow),
        *(Run([PYTHON, PYTHON_SIDE, key, how, size, producers, consumers,
               in_python], name, 3) for key, name in IN_PYTHON.items())])


figures = []
for bytes_each in 8, 64, 4096:
    for each in (1, 1), (1, 2), (2, 2):
        few = 4 if bytes_each == 4096 else 1
        one = figure(f"{bytes_each}-byte items, {each[0]} to {each[1]}",
                     "through", bytes_each, *each, 200000 // few, 20000,
                     20000)
        if bytes_each == 64 and each == (1, 1):
            one.aims = [Aim(QUEUE, OURS, at_least=15),
                        Aim(QUEUE, FAST, at_least=50),
                        Aim(BOOSTS, FAST, at_least=2)]
        figures.append(one)

for bytes_each in 8, 64, 4096:
    figures.append(figure(f"{bytes_each}-byte items, one way",
                          "one-way", bytes_each, 1, 1, 10000, 4000, 2000))
figures[-1].notes = (
    "One way is half of there and back. Python takes part in three rounds.")

shared = figure("64-byte items, 1 to 1, all on one core", "one-core", 64, 1, 1,
                200000, 20000, 20000)
apart = {"ours": f"{OURS}, two cores", "fast": f"{FAST}, two cores"}
shared.runs.insert(1, Run([DESIGNS, "through", 64, 1, 1, 200000, *apart],
                          apart))
shared.aims = [Aim(OURS, apart["ours"], at_most=2),
               Aim(FAST, apart["fast"], at_most=2)]
shared.notes = ("Two queues stand here twice: \"two cores\" means wherever the "
                "system lets them run.")
figures.append(shared)
