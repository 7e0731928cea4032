#!/usr/bin/env python3
"""A parent and its child send each other messages.

The twin of duplex.c: the same options, the same lines.
"""
import multiprocessing
import sys

import talk
from talk import Trouble, complain, tell

fork = multiprocessing.get_context("fork")


def hear_the_end(connection):
    try:
        connection.recv_bytes()
    except EOFError:
        tell("Parent: end of file")
    else:
        raise Trouble("the end of file did not come")


def run(role, *args):
    """A role of the child, with one line where it fails."""
    try:
        role(*args)
    except (OSError, Trouble) as error:
        complain(error)
        sys.exit(1)


def join(child, talk_with_it):
    """Collect the child; where something goes wrong it may never end."""
    well = False
    try:
        talk_with_it()
        well = True
    except (OSError, Trouble) as error:
        complain(error)
        child.terminate()
    child.join()
    if child.exitcode < 0 and (well or child.exitcode != -15):
        complain(f"the child was killed by signal {-child.exitcode}")
    if not well or child.exitcode != 0:
        sys.exit(1)


#region: both_ways
def answer(theirs, mine, alive):
    mine.close()
    alive.close()
    talk.answer(theirs, "Child")


def talk_both_ways(count, size):
    mine, theirs = fork.Pipe()
    alive, life = fork.Pipe(duplex=False)
    child = fork.Process(target=run, args=(answer, theirs, mine, alive))
    child.start()
    theirs.close()
    life.close()

    def converse():
        talk.ask(mine, "Parent", count, size)
        mine.close()
        hear_the_end(alive)
    join(child, converse)
#endregion


#region: worker
def send_all(sender, receiver, count, size):
    receiver.close()
    for i in range(count):
        tell(f"Child sent: ping {i}")
        sender.send_bytes(b"ping %d" % i)
    sender.send_bytes(b"")
    filler = talk.make_filler(size)
    for i in range(count if size > 0 else 0):
        sender.send_bytes(filler, i % talk.PERIOD, size)
#endregion


def receive_all(receiver, count, size):
    while message := talk.hear(receiver):
        tell(f"Parent received: {message.decode()}")
    if size > 0:
        filler, checksum = talk.make_filler(size), 1
        for i in range(count):
            begin = i % talk.PERIOD
            checksum = talk.take_filler(receiver, filler[begin:begin + size],
                                        checksum)
        talk.tell_checksum(count, size, checksum)
    hear_the_end(receiver)


def talk_one_way(count, size):
    receiver, sender = fork.Pipe(duplex=False)
    child = fork.Process(target=run,
                         args=(send_all, sender, receiver, count, size))
    child.start()
    sender.close()
    join(child, lambda: receive_all(receiver, count, size))


if __name__ == "__main__":
    parser = talk.options()
    parser.add_argument("--simplex", action="store_true",
                        help="one way: the child only sends")
    args = parser.parse_args()
    if args.simplex:
        talk_one_way(args.count, args.size)
    else:
        talk_both_ways(args.count, args.size)
    tell("All processes have completed")
