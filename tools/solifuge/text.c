/* SPDX-License-Identifier: MIT */
#include "text.h"

#include <json-c/json.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>

static const char digits[] = "0123456789abcdef";

static void put_hex(FILE *out, unsigned char byte)
{
	putc_unlocked(digits[byte >> 4], out);
	putc_unlocked(digits[byte & 15], out);
}

void text_hex(FILE *out, struct slf_slice bytes)
{
	const unsigned char *data = bytes.data;

	for (size_t i = 0; i < bytes.size; i++)
		put_hex(out, data[i]);
}

static bool is_plain(unsigned char byte)
{
	return byte >= 0x20 && byte < 0x7f && byte != '\\';
}

void text_escaped(FILE *out, struct slf_slice bytes)
{
	const unsigned char *data = bytes.data;

	for (size_t i = 0; i < bytes.size; i++) {
		if (is_plain(data[i])) {
			putc_unlocked(data[i], out);
		} else if (data[i] == '\\') {
			fputs("\\\\", out);
		} else {
			fputs("\\x", out);
			put_hex(out, data[i]);
		}
	}
}

void text_print(FILE *out, struct slf_slice bytes)
{
	const unsigned char *data = bytes.data;

	for (size_t i = 0; i < bytes.size; i++) {
		if (is_plain(data[i])) {
			putc_unlocked(data[i], out);
		} else {
			putc_unlocked('\\', out);
			put_hex(out, data[i]);
		}
	}
}

/* The length of the UTF-8 sequence at data, 0 when there is none. Overlong forms and surrogates are none. */
static size_t utf8_length(const unsigned char *data, size_t size)
{
	size_t length = data[0] < 0x80 ? 1 : data[0] < 0xc2 ? 0 : data[0] < 0xe0 ? 2 : data[0] < 0xf0 ? 3 : 4;

	if (!length || length > size || data[0] > 0xf4)
		return 0;
	for (size_t i = 1; i < length; i++) {
		if ((data[i] & 0xc0) != 0x80)
			return 0;
	}
	if ((data[0] == 0xe0 && data[1] < 0xa0) || (data[0] == 0xed && data[1] >= 0xa0) ||
	    (data[0] == 0xf0 && data[1] < 0x90) || (data[0] == 0xf4 && data[1] >= 0x90))
		return 0;
	return length;
}

/* The length of the character at data that is fit for a terminal, 0 when it is none. */
static size_t shown_length(const unsigned char *data, size_t size)
{
	size_t length = utf8_length(data, size);
	bool control = data[0] < 0x20 || data[0] == 0x7f || (data[0] == 0xc2 && length && data[1] < 0xa0);

	return control ? 0 : length;
}

bool text_has_control(const char *text)
{
	for (; *text; text++) {
		if ((unsigned char)*text < 0x20 || *text == 0x7f)
			return true;
	}
	return false;
}

void text_message(FILE *out, const char *text)
{
	const unsigned char *data = (const unsigned char *)text;
	size_t left = strlen(text);

	flockfile(out);
	while (left) {
		size_t length = shown_length(data, left);

		if (length) {
			fwrite_unlocked(data, 1, length, out);
		} else {
			fputs_unlocked("\\x", out);
			put_hex(out, data[0]);
			length = 1;
		}
		data += length;
		left -= length;
	}
	funlockfile(out);
}

/* Of a text that is longer than this, half comes from its beginning and half from its end. Each byte may become four. */
#define SHOWN_INPUT_BYTES 240

struct text_shown text_shown(const char *text)
{
	struct text_shown shown = { "" };
	FILE *out = fmemopen(shown.text, sizeof(shown.text), "w");
	size_t size = strlen(text);
	char begin[SHOWN_INPUT_BYTES / 2 + 1] = "";

	if (!out)
		return shown;
	if (size > SHOWN_INPUT_BYTES) {
		memcpy(begin, text, sizeof(begin) - 1);
		text_message(out, begin);
		fputs("...", out);
		text += size - SHOWN_INPUT_BYTES / 2;
	}
	text_message(out, text);
	fclose(out);
	return shown;
}

static int digit_of(char c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	if (c >= 'a' && c <= 'f')
		return c - 'a' + 10;
	if (c >= 'A' && c <= 'F')
		return c - 'A' + 10;
	return -1;
}

/* Two digits at input; -1 when they are not. */
static int byte_of(const char *input)
{
	int high = digit_of(input[0]);
	int low = digit_of(input[1]);

	return high < 0 || low < 0 ? -1 : high << 4 | low;
}

long long text_unhex(const char *input, size_t size, unsigned char *output)
{
	if (size % 2)
		return -1;
	for (size_t i = 0; i < size / 2; i++) {
		int byte = byte_of(input + 2 * i);

		if (byte < 0)
			return -1;
		output[i] = (unsigned char)byte;
	}
	return (long long)(size / 2);
}

