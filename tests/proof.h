/* SPDX-License-Identifier: MIT */
/*
 * What a test has shown, as lines that tests/proof_table.py adds up over all tests to one closing table. Only what was
 * counted while it happened.
 */
#ifndef PROOF_H
#define PROOF_H

#include <inttypes.h>
#include <stdio.h>

static inline void proof_count(const char *what, uint64_t count)
{
	printf("proof: %s = %" PRIu64 "\n", what, count);
}

/* What could not be shown here, and why. */
static inline void proof_not_run(const char *what, const char *why)
{
	printf("proof: %s: not run: %s\n", what, why);
}

#endif
