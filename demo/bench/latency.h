// What the programs on libzmq share: the phases that load.c describes, and latencies.
#ifndef LATENCY_H
#define LATENCY_H
#include "bench.h"

enum { LATENCIES_MAX = 1 << 22 };

static uint32_t latencies[LATENCIES_MAX]; // ns
static size_t latency_count;

static void report_phase(const char *phase)
{
	char line[16];
	printf("%s\n", phase);
	fflush(stdout);
	if (!fgets(line, sizeof line, stdin))
		exit(1); // the harness has gone
}

static int by_size(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;
	return (x > y) - (x < y);
}

// report_latencies adds the percentiles to a JSON object that is being written.
static void report_latencies(void)
{
	if (!latency_count)
		return;
	qsort(latencies, latency_count, sizeof *latencies, by_size);
	printf(",\"p50_us\":%.3f,\"p99_us\":%.3f", latencies[latency_count / 2] / 1e3, latencies[latency_count * 99 / 100] / 1e3);
}
#endif
