/* style: a futex of its own on the thread's robust list, as the kernel wants it */
#include "lock.h"

#include <errno.h>
#include <linux/futex.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

/*
 * A futex word that the system knows of. The C library has told it where the
 * list of our robust mutexes is; we put ours into the same list. (The word
 * must be as far from the list entry as it is in the library's mutexes.)
 */
struct node {
	struct node *prev, *next;
};

enum { FAR = 32 };			/* bytes from the word to .next */

struct lock {
	_Atomic uint32_t word;
	char gap[FAR - sizeof(uint32_t) - sizeof(void *)];
	struct node node;
};

_Static_assert(offsetof(struct lock, node.next) == FAR, "layout");

static struct robust_list_head *head(void)
{
	struct robust_list_head *h = NULL;
	size_t size;

	syscall(SYS_get_robust_list, 0, &h, &size);
	return h;
}

#define ENTRY(l) ((struct robust_list *)(void *)&(l)->node.next)

static void barrier(void)
{
	atomic_signal_fence(memory_order_seq_cst);
}

/*
 * The library's list is doubly linked: entry->next points to the next one's
 * .next, entry->prev to the previous one's .next.
 */
static void **prev_of(void *entry)
{
	return (void **)((char *)entry - sizeof(void *));
}

static void *clean(void *entry)
{
	return (void *)((uintptr_t)entry & ~(uintptr_t)1);
}

static void insert(struct robust_list_head *h, struct lock *l)
{
	void *first = h->list.next;

	*(void **)&l->node.prev = (void *)&h->list;
	*(void **)&l->node.next = first;
	barrier();
	if (clean(first) != (void *)&h->list)
		*prev_of(clean(first)) = ENTRY(l);
	else
		*prev_of(&h->list) = ENTRY(l);
	h->list.next = ENTRY(l);
	barrier();
}

static void extract(struct robust_list_head *h, struct lock *l)
{
	void *next = (void *)l->node.next, *prev = (void *)l->node.prev;

	*prev_of(clean(next)) = prev;
	*(void **)clean(prev) = next;
	barrier();
	l->node.next = l->node.prev = NULL;
}

static struct timespec *until(double timeout, struct timespec *t)
{
	if (timeout < 0 || timeout > 1e9)
		return NULL;
	clock_gettime(CLOCK_MONOTONIC, t);
	t->tv_sec += (time_t)timeout;
	t->tv_nsec += (long)((timeout - (double)(time_t)timeout) * 1e9);
	if (t->tv_nsec >= 1000000000) {
		t->tv_nsec -= 1000000000;
		t->tv_sec += 1;
	}
	return t;
}

struct lock *lock_create(void)
{
	struct robust_list_head *h = head();
	struct lock *l;

	if (h == NULL || h->futex_offset != -FAR) {
		errno = ENOTSUP;
		return NULL;
	}
	l = mmap(NULL, sizeof *l, PROT_READ | PROT_WRITE,
		 MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	return l == MAP_FAILED ? NULL : l;
}

int lock_acquire(struct lock *l, double timeout)
{
	struct robust_list_head *h = head();
	struct timespec t, *end = until(timeout, &t);
	uint32_t me = (uint32_t)gettid(), more = 0, was, want;
	int result = 1;

	h->list_op_pending = ENTRY(l);
	barrier();
	for (;;) {
		was = atomic_load(&l->word);
		if ((was & FUTEX_TID_MASK) == 0) {
			/* WAITERS may be set too often, not too seldom. */
			want = me | (was & FUTEX_WAITERS) | more;
			if (!atomic_compare_exchange_strong(&l->word, &was,
							    want))
				continue;
			result = was & FUTEX_OWNER_DIED ? LOCK_OWNER_DIED : 0;
			insert(h, l);
			break;
		}
		if (timeout == 0)
			break;
		want = was | FUTEX_WAITERS;
		if (want != was &&
		    !atomic_compare_exchange_strong(&l->word, &was, want))
			continue;
		more = FUTEX_WAITERS;
		if (syscall(SYS_futex, &l->word, FUTEX_WAIT_BITSET, want, end,
			    NULL, FUTEX_BITSET_MATCH_ANY) < 0 &&
		    errno == ETIMEDOUT)
			break;
	}
	barrier();
	h->list_op_pending = NULL;
	return result;
}

int lock_release(struct lock *l)
{
	struct robust_list_head *h = head();

	if ((atomic_load(&l->word) & FUTEX_TID_MASK) != (uint32_t)gettid()) {
		errno = EPERM;
		return -1;
	}
	h->list_op_pending = ENTRY(l);
	barrier();
	extract(h, l);
	if (atomic_exchange(&l->word, 0) & FUTEX_WAITERS)
		syscall(SYS_futex, &l->word, FUTEX_WAKE, 1, NULL, NULL, 0);
	barrier();
	h->list_op_pending = NULL;
	return 0;
}

void lock_destroy(struct lock *l)
{
	munmap(l, sizeof *l);
}

struct value {
	struct lock *lock;
	volatile long *number;
};

struct value *value_create(long initial)
{
	struct value *v = malloc(sizeof *v);
	void *memory = MAP_FAILED;
	int why;

	if (v == NULL)
		return NULL;
	v->lock = lock_create();
	if (v->lock == NULL)
		goto failed;
	memory = mmap(NULL, sizeof(long), PROT_READ | PROT_WRITE,
		      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	if (memory == MAP_FAILED)
		goto failed;
	v->number = memory;
	*v->number = initial;
	return v;
failed:
	why = errno;
	if (v->lock != NULL)
		lock_destroy(v->lock);
	free(v);
	errno = why;
	return NULL;
}

int value_update(struct value *v, int (*fn)(long *v, void *arg), void *arg,
		 long *now)
{
	bool cancelled = false;
	long mine;

	if (lock_acquire(v->lock, -1) < 0)
		return -1;
	mine = *v->number;
	if (fn != NULL) {
		if (fn(&mine, arg) == 0)
			*v->number = mine;
		else
			cancelled = true;
	}
	if (now != NULL)
		*now = *v->number;
	if (lock_release(v->lock) < 0)
		return -1;
	if (!cancelled)
		return 0;
	errno = ECANCELED;
	return -1;
}

void value_destroy(struct value *v)
{
	lock_destroy(v->lock);
	munmap((void *)v->number, sizeof(long));
	free(v);
}

static int add_one(long *number, void *unused)
{
	(void)unused;
	*number += 1;
	return 0;
}

int counter_worker(struct value *v, long increments)
{
	if (increments < 0) {
		errno = EINVAL;
		return -1;
	}
	for (long i = 0; i < increments; i++)
		if (value_update(v, add_one, NULL, NULL) != 0)
			return -1;
	return 0;
}
