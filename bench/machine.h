/* SPDX-License-Identifier: MIT */
/* What the measurements ran on. */
#ifndef MACHINE_H
#define MACHINE_H

#include <json-c/json.h>
#include <stdint.h>

/* Kernel, CPU, memory, file system and device of directory. The caller owns it. */
json_object *machine_describe(const char *directory);

uint64_t machine_memory_bytes(void);

#endif
