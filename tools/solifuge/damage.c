/* SPDX-License-Identifier: MIT */
#include "damage.h"

#include <errno.h>
#include <string.h>

#include <solifuge.h>

bool damage_found(int result)
{
	return result == SLF_ECORRUPT || result == -EIO;
}

void damage_get(struct damage *damage)
{
	struct slf_errinfo info = { .size = sizeof(info) };

	slf_errinfo(&info);
	damage->spindle = info.spindle;
	damage->offset = info.offset;
	memcpy(damage->text, info.text, sizeof(damage->text));
}

bool damage_is_same(const struct damage *left, const struct damage *right)
{
	return left->spindle == right->spindle && left->offset == right->offset;
}
