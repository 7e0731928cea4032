/* A /dev/shm of one's own, which nobody outside sees and which goes with us. */
#include "internal.h"

#include <fcntl.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mount.h>
#include <unistd.h>

static bool write_file(const char *path, const char *s)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	bool ok = fd >= 0 && write(fd, s, strlen(s)) == (ssize_t)strlen(s);

	if (fd >= 0)
		close(fd);
	return ok;
}

static bool map_id(const char *path, unsigned id)
{
	char line[64];

	snprintf(line, sizeof line, "%u %u 1", id, id);
	return write_file(path, line);
}

/* Who is not root becomes it in a user namespace, and stays who they are. */
static bool own_namespaces(int flags)
{
	uid_t uid = getuid();
	gid_t gid = getgid();

	if (unshare(flags) == 0)
		return true;
	if (unshare(flags | CLONE_NEWUSER) != 0)
		return false;
	write_file("/proc/self/setgroups", "deny");
	return map_id("/proc/self/uid_map", uid) &&
	       map_id("/proc/self/gid_map", gid);
}

/* What we mount must not appear outside. In a chroot "/" is no mount, but
 * /dev/shm may be one. */
static bool keep_mounts_private(void)
{
	return mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 ||
	       mount(NULL, "/dev/shm", NULL, MS_PRIVATE, NULL) == 0;
}

bool own_shm(int more_namespaces, const char *options)
{
	return own_namespaces(CLONE_NEWNS | more_namespaces) &&
	       keep_mounts_private() &&
	       mount("shm", "/dev/shm", "tmpfs", MS_NOSUID | MS_NODEV,
		     options) == 0;
}
