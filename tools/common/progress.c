/* SPDX-License-Identifier: MIT */
#include "progress.h"

#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#define BAR_CELLS 30
#define DRAW_INTERVAL_NS 100000000u

uint64_t progress_now_ns(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return (uint64_t)now.tv_sec * 1000000000u + (uint64_t)now.tv_nsec;
}

void progress_init(struct progress *progress, const char *label, enum progress_unit unit)
{
	*progress = (struct progress){ .unit = unit, .terminal = isatty(STDERR_FILENO) == 1 };
	snprintf(progress->label, sizeof(progress->label), "%s", label);
	progress->start_ns = progress_now_ns();
}

static void print_amount(const struct progress *progress, double amount, const char *after)
{
	if (progress->unit == PROGRESS_BYTES)
		fprintf(stderr, "%.1f MB%s", amount / 1e6, after);
	else
		fprintf(stderr, "%.0f%s", amount, after);
}

static void draw(struct progress *progress, uint64_t done, uint64_t total, uint64_t now_ns)
{
	double seconds = (double)(now_ns - progress->start_ns) / 1e9;
	double share = total ? (double)done / (double)total : 0;
	unsigned full = 0;

	if (share > 1)
		share = 1;
	fprintf(stderr, "\r%s ", progress->label);
	if (total) {
		full = (unsigned)(share * BAR_CELLS);
		fputc('[', stderr);
		for (unsigned i = 0; i < BAR_CELLS; i++)
			fputc(i < full ? '#' : '.', stderr);
		fprintf(stderr, "] %3.0f %% ", share * 100);
	}
	print_amount(progress, (double)done, "");
	if (seconds > 0.2) {
		fputs(", ", stderr);
		print_amount(progress, (double)done / seconds, "/s");
	}
	fputs("\033[K", stderr);
	progress->drawn = true;
	progress->drawn_ns = now_ns;
}

void progress_update(struct progress *progress, uint64_t done, uint64_t total)
{
	uint64_t now_ns = 0;

	if (!progress->terminal)
		return;
	now_ns = progress_now_ns();
	if (now_ns - progress->drawn_ns >= DRAW_INTERVAL_NS)
		draw(progress, done, total, now_ns);
}

void progress_finish(struct progress *progress, uint64_t done, uint64_t total)
{
	if (!progress->terminal || (!progress->drawn && !done))
		return;
	draw(progress, done, total, progress_now_ns());
	fputc('\n', stderr);
	progress->drawn = false;
}

int progress_phase(void *context, const struct slf_progress *phase)
{
	struct progress *progress = context;

	if (strncmp(progress->label, phase->phase, sizeof(progress->label) - 1) != 0) {
		if (progress->drawn)
			fputc('\n', stderr);
		progress_init(progress, phase->phase, PROGRESS_BYTES);
		progress->drawn_ns = progress->start_ns; /* short phases, below a tenth of a second, stay silent */
	}
	progress_update(progress, phase->done, phase->total);
	if (progress->drawn && phase->total && phase->done >= phase->total)
		progress_finish(progress, phase->done, phase->total);
	return 0;
}
