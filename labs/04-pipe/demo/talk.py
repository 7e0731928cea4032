"""The conversation of duplex.py and fifo.py: talk.h in Python.

One side asks and the other one answers:

    "ping 0"  ->        each of them is answered
              <-  "pong 0"
    ""  ->              an empty message: no more questions
    (filler)  ->        with --size: any bytes, and from now on
              <-  (filler)      everything comes back as it is
    end of file
"""
import argparse
import sys
import threading
import zlib

PERIOD = 251
MOST_QUESTIONS = 1000000
MESSAGE_MAX = 16 << 20


class Trouble(Exception):
    """Something that ends the program with a message."""


def complain(text):
    print(f"{sys.argv[0].rpartition('/')[2]}: {text}", file=sys.stderr)


def tell(line):
    """A line, whole: two processes tell at the same time."""
    sys.stdout.write(line + "\n")
    sys.stdout.flush()


def hear(connection):
    try:
        return connection.recv_bytes()
    except EOFError:
        raise Trouble("the other side has closed in the middle of the talk") \
            from None


def make_filler(size):
    """size + PERIOD bytes: 0 1 2 ... 250 0 1 ..."""
    return bytes(range(PERIOD)) * (size // PERIOD + 2)


def take_filler(connection, wanted, checksum):
    message = hear(connection)
    if message != wanted:
        raise Trouble("a message is not what was sent")
    return zlib.adler32(message, checksum)


def tell_checksum(count, size, checksum):
    tell(f"messages={count} bytes={size} checksum={checksum:08x}")


#region: exchange
def exchange_filler(connection, count, size):
    """The next message is sent before the last one is taken back. A send of
    Python's only sends, so while we receive a thread has to do it."""
    filler, checksum = make_filler(size), 1
    messages = [filler[i % PERIOD:i % PERIOD + size]
                for i in range(min(count, PERIOD))]
    for i in range(count + 1):
        if i < count:
            sender = threading.Thread(target=connection.send_bytes,
                                      args=(messages[i % PERIOD],))
            sender.start()
        if i > 0:
            checksum = take_filler(connection, messages[(i - 1) % PERIOD],
                                   checksum)
        sender.join()
    tell_checksum(count, size, checksum)
#endregion


#region: ask
def ask(connection, me, count, size):
    for i in range(count):
        tell(f"{me} sent: ping {i}")
        connection.send_bytes(b"ping %d" % i)
        tell(f"{me} received: {hear(connection).decode()}")
    connection.send_bytes(b"")
    if size > 0:
        exchange_filler(connection, count, size)
#endregion


#region: answer
def answer(connection, me):
    while message := hear(connection):
        tell(f"{me} received: {message.decode()}")
        connection.send_bytes(message.replace(b"ping", b"pong"))
    echo(connection)
    tell(f"{me}: end of file")
#endregion


#region: echo
def echo(connection):
    while True:
        try:
            message = connection.recv_bytes()
        except EOFError:
            return
        connection.send_bytes(message)
#endregion


def whole_number(low, high):
    def convert(text):
        n = int(text)
        if not low <= n <= high:
            raise ValueError(text)
        return n
    convert.__name__ = f"whole number from {low} to {high}"
    return convert


def options():
    """What both programs understand; they add their own."""
    parser = argparse.ArgumentParser(allow_abbrev=False)
    parser.add_argument("--count", default=3, metavar="N",
                        type=whole_number(0, MOST_QUESTIONS),
                        help="so many messages (3)")
    parser.add_argument("--size", default=0, metavar="N",
                        type=whole_number(0, MESSAGE_MAX),
                        help="then as many of N bytes (0: none)")
    return parser
