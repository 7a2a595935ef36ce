/* SPDX-License-Identifier: MIT */
/* Bytes as text: escapes, hexadecimal digits, JSON. Pure but for the stream written to. */
#ifndef TEXT_H
#define TEXT_H

#include <stdbool.h>
#include <stdio.h>

#include <solifuge.h>

struct json_object;

/* Writes every byte as two hexadecimal digits. */
void text_hex(FILE *out, struct slf_slice bytes);

/* Writes printable ASCII as it is, a backslash as \\ and any other byte as \xHH. */
void text_escaped(FILE *out, struct slf_slice bytes);

/* Writes printable ASCII as it is, a backslash and any other byte as \HH: the format=print of db_dump(1). */
void text_print(FILE *out, struct slf_slice bytes);

/* Text of anybody's making as part of a message: printable, and short. */
struct text_shown {
	char text[1024];
};

/* text without what a terminal might obey (see text_message()), and without its middle when it is long. */
struct text_shown text_shown(const char *text);

/* Writes printable characters, also those that are not ASCII, as they are, and every byte that is a control character, or no
 * UTF-8, as \xHH. */
void text_message(FILE *out, const char *text);

/* Is there a control character in text? */
bool text_has_control(const char *text);

/* Decodes pairs of hexadecimal digits from input to output (which may be the same). The size, or -1. */
long long text_unhex(const char *input, size_t size, unsigned char *output);

/* Decodes \HH and \\ likewise. */
long long text_unprint(const char *input, size_t size, unsigned char *output);

/* Adds bytes to object as name, a string, or as name_hex where they are not UTF-8 or hex is asked for. -1: no memory. */
int text_json_add(struct json_object *object, const char *name, struct slf_slice bytes, bool hex);

/* Writes object as one line and frees it. -1: no memory, nothing is written. */
int text_json_line(FILE *out, struct json_object *object);

/*
 * Writes an object with key, and with value where that is not NULL, as one line, the members named as by text_json_add(): in
 * pieces, so that it takes no memory to speak of. -1: no memory; the line is no JSON then.
 */
int text_json_record(FILE *out, struct slf_slice key, const struct slf_slice *value, bool hex);

#endif
