/*
 * The fastest right file, as a second queue beside the lab's: its functions
 * under other names. Included by bench.c, once.
 */
#undef QUEUE_H			/* its functions are declared once more */
#define queue_create fast_create
#define queue_put fast_put
#define queue_get fast_get
#define queue_close fast_close
#define queue_qsize fast_qsize
#define queue_destroy fast_destroy
#define queue_run fast_run
#include "right/queue-spin_yield_futex.c"
#undef queue_create
#undef queue_put
#undef queue_get
#undef queue_close
#undef queue_qsize
#undef queue_destroy
#undef queue_run

static void *make_fast(size_t size)
{
	struct queue *q = fast_create(BENCH_CAPACITY, size);

	if (q == NULL)
		fl_die("cannot make a queue");
	return q;
}

static void put_fast(void *queue, const void *item)
{
	if (fast_put(queue, item, -1) != 0)
		fl_die("cannot put");
}

static void get_fast(void *queue, void *item)
{
	if (fast_get(queue, item, -1) != 0)
		fl_die("cannot get");
}

static void end_fast(void *queue)
{
	fast_destroy(queue);
}
