//go:build ignore

// requests is a service on libzmq that answers every request with itself, and clients that ask one request after the other
// and hold the reply against it.
//
//	requests serve ADDRESS
//	requests load ADDRESS CLIENTS MILLISECONDS
//
// Each client is a REQ with a connection of its own. The phases are those of load.c. A reply that does not come within
// PATIENCE_MS, or is another request's, has failed.
#include "latency.h"
#include <zmq.h>

enum {
	REQUEST_BYTES = 100,
	CLIENTS_MAX = 1024,
	PATIENCE_MS = 5000,
};

struct client {
	void *socket;
	uint32_t question[REQUEST_BYTES / 4]; // begins with the client's number and the request's
	uint64_t asked_at;
};

static struct client clients[CLIENTS_MAX];
static int client_count;

static void *open_socket(int type)
{
	static void *context;
	int patience = PATIENCE_MS, linger = 0;
	if (!context && (!(context = zmq_ctx_new()) || zmq_ctx_set(context, ZMQ_MAX_SOCKETS, 2 * CLIENTS_MAX)))
		die("zmq_ctx_new");
	void *socket = zmq_socket(context, type);
	if (!socket)
		die("zmq_socket");
	zmq_setsockopt(socket, ZMQ_SNDTIMEO, &patience, sizeof patience);
	zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
	return socket;
}

static void serve(const char *endpoint)
{
	char request[REQUEST_BYTES];
	void *socket = open_socket(ZMQ_REP);
	if (zmq_bind(socket, endpoint))
		die("bind %s", endpoint);
	for (;;) {
		int n = zmq_recv(socket, request, sizeof request, 0);
		if (n < 0 || n > (int)sizeof request || zmq_send(socket, request, (size_t)n, 0) < 0)
			die("serve %s", endpoint);
	}
}

static bool ask(struct client *c, uint64_t now)
{
	c->question[1]++;
	c->asked_at = now;
	return zmq_send(c->socket, c->question, REQUEST_BYTES, 0) == REQUEST_BYTES;
}

// answered takes the reply of a client that has one.
static bool answered(struct client *c)
{
	char reply[REQUEST_BYTES];
	return zmq_recv(c->socket, reply, sizeof reply, ZMQ_DONTWAIT) == REQUEST_BYTES && !memcmp(reply, c->question, REQUEST_BYTES);
}

// round_trips has every client ask until the time is over. It returns how many requests failed; the first ends it all.
static int round_trips(uint64_t until, bool counts)
{
	static zmq_pollitem_t items[CLIENTS_MAX];
	int asking = 0;
	for (int i = 0; i < client_count; i++, asking++) {
		items[i] = (zmq_pollitem_t){.socket = clients[i].socket, .events = ZMQ_POLLIN};
		if (!ask(&clients[i], now_ns()))
			return 1;
	}
	while (asking) {
		if (zmq_poll(items, client_count, PATIENCE_MS) <= 0)
			return asking;
		for (int i = 0; i < client_count; i++) {
			if (!(items[i].revents & ZMQ_POLLIN))
				continue;
			struct client *c = &clients[i];
			if (!answered(c))
				return 1;
			uint64_t now = now_ns();
			if (counts && latency_count < LATENCIES_MAX)
				latencies[latency_count++] = (uint32_t)(now - c->asked_at);
			if (now >= until)
				asking--;
			else if (!ask(c, now))
				return 1;
		}
	}
	return 0;
}

static void load(const char *endpoint, uint64_t duration_ns)
{
	for (int i = 0; i < client_count; i++) {
		clients[i].question[0] = (uint32_t)i;
		clients[i].socket = open_socket(ZMQ_REQ);
		if (zmq_connect(clients[i].socket, endpoint))
			die("connect to %s", endpoint);
	}
	int failed = round_trips(now_ns() + MILLISECOND_NS, false); // opens the connections
	report_phase("ready");
	uint64_t start = now_ns();
	if (!failed)
		failed = round_trips(start + duration_ns, true);
	double seconds = (double)(now_ns() - start) / 1e9;
	report_phase("done");
	printf("{\"seconds\":%.6f,\"operations\":%zu,\"bytes\":%zu,\"failed\":%d,\"lost\":0", seconds, latency_count,
	       latency_count * REQUEST_BYTES, failed);
	report_latencies();
	printf("}\n");
	fflush(stdout);
}

int main(int argc, char **argv)
{
	char endpoint[64];
	bool serves = argc == 3 && !strcmp(argv[1], "serve"), loads = argc == 5 && !strcmp(argv[1], "load");
	if (loads)
		client_count = atoi(argv[3]);
	if ((!serves && !loads) || (loads && (client_count < 1 || client_count > CLIENTS_MAX || atoll(argv[4]) < 1))) {
		fprintf(stderr, "usage: requests serve ADDRESS | requests load ADDRESS CLIENTS MILLISECONDS\n");
		return 2;
	}
	unlimit_files();
	snprintf(endpoint, sizeof endpoint, "tcp://%s", argv[2]);
	if (serves)
		serve(endpoint);
	load(endpoint, (uint64_t)atoll(argv[4]) * MILLISECOND_NS);
	_exit(0); // replies may still be on their way
}