long long text_unprint(const char *input, size_t size, unsigned char *output)
{
	size_t from = 0;
	size_t to = 0;

	while (from < size) {
		int byte = (unsigned char)input[from];

		if (byte != '\\') {
			from++;
		} else if (from + 1 < size && input[from + 1] == '\\') {
			from += 2;
		} else {
			byte = from + 2 < size ? byte_of(input + from + 1) : -1;
			from += 3;
		}
		if (byte < 0)
			return -1;
		output[to++] = (unsigned char)byte;
	}
	return (long long)to;
}

static bool is_utf8(struct slf_slice bytes)
{
	const unsigned char *data = bytes.data;
	size_t done = 0;

	while (done < bytes.size) {
		size_t length = utf8_length(data + done, bytes.size - done);

		if (!length)
			return false;
		done += length;
	}
	return true;
}

static struct json_object *hex_string(struct slf_slice bytes)
{
	const unsigned char *data = bytes.data;
	struct json_object *string = NULL;
	char *text = bytes.size < INT_MAX / 2 ? malloc(2 * bytes.size + 1) : NULL;

	if (!text)
		return NULL;
	for (size_t i = 0; i < bytes.size; i++) {
		text[2 * i] = digits[data[i] >> 4];
		text[2 * i + 1] = digits[data[i] & 15];
	}
	string = json_object_new_string_len(text, (int)(2 * bytes.size));
	free(text);
	return string;
}

int text_json_add(struct json_object *object, const char *name, struct slf_slice bytes, bool hex)
{
	struct json_object *string = NULL;
	char hex_name[64];

	if (hex || bytes.size > INT_MAX || !is_utf8(bytes)) {
		snprintf(hex_name, sizeof(hex_name), "%s_hex", name);
		name = hex_name;
		string = hex_string(bytes);
	} else {
		string = json_object_new_string_len(bytes.size ? bytes.data : "", (int)bytes.size);
	}
	if (!string)
		return -1;
	return json_object_object_add(object, name, string);
}

#define JSON_FLAGS (JSON_C_TO_STRING_PLAIN | JSON_C_TO_STRING_NOSLASHESCAPE)

/* The text of object, which lives as long as that. NULL: no memory, for json-c leaves out what it has no memory for. */
static const char *json_text(struct json_object *object, size_t *size)
{
	const char *text = object ? json_object_to_json_string_length(object, JSON_FLAGS, size) : NULL;
	struct json_object *again = text ? json_tokener_parse(text) : NULL;
	bool whole = again && json_object_equal(object, again);

	json_object_put(again);
	return whole ? text : NULL;
}

int text_json_line(FILE *out, struct json_object *object)
{
	size_t size = 0;
	const char *text = json_text(object, &size);

	if (text) {
		fwrite(text, 1, size, out);
		fputc('\n', out);
	}
	json_object_put(object);
	return text ? 0 : -1;
}

/* Of a string that is written in pieces, so that their text needs little memory however long it is. */
#define PIECE_BYTES_MAX 4096

/* Writes bytes of UTF-8 as they stand in a JSON string, without its quotes. */
static int write_json_piece(FILE *out, const char *data, size_t size)
{
	struct json_object *string = json_object_new_string_len(data, (int)size);
	size_t length = 0;
	const char *text = json_text(string, &length);

	if (text)
		fwrite(text + 1, 1, length - 2, out);
	json_object_put(string);
	return text ? 0 : -1;
}

static int write_json_string(FILE *out, struct slf_slice bytes)
{
	const char *data = bytes.data;
	int result = 0;

	putc_unlocked('"', out);
	for (size_t left = bytes.size; !result && left && !ferror(out);) {
		size_t size = left < PIECE_BYTES_MAX ? left : PIECE_BYTES_MAX;

		while (size < left && ((unsigned char)data[size] & 0xc0) == 0x80) /* not inside a character */
			size--;
		result = write_json_piece(out, data, size);
		data += size;
		left -= size;
	}
	putc_unlocked('"', out);
	return result;
}

static int write_json_member(FILE *out, const char *name, struct slf_slice bytes, bool hex)
{
	bool text = !hex && is_utf8(bytes);

	fprintf(out, "\"%s%s\":", name, text ? "" : "_hex");
	if (text)
		return write_json_string(out, bytes);
	putc_unlocked('"', out);
	text_hex(out, bytes);
	putc_unlocked('"', out);
	return 0;
}

int text_json_record(FILE *out, struct slf_slice key, const struct slf_slice *value, bool hex)
{
	int result = 0;

	putc_unlocked('{', out);
	result = write_json_member(out, "key", key, hex);
	if (!result && value) {
		putc_unlocked(',', out);
		result = write_json_member(out, "value", *value, hex);
	}
	fputs(result ? "\n" : "}\n", out);
	return result;
}
