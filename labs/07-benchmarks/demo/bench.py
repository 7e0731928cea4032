#!/usr/bin/env python3
"""The same work by one worker, by threads under the interpreter lock, and by
processes: how long each of them takes.

The twin of bench.c: the same options, the same lines. What bench.c calls
"threads", threads without an interpreter lock, there is only in a Python that
was built without one (3.13t and later); other Pythons have "gil" in their
place.
"""
import argparse
import contextlib
import ctypes
import math
import multiprocessing
import os
import signal
import statistics
import sys
import threading
import time

FACTORIAL_OF = 5000
MODULUS = 1000000007
MASK = 2 ** 64 - 1
MOST_WORKERS, MOST_ROUNDS, MOST_ENTRIES = 1000, 1000, 32
HAS_GIL = getattr(sys, "_is_gil_enabled", lambda: True)()
CORES = len(os.sched_getaffinity(0))

fork = multiprocessing.get_context("fork")


class Failed(Exception):
    pass


# ---- the work ----------------------------------------------------------------

#region: factorial
def factorial(index, args):
    return sum(math.factorial(FACTORIAL_OF) % MODULUS
               for _ in range(args.times))
#endregion


#region: sleep
def sleep_task(index, args):
    time.sleep(args.seconds)    # others may have the interpreter meanwhile
    return index + 1
#endregion


def tiny(index, args):
    x = index + 1
    x = (x ^ x >> 30) * 0xbf58476d1ce4e5b9 & MASK
    x = (x ^ x >> 27) * 0x94d049bb133111eb & MASK
    return x ^ x >> 31


# What is measured when the command line does not say: n, rounds, warm-ups,
# workers, chunks, modes.
WORKS = {
    "factorial": (factorial, 4, 5, 1, "1,2,4", "1", "gil,threads,processes"),
    "sleep": (sleep_task, 4, 1, 0, "4", "1", "gil,threads,processes"),
    "tiny": (tiny, 1000000, 5, 1, "2", "1,10,100,1000,10000,100000",
             "threads,processes"),
    "memory": (None, 0, 0, 0, "4", "1", "serial"),
}


# ---- the measuring -----------------------------------------------------------

#region: measure
def bench_measure(fn, warmups, rounds):
    for _ in range(warmups):
        fn()
    seconds = []
    for _ in range(rounds):
        start = time.perf_counter()
        fn()
        seconds.append(time.perf_counter() - start)
    return statistics.median(seconds)
#endregion


class Job:
    """What is to be done, and what the workers have in common."""

    def __init__(self, f, n, args, chunk, counter, lock):
        self.f, self.n, self.args, self.chunk = f, n, args, chunk
        self.counter, self.lock = counter, lock

    #region: work
    def work_off(self):
        total = 0
        while True:
            with self.lock:
                first = self.counter.value
                self.counter.value += self.chunk
            if first >= self.n:
                return total & MASK
            for i in range(first, min(first + self.chunk, self.n)):
                total += self.f(i, self.args)
    #endregion


class Counter:
    """What multiprocessing.Value is to processes."""
    value = 0


class Run:
    def __init__(self, seconds, cpu_seconds, result):
        self.seconds, self.result = seconds, result
        self.cpu_seconds = cpu_seconds


def bench_serial(f, n, args, workers, chunk):
    start, cpu = time.perf_counter(), time.thread_time()
    result = sum(f(i, args) for i in range(n)) & MASK
    return Run(time.perf_counter() - start, time.thread_time() - cpu, result)


#region: threads
def bench_threads(f, n, args, workers, chunk):
    start = time.perf_counter()
    job = Job(f, n, args, chunk, Counter(), threading.Lock())
    shares = []

    def serve():
        shares.append((job.work_off(), time.thread_time()))

    threads = []
    try:
        for _ in range(workers):
            threads.append(threading.Thread(target=serve))
            threads[-1].start()
    except RuntimeError as error:
        threads.pop()
        job.n = 0
        raise Failed(f"cannot run {workers} threads: {error}") from None
    finally:
        for thread in threads:
            thread.join()
    return Run(time.perf_counter() - start, sum(cpu for _, cpu in shares),
               sum(result for result, _ in shares) & MASK)
#endregion


#region: processes
def serve_process(job, number, sums, cpus):
    sums[number] = job.work_off()
    cpus[number] = time.process_time()      # since the fork


def bench_processes(f, n, args, workers, chunk):
    start = time.perf_counter()
    job = Job(f, n, args, chunk, fork.RawValue("q", 0), fork.Lock())
    sums, cpus = fork.RawArray("Q", workers), fork.RawArray("d", workers)
    processes = []
    try:
        for i in range(workers):
            p = fork.Process(target=serve_process, args=(job, i, sums, cpus),
                             daemon=True)
            p.start()
            processes.append(p)
    except OSError as error:
        job.counter.value = n           # nothing is left to do
        raise Failed(f"cannot run {workers} processes: {error.strerror}"
                     ) from None
    finally:
        for p in processes:
            p.join()
    if any(p.exitcode != 0 for p in processes):
        raise Failed(f"cannot run {workers} processes: Owner died")
    return Run(time.perf_counter() - start, sum(cpus), sum(sums) & MASK)
