//go:build ignore

// The works of load.c. Each is given its thread's connections, open and greeted, and leaves its figures in the worker.
#include "load.h"

enum {
	PATTERN_PERIOD = 251,
	PATTERN_BYTES = PATTERN_PERIOD * 1044, // 256 KiB, whole periods
};

static unsigned char pattern[PATTERN_BYTES];

__attribute__((constructor)) static void fill_pattern(void)
{
	for (size_t i = 0; i < sizeof pattern; i++)
		pattern[i] = (unsigned char)(i % PATTERN_PERIOD);
}

// send_message sends the connection's next message: its number and its descriptor, again and again.
static void send_message(struct worker *w, struct conn *c, uint32_t bytes, uint64_t at)
{
	uint64_t out[(SLOW_BYTES + 7) / 8];
	for (size_t i = 0; i < sizeof out / sizeof *out; i++)
		out[i] = ++c->messages << 20 ^ (uint64_t)c->fd;
	c->messages -= sizeof out / sizeof *out - 1;
	c->sent_at = at;
	if (write(c->fd, out, bytes) != (ssize_t)bytes)
		fail(w, c);
}

// take_message takes what came back of the message in flight. True when all of it did, and is what was sent.
static bool take_message(struct worker *w, struct conn *c, uint32_t bytes)
{
	if (!c->sent_at || !collect(w, c, bytes))
		return false;
	uint64_t in[(SLOW_BYTES + 7) / 8], wrong = 0;
	memcpy(in, c->in, bytes);
	for (size_t i = 0; i < bytes / 8; i++)
		wrong += in[i] != ((c->messages + i) << 20 ^ (uint64_t)c->fd);
	if (wrong) {
		w->lost++;
		fail(w, c);
		return false;
	}
	note_latency(w, now_ns() - c->sent_at);
	c->sent_at = 0;
	w->operations++;
	return true;
}

static uint64_t outstanding(const struct worker *w)
{
	uint64_t n = 0;
	for (uint64_t i = 0; i < w->count; i++)
		n += w->conns[i].fd >= 0 && w->conns[i].sent_at;
	return n;
}

// await takes the messages still in flight and counts those that do not come.
static void await(struct worker *w, uint32_t bytes)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t progress = now_ns();
	while (outstanding(w) && now_ns() - progress < STALL_NS) {
		int n = epoll_wait(w->epoll, events, EVENTS_MAX, WAIT_MS);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c->fd >= 0 && take_message(w, c, bytes))
				progress = now_ns();
		}
	}
	w->lost += outstanding(w);
}

static void pingpong(struct worker *w)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now = now_ns(), deadline = now + amount * SECOND_NS / 1000;
	for (uint64_t i = 0; i < w->count; i++)
		if (w->conns[i].fd >= 0)
			send_message(w, &w->conns[i], MESSAGE_BYTES, now);
	while (now < deadline) {
		int n = epoll_wait(w->epoll, events, EVENTS_MAX, WAIT_MS);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c->fd >= 0 && take_message(w, c, MESSAGE_BYTES))
				send_message(w, c, MESSAGE_BYTES, now_ns());
		}
		now = now_ns();
	}
	w->finished_at = now;
	await(w, MESSAGE_BYTES);
}

// slow sends message number m at its own moment, m / connections seconds after the start.
static void slow(struct worker *w)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t now = now_ns(), start = now, messages = w->count * amount / 1000;
	for (uint64_t m = 0; m < messages;) {
		int n = epoll_wait(w->epoll, events, EVENTS_MAX, 1);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c->fd >= 0)
				take_message(w, c, SLOW_BYTES);
		}
		now = now_ns();
		for (; m < messages && start + m * SECOND_NS / w->count <= now; m++) {
			struct conn *c = &w->conns[m % w->count];
			if (c->fd < 0)
				continue;
			if (c->sent_at)
				w->lost++; // a second late: the relay has stalled
			else
				send_message(w, c, SLOW_BYTES, now);
		}
	}
	await(w, SLOW_BYTES);
	w->finished_at = now_ns();
}

