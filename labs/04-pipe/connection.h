/*
 * connection - whole messages between two processes: Python's
 * multiprocessing.Pipe and the Connection objects it makes
 *
 *	struct connection mine, theirs;
 *	connection_pair(&mine, &theirs, true);
 *	if (fork() == 0) {
 *		connection_close(&mine);	or its end never comes
 *		n = connection_recv(&theirs, text, sizeof text);
 *		...
 *	}
 *	connection_close(&theirs);		the same here
 *	connection_send(&mine, "ping", 4);
 *
 * A pipe carries bytes and knows no messages: where one message ends and the
 * next begins is what this library adds. Any bytes are a message, none at
 * all too. How a message looks on its way is its own business.
 *
 * A connection has one end in each of two processes, and one process (and
 * thread) at a time uses an end. Fork before the first message. The end of
 * file comes when nobody has the other end any more: each process closes
 * what it does not use, and the library cannot know what that is.
 *
 * No function here prints, ends its caller, kills it by SIGPIPE, or leaves a
 * signal handler or a mask behind. A signal that arrives does not end a wait
 * and loses no byte.
 *
 * See: socketpair(2), pipe(7), fifo(7), unix(7)
 */
#ifndef CONNECTION_H
#define CONNECTION_H

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#define CONNECTION_EOF (-2)		/* Python: EOFError */
#define CONNECTION_MAX (16u << 20)	/* bytes of the longest message */

/*
 * rfd:    what it receives from; -1 when closed, or when it only sends
 * wfd:    what it sends to; -1 when closed, or when it only receives. May be
 *         the same descriptor as rfd.
 * inbox:  private: what was read and not yet received, if the implementation
 *         keeps such a thing; NULL when there is none
 * The caller provides the memory; connection_pair and the others that make a
 * connection fill it in, whatever it held.
 */
struct connection {
	int rfd, wfd;
	void *inbox;
};

/*
 * connection_pair - make the two ends of a connection
 *
 * duplex:  true: both ends send and receive. false: a only receives, b only
 *          sends.
 * Returns 0, or -1 with EMFILE, ENFILE or ENOMEM; then nothing is left open.
 * Python: a, b = multiprocessing.Pipe(duplex)     See: socketpair(2), pipe(2)
 */
int connection_pair(struct connection *a, struct connection *b, bool duplex);

/*
 * connection_listen, connection_connect - the same between two programs that
 * are not related, over named pipes
 *
 * path:  of one of the named pipes; whatever else is needed is beside it and
 *        its name begins with path
 * listen makes the names, waits until a program has connected, and removes
 * the names again: once it returns, nothing is left in the file system. It
 * never takes a name that is there already. connect waits until the other
 * side is there. The result is a connection that both sides send over and
 * receive from.
 * Returns 0, or -1 with EEXIST (listen: there is something of that name),
 * ENOENT (connect: nobody listens there) or what open(2) says; then nothing
 * is left open, nor any name that was made here.
 * Python: multiprocessing.connection.Listener, Client     See: fifo(7)
 */
int connection_listen(struct connection *c, const char *path);
int connection_connect(struct connection *c, const char *path);

/*
 * connection_send - send one message
 *
 * n:  0 to CONNECTION_MAX bytes
 * Waits while the way is full. Both sides may send at the same time, however
 * long their messages are: of a duplex connection, what arrives while we
 * wait to send is taken in, up to CONNECTION_MAX bytes and a little, and
 * received later.
 * Returns 0 when all of it is on its way, or -1 with EPIPE or ECONNRESET
 * (nobody is left to receive it), EMSGSIZE (longer than CONNECTION_MAX:
 * nothing was sent), EBADF (closed, or an end that only receives) or ENOMEM.
 * Python: Connection.send_bytes(buf)     See: write(2), MSG_NOSIGNAL
 */
int connection_send(struct connection *c, const void *buf, size_t n);

/*
 * connection_recv - wait for the next message
 *
 * buf:  room for max bytes. What lies behind the message is not touched.
 * Returns the length of the message, 0 for an empty one;
 * CONNECTION_EOF when the other side has closed and everything it sent has
 * been received; or -1 with EMSGSIZE (the message is longer than max: it is
 * dropped as a whole and the next call gets the next one), EPROTO (the other
 * side went away in the middle of a message, or what arrived is none), EBADF
 * (closed, or an end that only sends). A side that goes away with messages
 * of ours unread may also show as ECONNRESET.
 * Python: Connection.recv_bytes(), EOFError
 */
ssize_t connection_recv(struct connection *c, void *buf, size_t max);

/*
 * connection_poll - is there something to receive?
 *
 * timeout:  seconds to wait for it; negative waits for ever, 0 does not wait
 * Returns 1 when a message, or a part of one, or the end of file is there, 0
 * when the time ran out, or -1 with EBADF.
 * Python: Connection.poll(timeout)     See: poll(2)
 */
int connection_poll(struct connection *c, double timeout);

/*
 * connection_close - give up this process's copy of an end
 *
 * Its descriptors are closed and set to -1. Closing again is harmless: it
 * touches no descriptor. Returns 0, or -1 with errno.
 * Python: Connection.close()
 */
int connection_close(struct connection *c);

/*
 * connection_echo - send every message back, until the end of file
 *
 * What the child of the program `duplex` does with its end when there are no
 * more questions: any bytes, any length up to CONNECTION_MAX. Does not close c.
 * Returns 0 at the end of file, or -1 with the error of what failed.
 */
int connection_echo(struct connection *c);

#endif
