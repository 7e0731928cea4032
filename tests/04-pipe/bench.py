"""Lab 04: what a message costs, there and back, and how many bytes go through."""
from figures import BUILT, PYTHON, Aim, Figure, Run

WAYS = BUILT / "04-pipe/bench/bench_ways"
PYTHON_SIDE = "tests/04-pipe/bench_python.py"

OURS = "C connection"
OURS_PIPE = "C connection, one way"
STREAM = "C stream sockets, raw"
PIPES = "C pipes, raw"
PYTHONS = "Python Pipe"
MEMORY = "C shared memory, looks first"

IN_C = {
    "ours": OURS,
    "ours_pipe": OURS_PIPE,
    "ours_names": "C connection, named pipes",
    "stream": STREAM,
    "large_stream": "C stream sockets, raw, 1 MiB room",
    "packets": "C SEQPACKET, raw",
    "pipes": PIPES,
    "large_pipes": "C pipes, raw, 1 MiB room",
    "ring": MEMORY,
    "sleeping_ring": "C shared memory, sleeps at once",
}
IN_PYTHON = {
    "pipe": PYTHONS,
    "simplex": "Python Pipe, one way",
    "objects": "Python Pipe, send and recv",
}


def figure(what, mode, cores, size, messages, keys, python_keys):
    """Python gets fewer messages where it takes longer for them."""
    in_c = {key: IN_C[key] for key in keys}
    made = Figure(what, OURS, [
        Run([WAYS, mode, cores, size, messages, *keys], in_c),
        *(Run([PYTHON, PYTHON_SIDE, mode, cores, size,
               max(messages // 2, 20), key], {key: IN_PYTHON[key]})
          for key in python_keys)])
    made.aims = [Aim(OURS, STREAM, at_most=1.15), Aim(PYTHONS, OURS, at_least=1)]
    return made


def there_and_back(what, cores, size, messages, keys):
    return figure(f"{what} there and back{', on one core' * (cores == 1)}",
                  "there_and_back", cores, size, messages, keys, ["pipe"])


def one_way(what, size, messages, keys):
    made = figure(f"{what}, one way", "one_way", 2, size, messages, keys,
                  ["pipe", "simplex"])
    made.aims.append(Aim(OURS_PIPE, PIPES, at_most=1.15))
    return made


SMALL = ["ours", "ours_names", "stream", "packets", "pipes", "ring",
         "sleeping_ring"]
MEDIUM = ["ours", "ours_pipe", "stream", "large_stream", "packets", "pipes",
          "large_pipes", "ring"]
LARGE = [key for key in MEDIUM if key != "packets"]

small = there_and_back("64 bytes", 2, 64, 3000, SMALL)
small.notes = (
    "A wake-up across cores costs several times one on the same core, and the "
    "system chooses: figures of one way differ by more than the ways do. The "
    "figure for one core tells them apart.")
one_core = there_and_back("64 bytes", 1, 64, 10000, SMALL)
one_core.runs.append(Run([PYTHON, PYTHON_SIDE, "there_and_back", 1, 64, 5000,
                          "objects"], {"objects": IN_PYTHON["objects"]}))

stream = one_way("64 bytes", 64, 50000, MEDIUM)
stream.aims = [Aim(PYTHONS, OURS, at_least=1)]
stream.notes = (
    "No aim against the raw ones: their receiver is slow, since it reads each "
    "message by itself, and so it rarely has to be woken. On a pipe our sender "
    "makes two system calls more for each message, because of SIGPIPE.")

large = [
    one_way("4 KiB", 4096, 20000, MEDIUM),
    one_way("64 KiB", 65536, 3000, MEDIUM),
    one_way("1 MiB", 1 << 20, 300, LARGE),
    one_way("16 MiB", 16 << 20, 20, LARGE),
]
back = there_and_back("1 MiB", 2, 1 << 20, 100,
                      [key for key in LARGE if key != "ours_pipe"])

figures = [small, one_core, back, stream, *large]
