/* Message queues of System V, tried like locks. */
#include "calls.h"

#include <errno.h>
#include <sys/msg.h>

static struct place place_of_queue(int id)
{
	return (struct place){ UINT32_MAX - 2, (uint64_t)id };
}

/* It has failed for want of room, or of a message: false when that is all. */
static bool again(int id, int flags, int nothing, enum wake *how,
		  const char *call, const void *pc)
{
	if (errno != nothing || (flags & IPC_NOWAIT))
		return false;
	if (*how == INTERRUPTED)
		return errno = EINTR, false;
	*how = wait_here(call, place_of_queue(id), FOREVER, pc);
	return true;
}

int explored_msgsnd(int id, const void *m, size_t n, int flags)
{
	enum wake how = WOKEN;

	if (!exploring())
		return msgsnd(id, m, n, flags);
	point(place_of_queue(id), HERE);
	release_to(place_of_queue(id));
	while (msgsnd(id, m, n, flags | IPC_NOWAIT) != 0)
		if (!again(id, flags, EAGAIN, &how, "msgsnd", HERE))
			return -1;
	note(WAKES, "msgsnd", place_of_queue(id), HERE);
	wake_all_waits();
	return 0;
}

ssize_t explored_msgrcv(int id, void *m, size_t n, long type, int flags)
{
	enum wake how = WOKEN;
	ssize_t got;

	if (!exploring())
		return msgrcv(id, m, n, type, flags);
	point(place_of_queue(id), HERE);
	while ((got = msgrcv(id, m, n, type, flags | IPC_NOWAIT)) < 0)
		if (!again(id, flags, ENOMSG, &how, "msgrcv", HERE))
			return -1;
	acquire_from(place_of_queue(id));
	note(CALLS, "msgrcv", place_of_queue(id), HERE)->value = (uint64_t)got;
	wake_all_waits();
	return got;
}

int explored_msgctl(int id, int command, struct msqid_ds *buf)
{
	int r;

	if (!exploring() || command != IPC_RMID)
		return msgctl(id, command, buf);
	point(place_of_queue(id), HERE);
	r = msgctl(id, command, buf);
	note(WAKES, "msgctl", place_of_queue(id), HERE);
	wake_all_waits();
	return r;
}
