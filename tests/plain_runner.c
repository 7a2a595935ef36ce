/* SPDX-License-Identifier: MIT */
/*
 * Runs Criterion's tests without Criterion's runner, which cannot start under ThreadSanitizer (it maps memory at
 * addresses that the sanitizer keeps for itself), and out of which valgrind does not see. Each test runs in a process of its
 * own, one after the other. The functions here take the place of the library's in the executables that contain this file.
 * Not supported: parameters and theories.
 */
#include <criterion/criterion.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#define TEST_SECONDS_MAX 240
#define SKIPPED 77

extern struct criterion_test *__start_cr_tst[];
extern struct criterion_test *__stop_cr_tst[];
extern struct criterion_suite *__start_cr_sts[] __attribute__((weak));
extern struct criterion_suite *__stop_cr_sts[] __attribute__((weak));

static const struct criterion_test *current;
static int failures;

static const struct criterion_test_extra_data *suite_data(void)
{
	for (struct criterion_suite **suite = __start_cr_sts; suite < __stop_cr_sts; suite++) {
		if (*suite && !strcmp((*suite)->name, current->category))
			return (*suite)->data;
	}
	return NULL;
}

void criterion_internal_test_setup(void)
{
	const struct criterion_test_extra_data *suite = suite_data();

	if (suite && suite->init)
		suite->init();
	if (current->data->init)
		current->data->init();
}

void criterion_internal_test_main(void (*function)(void))
{
	function();
}

void criterion_internal_test_teardown(void)
{
	const struct criterion_test_extra_data *suite = suite_data();

	if (current->data->fini)
		current->data->fini();
	if (suite && suite->fini)
		suite->fini();
}

void criterion_send_assert(struct criterion_assert_stats *stats)
{
	if (stats->passed)
		return;
	failures++;
	fprintf(stderr, "%s:%u: %s/%s: %s\n", stats->file, stats->line, current->category, current->name,
		stats->message ? stats->message : "assertion failed");
}

/* Through exit, so that the sanitizer tells what it found. */
void criterion_abort_test(void)
{
	exit(EXIT_FAILURE);
}

void criterion_test_die(const char *message, ...)
{
	va_list arguments;

	va_start(arguments, message);
	vfprintf(stderr, message, arguments);
	va_end(arguments);
	exit(EXIT_FAILURE);
}

void criterion_skip_test(const char *format, ...)
{
	va_list arguments;

	fprintf(stderr, "%s/%s skipped: ", current->category, current->name);
	va_start(arguments, format);
	vfprintf(stderr, format, arguments);
	va_end(arguments);
	fputc('\n', stderr);
	exit(SKIPPED);
}

static void run_test(void)
{
	alarm(TEST_SECONDS_MAX);
	current->test();
	exit(failures ? EXIT_FAILURE : current->data->exit_code);
}

/* 0: passed, 1: failed, 2: crashed, 3: skipped. */
static int judge(int status)
{
	if (WIFSIGNALED(status))
		return WTERMSIG(status) == current->data->signal ? 0 : 2;
	if (WEXITSTATUS(status) == SKIPPED)
		return 3;
	return current->data->signal || WEXITSTATUS(status) != current->data->exit_code;
}

int main(void)
{
	static const char *const words[] = { "passed", "failed", "crashed", "skipped" };
	unsigned counts[4] = { 0 };

	for (struct criterion_test **test = __start_cr_tst; test < __stop_cr_tst; test++) {
		int status = 0;
		int result = 3;
		pid_t child = 0;

		current = *test;
		if (!current || current->data->disabled)
			continue;
		fflush(NULL);
		child = fork();
		if (child == 0)
			run_test();
		if (child < 0 || waitpid(child, &status, 0) != child) {
			perror("fork");
			return EXIT_FAILURE;
		}
		result = judge(status);
		counts[result]++;
		fprintf(stderr, "%s/%s %s\n", current->category, current->name, words[result]);
	}
	fprintf(stderr, "Synthesis: Tested: %u | Passing: %u | Failing: %u | Crashing: %u\n",
		counts[0] + counts[1] + counts[2], counts[0], counts[1], counts[2]);
	return counts[1] || counts[2] ? EXIT_FAILURE : EXIT_SUCCESS;
}
