// Boost's message_queue for bench.c: a library of its own, as it is C++. The
// queue has a name only until everybody has it, which is before the fork.
#include <boost/interprocess/ipc/message_queue.hpp>
#include <string>
#include <unistd.h>

using boost::interprocess::create_only;
using boost::interprocess::message_queue;

namespace {
struct queue {
	message_queue *messages;
	std::size_t size;
};
}

extern "C" void *boost_make(std::size_t capacity, std::size_t size)
{
	std::string name = "forklab-bench-" + std::to_string(getpid());
	queue *q = new queue{ nullptr, size };

	message_queue::remove(name.c_str());
	q->messages = new message_queue(create_only, name.c_str(), capacity,
					size);
	message_queue::remove(name.c_str());
	return q;
}

extern "C" void boost_put(void *q, const void *item)
{
	static_cast<queue *>(q)->messages->send(
		item, static_cast<queue *>(q)->size, 0);
}

extern "C" void boost_get(void *q, void *item)
{
	message_queue::size_type got;
	unsigned priority;

	static_cast<queue *>(q)->messages->receive(
		item, static_cast<queue *>(q)->size, got, priority);
}

extern "C" void boost_end(void *q)
{
	delete static_cast<queue *>(q)->messages;
	delete static_cast<queue *>(q);
}