static void bulk_write(struct worker *w, struct conn *c)
{
	uint64_t head[2] = {c->bytes, 0};
	if (!c->sent_at) {
		c->sent_at = now_ns();
		if (write(c->fd, head, 8) != 8) {
			fail(w, c);
			return;
		}
	}
	while (c->sent < c->bytes) {
		size_t from = c->sent % PATTERN_PERIOD, bytes = PATTERN_BYTES - from;
		if (bytes > c->bytes - c->sent)
			bytes = c->bytes - c->sent;
		ssize_t n = write(c->fd, pattern + from, bytes);
		if (n < 0) {
			if (errno != EAGAIN)
				fail(w, c);
			return;
		}
		c->sent += (uint64_t)n;
		if ((size_t)n < bytes)
			return;
	}
}

static void bulk(struct worker *w)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t progress = now_ns();
	for (uint64_t i = 0; i < w->count; i++) {
		struct conn *c = &w->conns[i];
		c->bytes = w->quota / w->count + (i < w->quota % w->count);
		if (c->fd >= 0)
			bulk_write(w, c);
	}
	while (outstanding(w) && now_ns() - progress < STALL_NS) {
		int n = epoll_wait(w->epoll, events, EVENTS_MAX, WAIT_MS);
		if (n > 0)
			progress = now_ns();
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c->fd < 0 || !c->sent_at)
				continue; // has its answer
			if (events[i].events & EPOLLOUT)
				bulk_write(w, c);
			uint64_t answer[2];
			if (c->fd < 0 || !collect(w, c, sizeof answer))
				continue;
			memcpy(answer, c->in, sizeof answer);
			w->bytes += answer[0];
			w->lost += answer[1] + (answer[0] > c->bytes ? answer[0] - c->bytes : c->bytes - answer[0]);
			c->sent_at = 0;
		}
	}
	for (uint64_t i = 0; i < w->count; i++)
		if (w->conns[i].fd >= 0 && w->conns[i].sent_at)
			fail(w, &w->conns[i]);
	w->finished_at = now_ns();
}

// churn_on is one connection's way in `connect`. True when the connection is over, well or badly.
static bool churn_on(struct worker *w, struct conn *c)
{
	if ((c->state == CONNECTING || c->state == GREETED) && greet(w, c)) {
		shutdown(c->fd, SHUT_WR);
		c->state = ENDING;
	}
	if (c->state != ENDING)
		return c->fd < 0;
	ssize_t n = read(c->fd, c->in, sizeof c->in);
	if (n < 0 && errno == EAGAIN)
		return false;
	if (n == 0) {
		w->operations++;
		drop(c);
	} else {
		fail(w, c);
	}
	return true;
}

static void churn(struct worker *w)
{
	struct epoll_event events[EVENTS_MAX];
	uint64_t left = w->quota, busy = 0, progress = now_ns();
	for (uint64_t i = 0; i < w->count && left; i++, left--) {
		begin(w, &w->conns[i]);
		busy += w->conns[i].fd >= 0;
	}
	while (busy && now_ns() - progress < STALL_NS) {
		int n = epoll_wait(w->epoll, events, EVENTS_MAX, WAIT_MS);
		for (int i = 0; i < n; i++) {
			struct conn *c = events[i].data.ptr;
			if (c->fd < 0 || !churn_on(w, c))
				continue;
			progress = w->finished_at = now_ns();
			busy--;
			for (; left && c->fd < 0; left--)
				begin(w, c);
			busy += c->fd >= 0;
		}
	}
	w->failed += busy + left; // stuck, and never tried
}

static void idle(struct worker *w)
{
	if (w->index == 0) {
		struct timespec t = {.tv_sec = (time_t)(amount / 1000), .tv_nsec = (long)(amount % 1000 * MILLISECOND_NS)};
		nanosleep(&t, NULL);
	}
	w->finished_at = now_ns();
}

// wake shows that connections which were idle still relay.
static void wake(struct worker *w)
{
	for (uint64_t i = 0; i < w->count; i++)
		if (w->conns[i].fd >= 0)
			send_message(w, &w->conns[i], MESSAGE_BYTES, now_ns());
	await(w, MESSAGE_BYTES);
	w->latency_count = 0;
}

const struct work WORKS[] = {
	{.name = "pingpong", .run = pingpong},
	{.name = "bulk", .run = bulk},
	{.name = "connect", .run = churn, .opens_itself = true},
	{.name = "idle", .run = idle, .after = wake},
	{.name = "slow", .run = slow},
};
const size_t WORK_COUNT = sizeof WORKS / sizeof *WORKS;
