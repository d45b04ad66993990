//go:build ignore

// load is the client of every raw work: the same program in front of every peer.
//
//	load ADDRESS THREADS WORK CONNECTIONS AMOUNT
//
//	pingpong   AMOUNT milliseconds of 64-byte messages on every connection, one in flight on each
//	bulk       AMOUNT bytes in all, sent to a sink
//	connect    AMOUNT connections in all, CONNECTIONS at a time: connect, greet, be greeted, half-close, see the end
//	idle       AMOUNT milliseconds of silence on every connection, then one message on each
//	slow       AMOUNT milliseconds of one 100-byte message a second on every connection
//
// The harness is told the phases on stdout and leads through them on stdin: all connections open: "ready", a line;
// the work is done: "done", a line; then the figures as one line of JSON. What the harness measures of the proxy
// lies between its lines. Every connection opens with a ZMTP greeting that must come back before the connection counts as open.
//
// Rules: a connection belongs to one thread. Nothing waits longer than STALL_NS (5 s) without progress: what is outstanding then is lost.
#include "load.h"

enum { OPENING_MAX = 128 }; // connections that a thread opens at a time

uint64_t amount;

static struct sockaddr_storage address;
static socklen_t address_bytes;
static struct worker *workers;
static int worker_count;
static uint64_t started_at;
static pthread_barrier_t gate;
static const struct work *work;

void note_latency(struct worker *w, uint64_t ns)
{
	if (w->latency_count == w->latency_room) {
		w->latency_room = w->latency_room ? 2 * w->latency_room : 1 << 16;
		w->latencies = realloc(w->latencies, w->latency_room * sizeof *w->latencies);
		if (!w->latencies)
			die("keep %zu latencies", w->latency_room);
	}
	w->latencies[w->latency_count++] = ns > UINT32_MAX ? UINT32_MAX : (uint32_t)ns;
}

void drop(struct conn *c)
{
	close(c->fd);
	c->fd = -1;
	c->state = CLOSED;
}

// fail counts a connection that never opened or broke before its work was done.
void fail(struct worker *w, struct conn *c)
{
	w->failed++;
	drop(c);
}

void begin(struct worker *w, struct conn *c)
{
	c->fd = dial(&address, address_bytes);
	c->state = CONNECTING;
	c->got = 0;
	if (c->fd < 0)
		fail(w, c);
	else
		watch(w->epoll, c->fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, c);
}

// collect reads up to `want` bytes of one message into c->in. False when more is needed or the connection failed.
bool collect(struct worker *w, struct conn *c, uint32_t want)
{
	ssize_t n = read(c->fd, c->in + c->got, want - c->got);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n <= 0) {
		fail(w, c);
		return false;
	}
	c->got += (uint32_t)n;
	if (c->got < want)
		return false;
	c->got = 0;
	return true;
}

// greet goes through the opening of a connection. True at the moment it has become open.
bool greet(struct worker *w, struct conn *c)
{
	if (c->state == CONNECTING) {
		if (write(c->fd, GREETING, GREETING_BYTES) != GREETING_BYTES) {
			fail(w, c);
			return false;
		}
		c->state = GREETED;
	}
	if (c->state != GREETED || !collect(w, c, GREETING_BYTES))
		return false;
	if (memcmp(c->in, GREETING, GREETING_BYTES)) {
		w->lost++;
		fail(w, c);
		return false;
	}
	c->state = OPEN;
	return true;
}

static void open_all(struct worker *w)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t next = 0, opening = 0, progress = now_ns();
	while (next < w->count || opening) {
		for (; next < w->count && opening < OPENING_MAX; next++) {
			begin(w, &w->conns[next]);
			opening += w->conns[next].fd >= 0;
		}
		int n = epoll_wait(w->epoll, events, EVENTS_MAX, WAIT_MS);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c->state != CONNECTING && c->state != GREETED)
				continue;
			if (greet(w, c) || c->fd < 0) {
				opening--;
				progress = now_ns();
			}
		}
		if (now_ns() - progress > STALL_NS)
			break;
	}
	for (uint64_t i = 0; i < w->count; i++)
		if (w->conns[i].fd >= 0 && w->conns[i].state != OPEN)
			fail(w, &w->conns[i]);
}

