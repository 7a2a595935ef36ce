/* SPDX-License-Identifier: MIT */
/* What the machine itself can do for the same work, measured in the same run. */
#ifndef LIMIT_H
#define LIMIT_H

/* Durable 4 KiB writes per second, one at a time, past the page cache, into space that has been written before: the most
 * that a store can do whose commits are durable one by one. directory is where the stores' files are. Negative: -errno. */
double limit_durable_writes(const char *directory, double seconds);

#endif