#endregion


def bench_speedup(serial, parallel):
    return serial / parallel if serial > 0 and parallel > 0 else math.nan


def bench_efficiency(speedup, workers):
    return speedup / workers


def bench_amdahl(parallel_part, workers):
    return 1 / (1 - parallel_part + parallel_part / workers)


# ---- the cores that are free -------------------------------------------------

def spin(seconds, meeting, speeds, number):
    x, rounds = 1, 0
    meeting.wait()
    cpu, start = time.process_time(), time.perf_counter()
    now = start
    while now - start < seconds:
        for _ in range(100):
            x = (x * 6364136223846793005 + 1442695040888963407) & MASK
        rounds += 1
        now = time.perf_counter()
    speeds[2 * number] = rounds / (now - start)
    speeds[2 * number + 1] = rounds / (time.process_time() - cpu)


def speeds_of(workers, seconds=0.02):
    """How far so many loops get at the same time, all together, in a second,
    and in a second of processor time.

    They are processes: threads would show one core, however many are free.
    """
    speeds, meeting = fork.RawArray("d", 2 * workers), fork.Barrier(workers)
    loops = [fork.Process(target=spin, args=(seconds, meeting, speeds, i),
                          daemon=True) for i in range(workers)]
    for p in loops:
        p.start()
    for p in loops:
        p.join()
    return sum(speeds[::2]), sum(speeds[1::2])


def free_cores():
    """How many cores this program gets right now: see bench.c."""
    (_, alone), (together, _), (_, again) = map(speeds_of, (1, CORES, 1))
    return min(together / max(alone, again), CORES)


# ---- the timeline ------------------------------------------------------------

class Timeline:
    """Who did which item of a run, when, and on which core."""

    def __init__(self, name, n):
        self.file = open(name, "w", encoding="ascii")
        self.n, self.begun = n, 0
        self.who, self.core = fork.RawArray("q", n), fork.RawArray("q", n)
        self.start, self.end = fork.RawArray("d", n), fork.RawArray("d", n)
        self.core_now = ctypes.CDLL(None).sched_getcpu
        print("mode,workers,chunk,worker,item,start,end,core", file=self.file)

    def watch(self, f):
        def watched(index, args):
            self.who[index] = threading.get_native_id()
            self.core[index] = self.core_now()
            self.start[index] = time.perf_counter() - self.begun
            result = f(index, args)
            self.end[index] = time.perf_counter() - self.begun
            return result
        return watched

    def write(self, row):
        numbers = {}
        for i in range(self.n):
            worker = numbers.setdefault(self.who[i], len(numbers))
            print(f"{row.mode},{row.workers},{row.chunk},{worker},{i},"
                  f"{self.start[i]:.9f},{self.end[i]:.9f},{self.core[i]}",
                  file=self.file)


# ---- telling -----------------------------------------------------------------

def line(text):
    """One line, whole, in one write."""
    data = (text + "\n").encode()
    while data:
        data = data[os.write(1, data):]


def show_time(seconds):
    name, size = next(((name, size) for name, size in (
        ("s", 1), ("ms", 1e-3), ("us", 1e-6)) if seconds >= size),
        ("ns", 1e-9))
    number = seconds / size
    return f"{number:.3g} {name}" if number < 99.95 else f"{number:.0f} {name}"


def describe(args):
    if args.work == "factorial":
        return (f"{args.n} items: factorial({FACTORIAL_OF}), {args.times} "
                f"time{'' if args.times == 1 else 's'} each")
    if args.work == "sleep":
        return f"{args.n} items: a pause of {args.seconds:g} s each"
    return f"{args.n} items: a few instructions each"


def print_head(args):
    if args.csv:
        line("mode,workers,chunk,seconds,cpu_seconds,speedup,efficiency,"
             "result")
        return
    line(describe(args))
    line(f"rounds: {args.rounds}, after {args.warmups} to warm up; cores: "
         f"{CORES}")
    line(f"{'mode':10} {'workers':>7} {'chunk':>7} {'median':>9} "
         f"{'processor':>10} {'speed-up':>9} {'efficiency':>11} "
         f"{'cores free':>11}")


def print_row(r, csv):
    if csv:
        line(f"{r.mode},{r.workers},{r.chunk},{r.seconds:.9f},"
             f"{r.cpu_seconds:.9f},{r.speedup:.6f},{r.efficiency:.6f},"
             f"{r.result}")
    else:
        line(f"{r.mode:10} {r.workers:7} {r.chunk:7} "
             f"{show_time(r.seconds):>9} {show_time(r.cpu_seconds):>10} "
             f"{r.speedup:9.2f} {r.efficiency:11.2f} {r.free:11.1f}")


