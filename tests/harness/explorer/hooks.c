/*
 * What the compiler calls before each access of a file that it compiled with
 * -fsanitize=thread. The names and the memory orders are fixed by the
 * compilers; gcc and clang call the same ones.
 */
#include "arena.h"

#include <errno.h>
#include <string.h>

void __tsan_init(void);
void __tsan_init(void)
{
}

void __tsan_func_entry(void *pc);
void __tsan_func_entry(void *pc)
{
	(void)pc;
}

void __tsan_func_exit(void);
void __tsan_func_exit(void)
{
}

/* ---- plain accesses ---------------------------------------------------- */

/* A write is noted before it is done: what was written is seen afterwards. */
static void plain(const volatile void *at, size_t size, bool writes,
		    const void *pc)
{
	int before = errno;

	if (exploring())
		access_memory(at, size, writes ? WRITE : READ, pc);
	errno = before;
}

#define PLAIN(name, size, writes)					\
	void __tsan_##name(void *at);					\
	void __tsan_##name(void *at) { plain(at, size, writes, HERE); }
#define SIZED(size)							\
	PLAIN(read##size, size, false)					\
	PLAIN(write##size, size, true)					\
	PLAIN(unaligned_read##size, size, false)			\
	PLAIN(unaligned_write##size, size, true)			\
	PLAIN(volatile_read##size, size, false)				\
	PLAIN(volatile_write##size, size, true)				\
	PLAIN(unaligned_volatile_read##size, size, false)		\
	PLAIN(unaligned_volatile_write##size, size, true)
#define READ_THEN_WRITE(size)						\
	void __tsan_read_write##size(void *at);				\
	void __tsan_read_write##size(void *at)				\
	{								\
		plain(at, size, false, HERE);				\
		plain(at, size, true, HERE);				\
	}								\
	void __tsan_unaligned_read_write##size(void *at);		\
	void __tsan_unaligned_read_write##size(void *at)		\
	{								\
		plain(at, size, false, HERE);				\
		plain(at, size, true, HERE);				\
	}

SIZED(1) SIZED(2) SIZED(4) SIZED(8) SIZED(16)
READ_THEN_WRITE(1) READ_THEN_WRITE(2) READ_THEN_WRITE(4) READ_THEN_WRITE(8)
READ_THEN_WRITE(16)

void __tsan_read_range(void *at, size_t size);
void __tsan_read_range(void *at, size_t size)
{
	plain(at, size, false, HERE);
}

void __tsan_write_range(void *at, size_t size);
void __tsan_write_range(void *at, size_t size)
{
	plain(at, size, true, HERE);
}

void __tsan_vptr_update(void **at, void *value);
void __tsan_vptr_update(void **at, void *value)
{
	(void)value;
	plain(at, sizeof *at, true, HERE);
}

/* ---- blocks of memory: clang's names, and libc's under ours ------------ */

static void *copied(void *to, const void *from, size_t n, const void *pc)
{
	plain(from, n, false, pc);
	plain(to, n, true, pc);
	return memmove(to, from, n);
}

static void *filled(void *to, int byte, size_t n, const void *pc)
{
	plain(to, n, true, pc);
	return memset(to, byte, n);
}

#define COPIES(name)							\
	void *name(void *to, const void *from, size_t n);		\
	void *name(void *to, const void *from, size_t n)		\
	{								\
		return copied(to, from, n, HERE);			\
	}
#define FILLS(name)							\
	void *name(void *to, int byte, size_t n);			\
	void *name(void *to, int byte, size_t n)			\
	{								\
		return filled(to, byte, n, HERE);			\
	}

COPIES(__tsan_memcpy) COPIES(__tsan_memmove) FILLS(__tsan_memset)

void *explored_memcpy(void *to, const void *from, size_t n);
void *explored_memcpy(void *to, const void *from, size_t n)
{
	return copied(to, from, n, HERE);
}

void *explored_memmove(void *to, const void *from, size_t n);
void *explored_memmove(void *to, const void *from, size_t n)
{
	return copied(to, from, n, HERE);
}

void *explored_memset(void *to, int byte, size_t n);
void *explored_memset(void *to, int byte, size_t n)
{
	return filled(to, byte, n, HERE);
}

/* ---- atomics ----------------------------------------------------------- */

static bool acquires(int order)
{
	return order != __ATOMIC_RELAXED && order != __ATOMIC_RELEASE;
}

static bool releases(int order)
{
	return order == __ATOMIC_RELEASE || order == __ATOMIC_ACQ_REL ||
	       order == __ATOMIC_SEQ_CST;
}

/*
 * Relaxed accesses order nothing by themselves, but a fence makes up for it:
 * what was read before an acquire fence counts after it; after a release
 * fence each store counts as a release. The second is more than the standard
 * promises in rare cases: no right program is blamed.
 */
static __thread bool fenced;

static void before_atomic(const volatile void *at, size_t size, bool writes,
			  const void *pc)
{
	access_memory(at, size, writes ? ATOMIC_WRITE : ATOMIC_READ, pc);
}

static void after_read(const volatile void *at, int order)
{
	if (acquires(order))
		acquire_from(place_of(at));
	else
		join_clock(&self()->relaxed, &sync_at(place_of(at))->clock);
}

static void after_write(const volatile void *at, int order)
{
	if (releases(order) || fenced)
		release_to(place_of(at));
}

void __tsan_atomic_thread_fence(int order);
void __tsan_atomic_thread_fence(int order)
{
	__atomic_thread_fence(__ATOMIC_SEQ_CST);
	if (!exploring())
		return;
	if (acquires(order))
		join_clock(&self()->clock, &self()->relaxed);
	if (releases(order))
		fenced = true;
}

void __tsan_atomic_signal_fence(int order);
void __tsan_atomic_signal_fence(int order)
{
	(void)order;
}

/* The operation as such is done between two notes; only the turn makes it
 * atomic towards other tasks, and the operation towards everything else. */
#define AROUND(at, size, writes, order, pc, operation) do {		\
	int before_ = errno;						\
	bool on_ = exploring();						\
									\
	if (on_)							\
		before_atomic(at, size, writes, pc);			\
	operation;							\
	if (on_) {							\
		after_read(at, order);					\
		if (writes)						\
			after_write(at, order);				\
	}								\
	errno = before_;						\
} while (0)

#define FETCH(bits, type, name, builtin)				\
	type __tsan_atomic##bits##_##name(volatile type *at, type v, int o);\
	type __tsan_atomic##bits##_##name(volatile type *at, type v, int o)\
	{								\
		type old;						\
									\
		AROUND(at, sizeof v, true, o, HERE,			\
		       old = builtin(at, v, __ATOMIC_SEQ_CST));		\
		return old;						\
	}

#define EXCHANGE(bits, type, name)					\
	int __tsan_atomic##bits##_##name(volatile type *at,		\
		type *expected, type v, int o, int o2);			\
	int __tsan_atomic##bits##_##name(volatile type *at,		\
		type *expected, type v, int o, int o2)			\
	{								\
		bool done, writes = true;				\
									\
		(void)o2;						\
		AROUND(at, sizeof v, writes, o, HERE,			\
		       writes = done = __atomic_compare_exchange_n(at,	\
				expected, v, false, __ATOMIC_SEQ_CST,	\
				__ATOMIC_SEQ_CST));			\
		return done;						\
	}

#define ATOMIC(bits, type)						\
	type __tsan_atomic##bits##_load(const volatile type *at, int o);\
	type __tsan_atomic##bits##_load(const volatile type *at, int o)	\
	{								\
		type v;							\
									\
		AROUND(at, sizeof v, false, o, HERE,			\
		       v = __atomic_load_n(at, __ATOMIC_SEQ_CST));	\
		return v;						\
	}								\
	void __tsan_atomic##bits##_store(volatile type *at, type v, int o);\
	void __tsan_atomic##bits##_store(volatile type *at, type v, int o)\
	{								\
		int before = errno;					\
									\
		if (exploring())					\
			before_atomic(at, sizeof v, true, HERE);	\
		__atomic_store_n(at, v, __ATOMIC_SEQ_CST);		\
		if (exploring())					\
			after_write(at, o);				\
		errno = before;						\
	}								\
	FETCH(bits, type, exchange, __atomic_exchange_n)		\
	FETCH(bits, type, fetch_add, __atomic_fetch_add)		\
	FETCH(bits, type, fetch_sub, __atomic_fetch_sub)		\
	FETCH(bits, type, fetch_and, __atomic_fetch_and)		\
	FETCH(bits, type, fetch_or, __atomic_fetch_or)			\
	FETCH(bits, type, fetch_xor, __atomic_fetch_xor)		\
	FETCH(bits, type, fetch_nand, __atomic_fetch_nand)		\
	EXCHANGE(bits, type, compare_exchange_strong)			\
	EXCHANGE(bits, type, compare_exchange_weak)			\
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *at,\
		type expected, type v, int o, int o2);			\
	type __tsan_atomic##bits##_compare_exchange_val(volatile type *at,\
		type expected, type v, int o, int o2)			\
	{								\
		(void)__tsan_atomic##bits##_compare_exchange_strong(at,	\
			&expected, v, o, o2);				\
		return expected;					\
	}

ATOMIC(8, uint8_t)
ATOMIC(16, uint16_t)
ATOMIC(32, uint32_t)
ATOMIC(64, uint64_t)
