//go:build ignore

// zmq is both ends of the libzmq works: a server that binds BACK and a client that connects to FRONT, each in a context
// of its own, so that the bytes between them go through whatever relays FRONT to BACK.
//
//	zmq FRONT BACK reqrep|pushpull NULL|CURVE MILLISECONDS
//
// The phases are those of load.c: "ready" once a first message has gone through, "done", then one line of JSON.
// No call waits longer than PATIENCE_MS; what is outstanding then is lost.
#include "latency.h"
#include <semaphore.h>
#include <zmq.h>

enum {
	MESSAGE_BYTES = 64,
	WARM_UP = 200, // round trips
	PATIENCE_MS = 5000,
	KEY_CHARS = 41,
};

static const char *front, *back;
static bool curve;
static uint64_t duration_ns, failed, sent, finished_at;
static char server_public[KEY_CHARS], server_secret[KEY_CHARS], client_public[KEY_CHARS], client_secret[KEY_CHARS];
static sem_t bound, through;
static uint64_t received;

static void *open_socket(int type, bool server, const char *address)
{
	char endpoint[64];
	int patience = PATIENCE_MS, linger = 0, on = 1;
	void *context = zmq_ctx_new(), *socket = zmq_socket(context, type);
	if (!socket)
		die("zmq_socket");
	zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience, sizeof patience);
	zmq_setsockopt(socket, ZMQ_SNDTIMEO, &patience, sizeof patience);
	zmq_setsockopt(socket, ZMQ_LINGER, &linger, sizeof linger);
	if (curve && server) {
		zmq_setsockopt(socket, ZMQ_CURVE_SERVER, &on, sizeof on);
		zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, server_secret, KEY_CHARS);
	} else if (curve) {
		zmq_setsockopt(socket, ZMQ_CURVE_SERVERKEY, server_public, KEY_CHARS);
		zmq_setsockopt(socket, ZMQ_CURVE_PUBLICKEY, client_public, KEY_CHARS);
		zmq_setsockopt(socket, ZMQ_CURVE_SECRETKEY, client_secret, KEY_CHARS);
	}
	snprintf(endpoint, sizeof endpoint, "tcp://%s", address);
	if (server ? zmq_bind(socket, endpoint) : zmq_connect(socket, endpoint))
		die("zmq socket on %s", endpoint);
	return socket;
}

static void *serve_rep(void *unused)
{
	char message[MESSAGE_BYTES];
	void *socket = open_socket(ZMQ_REP, true, back);
	sem_post(&bound);
	for (;;) {
		int n = zmq_recv(socket, message, sizeof message, 0);
		if (n >= 0)
			zmq_send(socket, message, (size_t)n, 0);
		else if (errno != EAGAIN)
			return unused;
	}
}

// ask is one round trip; false when its answer did not come, or was another's.
static bool ask(void *socket, uint64_t number)
{
	uint64_t message[MESSAGE_BYTES / 8] = {number}, answer[MESSAGE_BYTES / 8] = {0};
	if (zmq_send(socket, message, sizeof message, 0) == (int)sizeof message &&
	    zmq_recv(socket, answer, sizeof answer, 0) == (int)sizeof answer && answer[0] == number)
		return true;
	failed++;
	return false;
}

static uint64_t reqrep(void)
{
	void *socket = open_socket(ZMQ_REQ, false, front);
	for (uint64_t i = 0; i < WARM_UP; i++)
		if (!ask(socket, i))
			break;
	report_phase("ready");
	uint64_t start = now_ns(), now = start;
	while (!failed && now - start < duration_ns && latency_count < LATENCIES_MAX) {
		if (!ask(socket, now))
			break;
		uint64_t then = now;
		now = now_ns();
		latencies[latency_count++] = (uint32_t)(now - then);
	}
	finished_at = now;
	received = latency_count;
	sent = received;
	return start;
}

// serve_pull counts until the message that says it is the last one.
static void *serve_pull(void *unused)
{
	uint64_t message[MESSAGE_BYTES / 8];
	void *socket = open_socket(ZMQ_PULL, true, back);
	sem_post(&bound);
	if (zmq_recv(socket, message, sizeof message, 0) >= 0)
		sem_post(&through);
	while (zmq_recv(socket, message, sizeof message, 0) == (int)sizeof message && message[1] == 0)
		received += message[0] == received;
	finished_at = now_ns();
	sem_post(&through);
	return unused;
}

static void await_through(void)
{
	struct timespec t;
	clock_gettime(CLOCK_REALTIME, &t);
	t.tv_sec += 2 * PATIENCE_MS / 1000;
	if (sem_timedwait(&through, &t))
		failed++;
}

static uint64_t pushpull(void)
{
	uint64_t message[MESSAGE_BYTES / 8] = {0};
	void *socket = open_socket(ZMQ_PUSH, false, front);
	if (zmq_send(socket, message, sizeof message, 0) < 0)
		failed++;
	await_through();
	report_phase("ready");
	uint64_t start = now_ns();
	while (!failed && now_ns() - start < duration_ns) {
		message[0] = sent;
		if (zmq_send(socket, message, sizeof message, 0) < 0)
			failed++;
		else
			sent++;
	}
	message[1] = 1;
	if (zmq_send(socket, message, sizeof message, 0) < 0)
		failed++;
	await_through();
	return start;
}

int main(int argc, char **argv)
{
	bool push = argc == 6 && !strcmp(argv[3], "pushpull");
	if (argc != 6 || (!push && strcmp(argv[3], "reqrep")) || atoll(argv[5]) < 1) {
		fprintf(stderr, "usage: zmq FRONT BACK reqrep|pushpull NULL|CURVE MILLISECONDS\n");
		return 2;
	}
	front = argv[1];
	back = argv[2];
	curve = !strcmp(argv[4], "CURVE");
	duration_ns = (uint64_t)atoll(argv[5]) * MILLISECOND_NS;
	if (zmq_curve_keypair(server_public, server_secret) || zmq_curve_keypair(client_public, client_secret))
		die("this libzmq has no CURVE");
	pthread_t server;
	if (pthread_create(&server, NULL, push ? serve_pull : serve_rep, NULL))
		die("start the server's thread");
	sem_wait(&bound);
	uint64_t start = push ? pushpull() : reqrep();
	report_phase("done");
	printf("{\"seconds\":%.6f,\"operations\":%lu,\"bytes\":%lu,\"failed\":%lu,\"lost\":%lu",
	       finished_at < start ? 0.0 : (double)(finished_at - start) / 1e9, received, received * MESSAGE_BYTES, failed,
	       sent - received);
	report_latencies();
	printf("}\n");
	fflush(stdout);
	_exit(0); // the server's thread still waits
}