def undivided_part(speedup, workers):
    return (1 / speedup - 1 / workers) / (1 - 1 / workers)


def has_limit(r):
    return (2 <= r.workers < r.free + 0.3 and r.speedup > 1.2
            and undivided_part(r.speedup, r.workers) > 0)


def print_limit(r):
    part = undivided_part(r.speedup, r.workers)
    line(f"{r.mode} by {r.workers}: as if {part * 100:.1f} % of it could not "
         "be divided; then no number of workers is")
    line(f"more than {bench_amdahl(1 - part, math.inf):.1f} times as fast "
         "(Amdahl)")


# ---- all of it ---------------------------------------------------------------

class Row:
    def __init__(self, mode, workers, chunk, seconds, runs, serial):
        self.mode, self.workers, self.chunk = mode, workers, chunk
        self.seconds, self.free = seconds, 0
        self.cpu_seconds = min(
            runs, key=lambda r: abs(r.seconds - seconds)).cpu_seconds
        self.speedup = bench_speedup((serial or self).seconds, seconds)
        self.efficiency = bench_efficiency(self.speedup, workers)
        self.result = runs[0].result
        for run in runs:
            if run.result != (serial or self).result:
                self.result = run.result


class Bench:
    def __init__(self, args):
        self.args, self.free, self.serial = args, 0, None
        self.f = WORKS[args.work][0]
        self.timeline, self.limited = None, []

    def measure(self, mode, run, workers, chunk):
        runs = []

        def run_once():
            if self.timeline:
                self.timeline.begun = time.perf_counter()
            runs.append(run(self.f, self.args.n, self.args, workers, chunk))

        seconds = bench_measure(run_once, self.args.warmups, self.args.rounds)
        row = Row(mode, workers, chunk, seconds, runs[self.args.warmups:],
                  self.serial)
        if not self.args.csv:
            before, self.free = self.free, free_cores()
            row.free = (before + self.free) / 2
        if self.timeline:
            self.timeline.write(row)
        print_row(row, self.args.csv)
        if self.serial and row.result != self.serial.result:
            raise Failed(f"{workers} workers found {row.result}, one worker "
                         f"alone {self.serial.result}")
        return row

    def measure_mode(self, mode, run):
        rows = [self.measure(mode, run, workers, chunk)
                for workers in self.args.workers for chunk in self.args.chunks]
        self.limited += [row for row in rows if has_limit(row)][-1:]

    def measure_all(self):
        args = self.args
        if args.timeline:
            self.timeline = Timeline(args.timeline, args.n)
            self.f = self.timeline.watch(self.f)
        print_head(args)
        if not args.csv:
            self.free = free_cores()
        self.serial = self.measure("serial", bench_serial, 1, args.n)
        if "gil" in args.modes and HAS_GIL:
            self.measure_mode("gil", bench_threads)
        if "threads" in args.modes and not HAS_GIL:
            self.measure_mode("threads", bench_threads)
        if "processes" in args.modes:
            self.measure_mode("processes", bench_processes)
        for row in self.limited:
            if not args.csv:
                print_limit(row)
        if self.timeline:
            self.timeline.file.close()


# ---- memory ------------------------------------------------------------------

def number_of(pid, file, word):
    with open(f"/proc/{pid}/{file}", encoding="ascii") as lines:
        return next(int(text.split()[1]) for text in lines
                    if text.startswith(word))


def use_of(pids):
    """Rss, Pss and page tables of these processes together, in KiB."""
    return [sum(number_of(pid, file, word) for pid in pids)
            for file, word in (("smaps_rollup", "Rss:"),
                               ("smaps_rollup", "Pss:"), ("status", "VmPTE:"))]


def touch(mode, data):
    """To read a number is to count its readers, and so to write to it."""
    if mode == "readers":
        for _ in data:
            pass
    elif mode == "writers":
        for i, number in enumerate(data):
            data[i] = number


def wait_to_go(mode, data, ready, leave):
    touch(mode, data)
    ready.release()
    leave.wait()


