/* SPDX-License-Identifier: MIT */
/*
 * replay NAME DIRECTORY [ROUNDS]: gives the files of a corpus to a harness, without libFuzzer, and changes each of them so
 * many times as the fuzzer would, but blindly. A failure ends the program; the file and the round are told first, and where
 * a changed input fails it is left behind as replay-NAME.input.
 */
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "forge.h"
#include "proof.h"
#include "rig.h"

#define INPUT_BYTES_MAX (64 * KIB)
#define OPENED_MIN 10 /* of the first inputs so many are good databases */
#define SECONDS_MAX 120 /* of sleep: see run_begin for all else */

static char present[600], left[64];
static uint8_t input[INPUT_BYTES_MAX];
static size_t input_bytes;
static unsigned present_round;

/* Ends soon, so it may do what a handler should not. */
static void on_signal(int number)
{
	FILE *file = present_round ? fopen(left, "we") : NULL;

	(void)!write(STDERR_FILENO, present, strlen(present));
	if (file && fwrite(input, 1, input_bytes, file) == input_bytes)
		(void)fclose(file);
	signal(number, SIG_DFL);
	raise(number);
}

/* Without libFuzzer this is all that is known of good changes. */
size_t LLVMFuzzerMutate(uint8_t *data, size_t size, size_t room)
{
	static struct rng rng = { 1 };

	if (size < room && rng_below(&rng, 4) == 0)
		data[size++] = (uint8_t)rng_next(&rng);
	if (size)
		forge_bytes(&rng, data, size);
	return size;
}

static void run(void)
{
	alarm(SECONDS_MAX);
	LLVMFuzzerTestOneInput(input, input_bytes);
	alarm(0);
}

static void replay(const char *path, unsigned rounds)
{
	static uint8_t original[INPUT_BYTES_MAX];
	FILE *file = fopen(path, "re");
	size_t size;

	must(file != NULL);
	size = fread(original, 1, sizeof(original), file);
	must(fclose(file) == 0);
	for (present_round = 0; present_round <= rounds; present_round++) {
		input_bytes = size;
		memcpy(input, original, size);
		if (present_round)
			input_bytes = LLVMFuzzerCustomMutator(input, size, sizeof(input), present_round);
		snprintf(present, sizeof(present), "%.500s, round %u\n", path, present_round);
		run();
	}
	present_round = 0;
}

int main(int count, char **arguments)
{
	static const int signals[] = { SIGSEGV, SIGBUS, SIGABRT, SIGFPE, SIGILL, SIGALRM };
	unsigned rounds = count > 3 ? (unsigned)strtoul(arguments[3], NULL, 10) : 0;
	struct dirent **names = NULL;
	uint64_t files = 0;
	char path[600];
	int found;

	must(count > 2);
	for (size_t i = 0; i < ARRAY_SIZE(signals); i++)
		signal(signals[i], on_signal);
	snprintf(left, sizeof(left), "replay-%.40s.input", arguments[1]);
	found = scandir(arguments[2], &names, NULL, alphasort);
	must(found >= 0);
	for (int i = 0; i < found; i++) {
		struct stat status;

		snprintf(path, sizeof(path), "%.250s/%.255s", arguments[2], names[i]->d_name);
		if (stat(path, &status) == 0 && S_ISREG(status.st_mode)) {
			replay(path, rounds);
			files++;
		}
		free(names[i]);
	}
	free(names);
	must(files > 0);
	snprintf(path, sizeof(path), "I %s: files of the corpus replayed", arguments[1]);
	proof_count(path, files);
	if (strcmp(arguments[1], "fuzz_open") && strcmp(arguments[1], "fuzz_tail"))
		return 0;
	must(run_opened >= OPENED_MIN); /* a corpus of another format tests nothing: see README.rst */
	snprintf(path, sizeof(path), "I %s: files replayed that are databases with keys", arguments[1]);
	proof_count(path, run_opened);
	return 0;
}
