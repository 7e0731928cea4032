#!/usr/bin/env python3
"""Two programs that are not related send each other messages.

The twin of fifo.c: the same options, the same lines. The other side may as
well be fifo.c: the names are the same, and a message looks the same on its way.
"""
import errno
import os
import stat
import sys
from multiprocessing.connection import Connection

import talk
from talk import Trouble, complain, tell


class NamedPipes:
    """A connection over two named pipes: one Connection for each direction."""

    def __init__(self, rfd, wfd):
        os.set_blocking(rfd, True)
        os.set_blocking(wfd, True)
        self.reader = Connection(rfd, writable=False)
        self.writer = Connection(wfd, readable=False)
        self.recv_bytes = self.reader.recv_bytes
        self.send_bytes = self.writer.send_bytes

    def close(self):
        self.reader.close()
        self.writer.close()


#region: listen
def listen(path):
    """connection.c tells why in this order."""
    back, hidden = path + ".back", path + ".new"
    os.mkfifo(back, 0o600)
    try:
        os.mkfifo(hidden, 0o600)
        try:
            rfd = os.open(hidden, os.O_RDONLY | os.O_NONBLOCK)
            os.link(hidden, path)
        finally:
            os.unlink(hidden)
        wfd = os.open(back, os.O_WRONLY)
    finally:
        os.unlink(back)
    return NamedPipes(rfd, wfd)
#endregion


#region: connect
def connect(path):
    try:
        wfd = os.open(path, os.O_WRONLY | os.O_NONBLOCK)
        if not stat.S_ISFIFO(os.fstat(wfd).st_mode) or \
                not os.path.exists(path + ".back"):
            raise FileNotFoundError
        os.unlink(path)
    except OSError as error:
        if error.errno in (None, errno.ENOENT, errno.ENXIO):
            raise Trouble(f"nobody waits at {path}") from error
        raise Trouble(f"cannot connect to {path}: {error.strerror}") from error
    return NamedPipes(os.open(path + ".back", os.O_RDONLY), wfd)
#endregion


def main():
    parser = talk.options()
    parser.add_argument("--serve", action="store_true",
                        help="wait for the other side, and answer")
    parser.add_argument("path", metavar="PATH")
    args = parser.parse_args()
    try:
        if args.serve:
            tell(f"Server: waiting at {args.path}")
            try:
                connection = listen(args.path)
            except OSError as error:
                raise Trouble(f"cannot wait at {args.path}: "
                              f"{error.strerror}") from error
            talk.answer(connection, "Server")
        else:
            connection = connect(args.path)
            talk.ask(connection, "Client", args.count, args.size)
        connection.close()
    except (OSError, Trouble) as error:
        complain(error)
        sys.exit(1)


if __name__ == "__main__":
    main()
