//go:build ignore

// backend is where every relayed byte ends: the same program behind every peer.
//
//	backend echo|sink THREADS LISTEN...
//
// echo sends everything back. sink sends the greeting back, reads a count (8 bytes, little endian) and that many bytes of
// the pattern (byte i is i mod 251, looked at where each read begins and ends), and answers with the bytes it read and the
// reads it found wrong, 8 bytes each.
//
// Rules: any thread accepts and hands on in turn, as in floor.c; a connection belongs to one thread. Its answers are small
// enough to fit a socket buffer, so a write that does not fit waits for that one connection.
#include "bench.h"
#include <poll.h>

enum { PATTERN_PERIOD = 251, WRITE_WAIT_MS = 5000 };

struct conn {
	int fd;
	uint64_t head_bytes; // greeting and count read so far
	uint64_t expected, received, wrong;
};

struct loop {
	pthread_t thread;
	int epoll;
	unsigned char buffer[BUFFER_BYTES];
};

static struct loop *loops;
static int loop_count;
static atomic_uint turn;
static bool sink;

// Listeners are told from connections by these tags: epoll data that points into the array.
static int listeners[4];

static bool put(int fd, const unsigned char *data, size_t bytes)
{
	while (bytes) {
		ssize_t n = write(fd, data, bytes);
		if (n < 0 && errno == EAGAIN) {
			struct pollfd p = {.fd = fd, .events = POLLOUT};
			if (poll(&p, 1, WRITE_WAIT_MS) == 1)
				continue;
			return false;
		}
		if (n < 0)
			return false;
		data += n;
		bytes -= (size_t)n;
	}
	return true;
}

// absorb takes what a sink has read. False when the connection is to be closed.
static bool absorb(struct conn *c, const unsigned char *data, size_t bytes)
{
	for (; bytes && c->head_bytes < GREETING_BYTES; data++, bytes--)
		if (++c->head_bytes == GREETING_BYTES && !put(c->fd, GREETING, GREETING_BYTES))
			return false;
	for (; bytes && c->head_bytes < GREETING_BYTES + 8; data++, bytes--)
		c->expected |= (uint64_t)*data << (8 * (c->head_bytes++ - GREETING_BYTES));
	if (!bytes)
		return true;
	if (data[0] != c->received % PATTERN_PERIOD || data[bytes - 1] != (c->received + bytes - 1) % PATTERN_PERIOD)
		c->wrong++;
	c->received += bytes;
	if (c->received < c->expected)
		return true;
	uint64_t answer[2] = {c->received, c->wrong};
	return put(c->fd, (unsigned char *)answer, sizeof answer);
}

static void serve(struct loop *l, struct conn *c, uint32_t events)
{
	for (;;) {
		ssize_t n = read(c->fd, l->buffer, sizeof l->buffer);
		if (n < 0 && errno == EAGAIN)
			return;
		bool ok = n > 0 && (sink ? absorb(c, l->buffer, (size_t)n) : put(c->fd, l->buffer, (size_t)n));
		if (!ok) {
			close(c->fd);
			free(c);
			return;
		}
		if (n < (ssize_t)sizeof l->buffer && !(events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP)))
			return;
	}
}

static void accept_all(int listener)
{
	for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
		no_delay(fd);
		struct conn *c = must_calloc(1, sizeof *c);
		c->fd = fd;
		watch(loops[atomic_fetch_add(&turn, 1) % (unsigned)loop_count].epoll, fd, EPOLLIN | EPOLLRDHUP | EPOLLET, c);
	}
}

static void *run(void *arg)
{
	struct loop *l = arg;
	struct epoll_event events[EVENTS_MAX];
	for (;;) {
		int n = epoll_wait(l->epoll, events, EVENTS_MAX, -1);
		for (int i = 0; i < n; i++) {
			int *tag = events[i].data.ptr;
			if (tag >= listeners && tag < listeners + sizeof listeners / sizeof *listeners)
				accept_all(*tag);
			else
				serve(l, events[i].data.ptr, events[i].events);
		}
	}
	return NULL;
}

int main(int argc, char **argv)
{
	size_t listener_count = argc > 3 ? (size_t)argc - 3 : 0;
	if (listener_count < 1 || listener_count > sizeof listeners / sizeof *listeners || atoi(argv[2]) < 1 ||
	    (strcmp(argv[1], "echo") && strcmp(argv[1], "sink"))) {
		fprintf(stderr, "usage: backend echo|sink THREADS LISTEN...\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	unlimit_files();
	sink = !strcmp(argv[1], "sink");
	loop_count = atoi(argv[2]);
	loops = must_calloc((size_t)loop_count, sizeof *loops);
	for (int i = 0; i < loop_count; i++)
		loops[i].epoll = new_epoll();
	for (size_t i = 0; i < listener_count; i++) {
		listeners[i] = listen_on(argv[3 + i]);
		for (int j = 0; j < loop_count; j++)
			watch(loops[j].epoll, listeners[i], EPOLLIN | EPOLLEXCLUSIVE, &listeners[i]);
	}
	for (int i = 1; i < loop_count; i++)
		if (pthread_create(&loops[i].thread, NULL, run, &loops[i]))
			die("start thread %d", i);
	run(&loops[0]);
}
