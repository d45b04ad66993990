//go:build ignore

// floor is the least that a relay in user space can do: the floor that the gateway is measured against.
//
//	floor LISTEN TARGET THREADS
//
// It looks at nothing, counts nothing and times nothing out. Each message costs one read and one write, each batch of
// ready descriptors one epoll_wait.
//
// Rules:
//   - Any thread accepts (EPOLLEXCLUSIVE) and hands the client's descriptor to the next thread in turn; from then on that
//     thread alone touches the pair. It dials the target at the client's first event, so nothing is shared.
//   - Events are edge-triggered and never modified. A direction is read only while nothing read from it is pending.
//   - A pair is freed after the batch of events in which it ended: later events of the batch may still point to it.
#include "bench.h"

enum { READS_MAX = 16 }; // full buffers in a row before the other descriptors get their turn

#define INTEREST (EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET)

struct side {
	struct side *peer;
	unsigned char *pending; // read from the peer, not yet written here
	uint32_t from, bytes;
	int fd;
	bool ended; // read to its end
};

struct pair {
	struct side client, target;
	struct pair *next_dead;
	bool dialled, dead;
};

struct loop {
	pthread_t thread;
	int epoll;
	struct pair *dead;
	unsigned char buffer[BUFFER_BYTES];
};

static struct loop *loops;
static int loop_count, listener;
static atomic_uint turn;
static struct sockaddr_storage target;
static socklen_t target_bytes;

// pair_of relies on client being the first field; the target's side comes right after it.
static struct pair *pair_of(struct side *s)
{
	return (struct pair *)(s < s->peer ? s : s->peer);
}

static void end(struct loop *l, struct pair *p)
{
	if (p->dead)
		return;
	p->dead = true;
	close(p->client.fd);
	if (p->target.fd >= 0)
		close(p->target.fd);
	p->next_dead = l->dead;
	l->dead = p;
}

static void bury(struct loop *l)
{
	for (struct pair *p = l->dead, *next; p; p = next) {
		next = p->next_dead;
		free(p->client.pending);
		free(p->target.pending);
		free(p);
	}
	l->dead = NULL;
}

// pass_end tells s that its peer will send no more, or ends the pair once both have ended.
static void pass_end(struct loop *l, struct side *s)
{
	if (s->ended && !s->peer->pending)
		end(l, pair_of(s));
	else
		shutdown(s->fd, SHUT_WR);
}

// put writes to s and keeps what does not fit. False when the pair has ended.
static bool put(struct loop *l, struct side *s, const unsigned char *data, uint32_t bytes)
{
	ssize_t n = write(s->fd, data, bytes);
	if (n == (ssize_t)bytes)
		return true;
	if (n < 0 && errno != EAGAIN) {
		end(l, pair_of(s));
		return false;
	}
	uint32_t written = n < 0 ? 0 : (uint32_t)n;
	s->bytes = bytes - written;
	s->from = 0;
	s->pending = must_calloc(1, s->bytes);
	memcpy(s->pending, data + written, s->bytes);
	return true;
}

static void pump(struct loop *l, struct side *s, bool to_the_end)
{
	for (int reads = 0; !s->peer->pending && !s->ended; reads++) {
		if (reads == READS_MAX) {
			struct epoll_event again = {.events = INTEREST, .data.ptr = s};
			epoll_ctl(l->epoll, EPOLL_CTL_MOD, s->fd, &again);
			return;
		}
		ssize_t n = read(s->fd, l->buffer, sizeof l->buffer);
		if (n > 0) {
			if (!put(l, s->peer, l->buffer, (uint32_t)n))
				return;
			if (n < (ssize_t)sizeof l->buffer && !to_the_end)
				return; // drained: the next byte is a new edge
		} else if (n == 0) {
			s->ended = true;
			pass_end(l, s->peer);
		} else if (errno == EAGAIN) {
			return;
		} else {
			end(l, pair_of(s));
			return;
		}
	}
}

static void flush(struct loop *l, struct side *s)
{
	ssize_t n = write(s->fd, s->pending + s->from, s->bytes);
	if (n < 0) {
		if (errno != EAGAIN)
			end(l, pair_of(s));
		return;
	}
	s->from += (uint32_t)n;
	s->bytes -= (uint32_t)n;
	if (s->bytes)
		return;
	free(s->pending);
	s->pending = NULL;
	if (s->peer->ended)
		pass_end(l, s);
	else
		pump(l, s->peer, true); // its edge may have passed while this side was full
}

static void start(struct loop *l, struct pair *p)
{
	p->dialled = true;
	p->target.fd = dial(&target, target_bytes);
	if (p->target.fd < 0)
		end(l, p);
	else
		watch(l->epoll, p->target.fd, INTEREST, &p->target);
}

static void accept_all(void)
{
	for (int fd; (fd = accept4(listener, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC)) >= 0;) {
		no_delay(fd);
		struct pair *p = must_calloc(1, sizeof *p);
		p->client = (struct side){.fd = fd, .peer = &p->target};
		p->target = (struct side){.fd = -1, .peer = &p->client};
		watch(loops[atomic_fetch_add(&turn, 1) % (unsigned)loop_count].epoll, fd, INTEREST, &p->client);
	}
}

static void serve(struct loop *l, struct side *s, uint32_t events)
{
	struct pair *p = pair_of(s);
	if (!p->dialled)
		start(l, p);
	if (!p->dead && s->pending && (events & (EPOLLOUT | EPOLLERR | EPOLLHUP)))
		flush(l, s);
	if (!p->dead && (events & (EPOLLIN | EPOLLRDHUP | EPOLLERR | EPOLLHUP)))
		pump(l, s, events & (EPOLLRDHUP | EPOLLERR | EPOLLHUP));
}

static void *run(void *arg)
{
	struct loop *l = arg;
	struct epoll_event events[EVENTS_MAX];
	for (;;) {
		int n = epoll_wait(l->epoll, events, EVENTS_MAX, -1);
		for (int i = 0; i < n; i++) {
			struct side *s = events[i].data.ptr;
			if (!s)
				accept_all();
			else if (!pair_of(s)->dead)
				serve(l, s, events[i].events);
		}
		bury(l);
	}
	return NULL;
}

int main(int argc, char **argv)
{
	if (argc != 4 || atoi(argv[3]) < 1) {
		fprintf(stderr, "usage: floor LISTEN TARGET THREADS\n");
		return 2;
	}
	signal(SIGPIPE, SIG_IGN);
	unlimit_files();
	target_bytes = resolve(argv[2], &target);
	loop_count = atoi(argv[3]);
	loops = must_calloc((size_t)loop_count, sizeof *loops);
	listener = listen_on(argv[1]);
	for (int i = 0; i < loop_count; i++) {
		loops[i].epoll = new_epoll();
		watch(loops[i].epoll, listener, EPOLLIN | EPOLLEXCLUSIVE, NULL);
	}
	for (int i = 1; i < loop_count; i++)
		if (pthread_create(&loops[i].thread, NULL, run, &loops[i]))
			die("start thread %d", i);
	run(&loops[0]);
}
