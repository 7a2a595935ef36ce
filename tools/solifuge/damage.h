/* SPDX-License-Identifier: MIT */
/* Where a failed call has met damage, as far as the library tells it: two calls that stop at one place meet the same damage. */
#ifndef DAMAGE_H
#define DAMAGE_H

#include <stdbool.h>
#include <stdint.h>

struct damage {
	int spindle;
	uint64_t offset;
	char text[512];
};

/* Is result a failure that dump --rescue goes past? */
bool damage_found(int result);

/* Sets damage to what this thread's last failure was about. */
void damage_get(struct damage *damage);

bool damage_is_same(const struct damage *left, const struct damage *right);

#endif