static void *run(void *arg)
{
	struct worker *w = arg;
	w->epoll = new_epoll();
	w->conns = must_calloc(w->count + 1, sizeof *w->conns);
	for (uint64_t i = 0; i < w->count; i++)
		w->conns[i].fd = -1;
	if (!work->opens_itself)
		open_all(w);
	pthread_barrier_wait(&gate); // all are open
	pthread_barrier_wait(&gate); // the harness has seen it
	work->run(w);
	pthread_barrier_wait(&gate); // all is done
	pthread_barrier_wait(&gate); // the harness has seen it
	if (work->after)
		work->after(w);
	return NULL;
}

static void report_phase(const char *phase)
{
	char line[16];
	pthread_barrier_wait(&gate);
	printf("%s\n", phase);
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		exit(1); // the harness has gone
	started_at = phase[0] == 'r' ? now_ns() : started_at;
	pthread_barrier_wait(&gate);
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

static void report(void)
{
	struct worker sum = {0};
	for (int i = 0; i < worker_count; i++) {
		struct worker *w = &workers[i];
		sum.operations += w->operations;
		sum.bytes += w->bytes;
		sum.failed += w->failed;
		sum.lost += w->lost;
		if (sum.finished_at < w->finished_at)
			sum.finished_at = w->finished_at;
		for (size_t j = 0; j < w->latency_count; j++)
			note_latency(&sum, w->latencies[j]);
	}
	printf("{\"seconds\":%.6f,\"operations\":%lu,\"bytes\":%lu,\"failed\":%lu,\"lost\":%lu",
	       sum.finished_at < started_at ? 0.0 : (double)(sum.finished_at - started_at) / 1e9, sum.operations, sum.bytes,
	       sum.failed, sum.lost);
	if (sum.latency_count) {
		qsort(sum.latencies, sum.latency_count, sizeof *sum.latencies, by_size);
		printf(",\"p50_us\":%.3f,\"p99_us\":%.3f", sum.latencies[sum.latency_count / 2] / 1e3,
		       sum.latencies[sum.latency_count * 99 / 100] / 1e3);
	}
	printf("}\n");
}

int main(int argc, char **argv)
{
	for (size_t i = 0; argc == 6 && i < WORK_COUNT; i++)
		if (!strcmp(argv[3], WORKS[i].name))
			work = &WORKS[i];
	if (!work || atoi(argv[2]) < 1 || atoll(argv[4]) < 1 || atoll(argv[5]) < 1) {
		fprintf(stderr, "usage: load ADDRESS THREADS pingpong|bulk|connect|idle|slow CONNECTIONS AMOUNT\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	unlimit_files();
	address_bytes = resolve(argv[1], &address);
	uint64_t connections = (uint64_t)atoll(argv[4]);
	amount = (uint64_t)atoll(argv[5]);
	worker_count = (uint64_t)atoi(argv[2]) > connections ? (int)connections : atoi(argv[2]);
	workers = must_calloc((size_t)worker_count, sizeof *workers);
	pthread_barrier_init(&gate, NULL, (unsigned)worker_count + 1);
	for (int i = 0; i < worker_count; i++) {
		struct worker *w = &workers[i];
		uint64_t of = (uint64_t)worker_count, nth = (uint64_t)i;
		w->index = i;
		w->count = connections / of + (nth < connections % of);
		w->quota = amount / of + (nth < amount % of);
		if (pthread_create(&w->thread, NULL, run, w))
			die("start thread %d", i);
	}
	report_phase("ready");
	report_phase("done");
	for (int i = 0; i < worker_count; i++)
		pthread_join(workers[i].thread, NULL);
	report();
	return 0;
}
