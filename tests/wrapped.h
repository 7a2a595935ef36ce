/* SPDX-License-Identifier: MIT */
/* Begins the definition of a function that takes the place of another one, with "-Wl,--wrap=NAME"; that one is __real_NAME. */
#ifndef WRAPPED_H
#define WRAPPED_H

#define WRAPPED(type, name, ...)         \
	type __real_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__); \
	type __wrap_##name(__VA_ARGS__)

#endif
