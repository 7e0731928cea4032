/* Locks on files. See fcntl(2), and /proc/locks in proc(5). */
#include "doctor_parts.h"

#include <string.h>

/*
 *	7: POSIX  ADVISORY  WRITE 4711 00:1c:567 0 EOF
 *	7: -> POSIX  ADVISORY  WRITE 4712 00:1c:567 0 EOF
 *
 * 4712 waits for what 4711 holds.
 */
void wait_for_file_lock(struct scene *s, struct thread *t)
{
	struct end *e = end_of(s, t->of, (int)t->a[0]);
	char line[256], kind[16];
	int n, holder = 0, last = 0, last_n = -1;
	FILE *f = fopen("/proc/locks", "re");

	t->about = FILE_LOCK;
	while (f != NULL && holder == 0 && fgets(line, sizeof line, f)) {
		int pid = 0;
		bool waits = strstr(line, "->") != NULL;

		if (sscanf(line, waits ? "%d: -> %15s %*s %*s %d"
				       : "%d: %15s %*s %*s %d",
			   &n, kind, &pid) != 3)
			continue;
		if (!waits)
			last = pid, last_n = n;
		else if (pid == t->of->pid && n == last_n)
			holder = last;
	}
	if (f != NULL)
		fclose(f);
	snprintf(t->object, sizeof t->object, "%s", e ? e->name : "a file");
	tell(t, "the lock on %s", t->object);
	if (holder > 0)
		tell_holder(s, t, holder, NULL);
	else
		tell(t, "; the system does not tell who holds it");
}
