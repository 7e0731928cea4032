/*
 * talk - the conversation of the programs duplex and fifo
 *
 * One side asks and the other one answers:
 *
 *	"ping 0"  ->		each of them is answered
 *		<-  "pong 0"
 *	""  ->			an empty message: no more questions
 *	(filler)  ->		with --size: any bytes, and from now on
 *		<-  (filler)	everything comes back as it is
 *	end of file
 *
 * Included by both, and given in this form because each program is one file.
 */
#ifndef TALK_H
#define TALK_H

#include "connection.h"

#include <errno.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "fl.h"

enum { TEXT_MAX = 31, PERIOD = 251, MOST_QUESTIONS = 1000000 };

/* What is asked for on the command line. */
struct talk {
	long count;		/* questions, and messages of filler */
	long size;		/* of the filler; 0 is none */
	unsigned char *filler;	/* size + PERIOD bytes: 0 1 2 ... 250 0 1 ... */
	unsigned char *returned;
	uint32_t checksum;	/* of all filler that has arrived */
};

/*
 * Whoever is started without stdin, stdout or stderr gets these numbers for
 * what it opens: and what it prints goes to the other side as a message.
 */
static inline void keep_low_numbers(void)
{
	int fd;

	do
		fd = open("/dev/null", O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && fd <= STDERR_FILENO);
	close(fd);
}

/* Say why the result n of connection_recv is no message. */
static inline bool no_message(ssize_t n)
{
	if (n == CONNECTION_EOF)
		fl_warn("the other side has closed in the middle of the talk");
	else
		fl_warn("cannot receive: %s", strerror(errno));
	return false;
}

static inline bool say(struct connection *c, const void *message, size_t n)
{
	if (connection_send(c, message, n) == 0)
		return true;
	fl_warn("cannot send: %s", strerror(errno));
	return false;
}

//region: hear
/* The next message as a string. The terminator does not travel with it. */
static inline ssize_t hear(struct connection *c, char text[TEXT_MAX + 1])
{
	ssize_t n = connection_recv(c, text, TEXT_MAX);

	text[n > 0 ? n : 0] = '\0';
	return n;
}
//endregion

/* ---- filler ------------------------------------------------------------ */

/* Message i begins with byte i of the filler: no two neighbours are alike. */
static inline const unsigned char *filler(const struct talk *t, long i)
{
	return t->filler + i % PERIOD;
}

static inline void make_filler(struct talk *t)
{
	t->checksum = 1;
	t->filler = malloc((size_t)t->size + PERIOD);
	t->returned = malloc((size_t)t->size + 1);
	if (t->filler == NULL || t->returned == NULL)
		fl_die("no memory for messages of %ld bytes", t->size);
	for (long i = 0; i < t->size + PERIOD; i++)
		t->filler[i] = (unsigned char)(i % PERIOD);
}

static inline void free_filler(struct talk *t)
{
	free(t->filler);
	free(t->returned);
}

/* Adler-32, as zlib has it: all bytes so far, and their order. */
static inline void add_to_checksum(struct talk *t, const unsigned char *bytes)
{
	uint32_t a = t->checksum & 0xffff, b = t->checksum >> 16;

	for (long i = 0; i < t->size; i++) {
		a = (a + bytes[i]) % 65521;
		b = (b + a) % 65521;
	}
	t->checksum = b << 16 | a;
}

/* Receive message i of the filler, and see whether that is what comes. */
static inline bool take_filler(struct connection *c, struct talk *t, long i)
{
	ssize_t n = connection_recv(c, t->returned, (size_t)t->size);

	if (n < 0)
		return no_message(n);
	if (n != t->size || memcmp(t->returned, filler(t, i), (size_t)n) != 0) {
		fl_warn("message %ld is not what was sent", i);
		return false;
	}
	add_to_checksum(t, t->returned);
	return true;
}

static inline void print_checksum(const struct talk *t)
{
	fl_line("messages=%ld bytes=%ld checksum=%08lx", t->count, t->size,
		(unsigned long)t->checksum);
}

//region: exchange
/*
 * The next message is sent before the last one is taken back. So both sides
 * talk at the same time, and with a long message neither would listen.
 */
static inline bool exchange_filler(struct connection *c, struct talk *t)
{
	for (long i = 0; i <= t->count; i++) {
		if (i < t->count && !say(c, filler(t, i), (size_t)t->size))
			return false;
		if (i > 0 && !take_filler(c, t, i - 1))
			return false;
	}
	print_checksum(t);
	return true;
}
//endregion

/* ---- both sides -------------------------------------------------------- */

//region: ask
static inline bool ask(struct connection *c, struct talk *t, const char *me)
{
	char text[TEXT_MAX + 1];
	ssize_t n;

	for (long i = 0; i < t->count; i++) {
		snprintf(text, sizeof text, "ping %ld", i);
		fl_line("%s sent: %s", me, text);
		if (!say(c, text, strlen(text)))
			return false;
		n = hear(c, text);
		if (n < 0)
			return no_message(n);
		fl_line("%s received: %s", me, text);
	}
	return say(c, "", 0) && (t->size == 0 || exchange_filler(c, t));
}
//endregion

//region: answer
static inline bool answer(struct connection *c, const char *me)
{
	char text[TEXT_MAX + 1];
	ssize_t n;

	while ((n = hear(c, text)) > 0) {
		fl_line("%s received: %s", me, text);
		if (strncmp(text, "ping", 4) == 0)
			text[1] = 'o';
		if (!say(c, text, strlen(text)))
			return false;
	}
	if (n < 0)
		return no_message(n);
	if (connection_echo(c) != 0) {
		fl_warn("cannot send back what comes: %s", strerror(errno));
		return false;
	}
	fl_line("%s: end of file", me);
	return true;
}
//endregion

#endif
