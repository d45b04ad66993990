// What the C programs of the benchmark share: addresses, epoll, the clock, and the ZMTP greeting that opens
// every connection. A program that cannot go on says why on stderr and exits with status 1.
#ifndef BENCH_H
#define BENCH_H
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum {
	GREETING_BYTES = 64,
	LISTEN_BACKLOG = 16384,
	EVENTS_MAX = 256,
	BUFFER_BYTES = 64 << 10,
};

#define SECOND_NS 1000000000ull
#define MILLISECOND_NS 1000000ull

// ZMTP 3.0, NULL (https://rfc.zeromq.org/spec/23/): signature, version, mechanism, as-server, filler.
static const unsigned char GREETING[GREETING_BYTES] = {
	0xFF, 0, 0, 0, 0, 0, 0, 0, 1, 0x7F, 3, 0, 'N', 'U', 'L', 'L',
};

static inline _Noreturn void die(const char *format, ...)
{
	int error = errno;
	va_list args;
	va_start(args, format);
	vfprintf(stderr, format, args);
	va_end(args);
	fprintf(stderr, ": %s\n", strerror(error));
	exit(1);
}

static inline void *must_calloc(size_t count, size_t bytes)
{
	void *p = calloc(count, bytes);
	if (!p)
		die("allocate %zu x %zu bytes", count, bytes);
	return p;
}

static inline uint64_t now_ns(void)
{
	struct timespec t;
	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * SECOND_NS + (uint64_t)t.tv_nsec;
}

// resolve turns "127.0.0.1:7001" or "/path/to.sock" into a socket address and returns its length.
static inline socklen_t resolve(const char *address, struct sockaddr_storage *out)
{
	memset(out, 0, sizeof *out);
	if (address[0] == '/') {
		struct sockaddr_un *un = (struct sockaddr_un *)out;
		un->sun_family = AF_UNIX;
		if (strlen(address) >= sizeof un->sun_path) {
			errno = ENAMETOOLONG;
			die("socket path %s", address);
		}
		strcpy(un->sun_path, address);
		return sizeof *un;
	}
	struct sockaddr_in *in = (struct sockaddr_in *)out;
	char host[INET_ADDRSTRLEN] = {0};
	const char *colon = strchr(address, ':');
	if (!colon || (size_t)(colon - address) >= sizeof host) {
		errno = EINVAL;
		die("address %s (want 127.0.0.1:port or /path)", address);
	}
	memcpy(host, address, (size_t)(colon - address));
	in->sin_family = AF_INET;
	in->sin_port = htons((uint16_t)atoi(colon + 1));
	if (inet_pton(AF_INET, host, &in->sin_addr) != 1) {
		errno = EINVAL;
		die("address %s", address);
	}
	return sizeof *in;
}

// no_delay is refused by unix sockets, which have nothing to delay.
static inline void no_delay(int fd)
{
	int on = 1;
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
}

static inline int listen_on(const char *address)
{
	struct sockaddr_storage a;
	socklen_t bytes = resolve(address, &a);
	int on = 1, fd = socket(a.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		die("socket for %s", address);
	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
	if (bind(fd, (struct sockaddr *)&a, bytes) || listen(fd, LISTEN_BACKLOG))
		die("listen on %s", address);
	return fd;
}

// dial starts a connection and returns its descriptor, or -1. Writability tells how it went.
static inline int dial(const struct sockaddr_storage *to, socklen_t bytes)
{
	int fd = socket(to->ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (fd < 0)
		return -1;
	no_delay(fd);
	if (connect(fd, (const struct sockaddr *)to, bytes) && errno != EINPROGRESS) {
		close(fd);
		return -1;
	}
	return fd;
}

static inline int new_epoll(void)
{
	int ep = epoll_create1(EPOLL_CLOEXEC);
	if (ep < 0)
		die("epoll_create1");
	return ep;
}

static inline void watch(int ep, int fd, uint32_t events, void *data)
{
	struct epoll_event e = {.events = events, .data.ptr = data};
	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e))
		die("epoll_ctl: add descriptor %d", fd);
}

static inline void unlimit_files(void)
{
	struct rlimit r;
	if (!getrlimit(RLIMIT_NOFILE, &r)) {
		r.rlim_cur = r.rlim_max;
		setrlimit(RLIMIT_NOFILE, &r);
	}
}
#endif