def measure_memory(mode, workers, data, args):
    threads = mode == "threads"
    kind = threading if threads else fork
    ready, leave = kind.Semaphore(0), kind.Event()
    before = use_of([os.getpid()])
    crew = [(threading.Thread if threads else fork.Process)(
        target=wait_to_go, args=(mode, data, ready, leave), daemon=True)
        for _ in range(workers)]
    started = []
    try:
        for worker in crew:
            worker.start()
            started.append(worker)
        for _ in crew:
            while not ready.acquire(timeout=0.2):
                if not all(worker.is_alive() for worker in crew):
                    raise Failed(f"cannot run {workers} processes: Owner died")
        pids = [os.getpid()] + ([] if threads else [p.pid for p in crew])
        use = use_of(pids)
    except (OSError, RuntimeError) as error:
        raise Failed(f"cannot run {workers} "
                     f"{'threads' if threads else 'processes'}: "
                     f"{getattr(error, 'strerror', error)}") from None
    finally:
        leave.set()
        for worker in started:
            worker.join()
    resident, added, tables = (
        (now - old) / workers for now, old in zip(use, before))
    if threads:
        resident = use[0]
    if args.csv:
        line(f"{mode},{workers},{args.data * 1024},{resident:.1f},{added:.1f},"
             f"{tables:.1f}")
    else:
        line(f"{mode:10} {workers:7} {round(resident):12} {round(added):12} "
             f"{round(tables):12}")


def measure_all_memory(args):
    # A list of numbers: each takes 8 bytes in the list and 32 of its own.
    data = list(range(1000, 1000 + (args.data << 20) // 40))
    if args.csv:
        line("mode,workers,data_kib,resident_kib,added_kib,page_tables_kib")
    else:
        line(f"KiB for each worker, of a parent with {args.data} MiB of data")
        line(f"{'mode':10} {'workers':>7} {'resident':>12} {'added':>12} "
             f"{'page tables':>12}")
    for workers in args.workers:
        for mode in "threads", "idle", "readers", "writers":
            measure_memory(mode, workers, data, args)


# ---- the command line --------------------------------------------------------

def whole_number(low, high):
    def convert(text):
        number = int(text)
        if not low <= number <= high:
            raise ValueError(text)
        return number
    convert.__name__ = f"whole number from {low} to {high}"
    return convert


def numbers(high):
    def convert(text):
        words = text.split(",")
        if len(words) > MOST_ENTRIES:
            raise ValueError(text)
        return [whole_number(1, high)(word) for word in words]
    convert.__name__ = f"list of whole numbers from 1 to {high}"
    return convert


def modes(text):
    found = text.split(",")
    if not set(found) <= {"serial", "gil", "threads", "processes"}:
        raise ValueError(text)
    return found


def seconds(text):
    number = float(text)
    if not 0 <= number <= 3600:
        raise ValueError(text)
    return number


def options():
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--work", default="factorial", choices=WORKS)
    parser.add_argument("--n", type=whole_number(0, 10 ** 9), metavar="N",
                        help="items (4; tiny 1000000)")
    parser.add_argument("--times", type=whole_number(1, 10 ** 9), metavar="N",
                        default=1, help="factorials in an item (1)")
    parser.add_argument("--seconds", type=seconds, metavar="S", default=1,
                        help="how long an item of sleep pauses (1)")
    parser.add_argument("--workers", type=numbers(MOST_WORKERS),
                        metavar="W,...",
                        help="threads and processes (1,2,4; sleep 4; tiny 2)")
    parser.add_argument("--chunks", type=numbers(10 ** 9), metavar="C,...",
                        help="items taken at a time (1; tiny 1,10,...,100000)")
    parser.add_argument("--modes", type=modes, metavar="M,...",
                        help="beside serial (gil,threads,processes; tiny "
                             "without gil)")
    parser.add_argument("--rounds", type=whole_number(1, MOST_ROUNDS),
                        metavar="N", help="measured (5; sleep 1)")
    parser.add_argument("--warmups", type=whole_number(0, MOST_ROUNDS),
                        metavar="N",
                        help="before them, not measured (1; sleep 0)")
    parser.add_argument("--data", type=whole_number(0, 100000), metavar="MIB",
                        default=64, help="what workers of memory inherit (64)")
    parser.add_argument("--timeline", metavar="FILE",
                        help="who did which item, when and where, as CSV")
    parser.add_argument("--csv", action="store_true",
                        help="rows for programs")
    args = parser.parse_args()
    _, n, rounds, warmups, workers, chunks, default = WORKS[args.work]
    args.n = n if args.n is None else args.n
    args.rounds = rounds if args.rounds is None else args.rounds
    args.warmups = warmups if args.warmups is None else args.warmups
    args.workers = args.workers or numbers(MOST_WORKERS)(workers)
    args.chunks = args.chunks or numbers(10 ** 9)(chunks)
    args.modes = args.modes or modes(default)
    return args


def main():
    args = options()
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    try:
        if args.work == "memory":
            measure_all_memory(args)
        else:
            Bench(args).measure_all()
    except Failed as failed:
        sys.exit(f"bench.py: {failed}")
    except OSError as error:
        sys.exit(f"bench.py: cannot write {error.filename or 'to stdout'}: "
                 f"{error.strerror}")


if __name__ == "__main__":
    with contextlib.suppress(KeyboardInterrupt):
        main()
