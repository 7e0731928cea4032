/* The other end of a socketpair: only the kernel knows. See sock_diag(7). */
#include "doctor_parts.h"

#include <linux/netlink.h>
#include <linux/rtnetlink.h>
#include <linux/sock_diag.h>
#include <linux/unix_diag.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static int ask(ino_t inode)
{
	struct {
		struct nlmsghdr head;
		struct unix_diag_req body;
	} question = {
		.head = { .nlmsg_len = sizeof question,
			  .nlmsg_type = SOCK_DIAG_BY_FAMILY,
			  .nlmsg_flags = NLM_F_REQUEST },
		.body = { .sdiag_family = AF_UNIX, .udiag_states = ~0U,
			  .udiag_ino = inode, .udiag_show = UDIAG_SHOW_PEER,
			  .udiag_cookie = { ~0U, ~0U } },
	};
	int fd = socket(AF_NETLINK, SOCK_DGRAM | SOCK_CLOEXEC,
			NETLINK_SOCK_DIAG);

	if (fd < 0 || send(fd, &question, sizeof question, 0) < 0) {
		if (fd >= 0)
			close(fd);
		return -1;
	}
	return fd;
}

/* The answer is a head, a body, and then attributes of which we want one. */
static ino_t peer_in(const struct nlmsghdr *head)
{
	const struct unix_diag_msg *body = NLMSG_DATA(head);
	const struct rtattr *a = (const struct rtattr *)(body + 1);
	int left = head->nlmsg_len - NLMSG_LENGTH(sizeof *body);
	uint32_t inode;

	for (; RTA_OK(a, left); a = RTA_NEXT(a, left)) {
		if (a->rta_type != UNIX_DIAG_PEER)
			continue;
		memcpy(&inode, RTA_DATA(a), sizeof inode);
		return inode;
	}
	return 0;
}

ino_t peer_of(ino_t inode)
{
	union {
		struct nlmsghdr head;
		char bytes[4096];
	} answer;
	ino_t peer = 0;
	ssize_t n;
	int fd = ask(inode);

	if (fd < 0)
		return 0;
	n = recv(fd, &answer, sizeof answer, 0);
	if (n > 0 && NLMSG_OK(&answer.head, n) &&
	    answer.head.nlmsg_type == SOCK_DIAG_BY_FAMILY)
		peer = peer_in(&answer.head);
	close(fd);
	return peer;
}
