// What load.c (opening, phases, figures) and works.c (the works themselves) know of each other.
#ifndef LOAD_H
#define LOAD_H
#include "bench.h"

enum {
	MESSAGE_BYTES = 64,
	SLOW_BYTES = 100,
	WAIT_MS = 100,
};

// What is outstanding after this long without any progress counts as lost.
#define STALL_NS (5 * SECOND_NS)

enum state { CLOSED, CONNECTING, GREETED, OPEN, ENDING };

struct conn {
	uint64_t sent_at;     // 0: nothing in flight
	uint64_t sent, bytes; // bulk: so far, and in all
	uint64_t messages;
	uint32_t got;
	int fd; // -1: closed
	enum state state;
	unsigned char in[SLOW_BYTES];
};

// worker is one thread and the connections that belong to it.
struct worker {
	pthread_t thread;
	int epoll, index;
	struct conn *conns;
	uint64_t count; // connections held at a time
	uint64_t quota; // this thread's part of `amount`
	uint64_t operations, bytes, failed, lost, finished_at;
	uint32_t *latencies; // ns
	size_t latency_count, latency_room;
};

extern uint64_t amount; // of the work, in its own unit

void note_latency(struct worker *w, uint64_t ns);
void drop(struct conn *c);
void fail(struct worker *w, struct conn *c); // counts a connection that never opened, or broke before its work was done
void begin(struct worker *w, struct conn *c);
bool greet(struct worker *w, struct conn *c);                  // true at the moment the connection has become open
bool collect(struct worker *w, struct conn *c, uint32_t want); // true when c->in holds all of one message

// A work: what is done between "ready" and "done", and what is left to do after that.
struct work {
	const char *name;
	bool opens_itself; // the connections are not opened for it
	void (*run)(struct worker *w);
	void (*after)(struct worker *w);
};

extern const struct work WORKS[];
extern const size_t WORK_COUNT;
#endif
