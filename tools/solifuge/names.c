/* SPDX-License-Identifier: MIT */
/*
 * The public interface gives the first name behind any string. Of the strings behind the last name that was read, the first
 * ones lead to the damaged node and all others past it: the last that does lead there is sought byte by byte, and the reading
 * goes on behind it. A database with damaged names may have more trees than it names: their ids are small numbers, and an id
 * behind the last is refused.
 *
 * Forged nodes, which may lead anywhere, are stopped by PROBES_MAX.
 */
#include "names.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "damage.h"

#define PROBES_MAX (1u << 24)

/* ---- By name ----------------------------------------------------------------------------------------------------- */

/* Does what is behind name begin with that damage? 1, 0, or a failure. */
static int probe(struct names *names, const char *name, const struct damage *damage)
{
	char next[256] = "";
	uint32_t tree = 0;
	struct damage found = { 0 };
	int result = 0;

	if (strcmp(name, names->name) <= 0)
		return 1;
	names->probes++;
	strcpy(next, name);
	result = slf_tree_next(names->txn, next, sizeof(next), &tree);
	if (!damage_found(result))
		return result < 0 ? result : 0;
	damage_get(&found);
	return damage_is_same(&found, damage);
}

/* Sets the byte at length to the highest with which name still leads to the damage; 0 ends it. 0 or a failure. */
static int lengthen(struct names *names, char *name, size_t length, const struct damage *damage)
{
	unsigned low = 0;
	unsigned high = 256;
	int result = 0;

	while (high - low > 1) {
		unsigned middle = high == 256 ? 255 : (low + high) / 2;

		name[length] = (char)middle;
		result = probe(names, name, damage);
		if (result < 0)
			return result;
		low = result ? middle : low;
		high = result ? high : middle;
		if (low == 255)
			break;
	}
	name[length] = (char)low;
	return 0;
}

/* Makes of name the string that follows it among those of 255 bytes at most. False: it is the last. */
static bool succeed(char *name)
{
	size_t length = strlen(name);

	if (length < 255) {
		name[length] = 1;
		name[length + 1] = 0;
		return true;
	}
	while (length && (unsigned char)name[length - 1] == 255)
		name[--length] = 0;
	if (length)
		name[length - 1]++;
	return length;
}

static void tell_lost(struct names *names, const char *next, const struct damage *damage)
{
	const char *command = names->common->command;

	names->damaged = true;
	if (names->quiet)
		return;
	if (!names->name[0] && !next[0])
		tell(command, "all names of trees are missing: %s", damage->text);
	else if (!names->name[0])
		tell(command, "names of trees before '%s' may be missing: %s", text_shown(next).text, damage->text);
	else if (!next[0])
		tell(command, "names of trees behind '%s' may be missing: %s", text_shown(names->name).text, damage->text);
	else
		tell(command, "names of trees between '%s' and '%s' may be missing: %s", text_shown(names->name).text,
		     text_shown(next).text, damage->text);
}

/* Goes past the damage behind the name. 0: to a tree; SLF_NOTFOUND: to a name without one; SLF_END; or a failure. */
static int go_past(struct names *names)
{
	char name[256] = "";
	struct damage damage = { 0 };
	bool more = false;
	int result = 0;

	damage_get(&damage);
	for (size_t length = 0; !result && length < 255 && (!length || name[length - 1]); length++)
		result = lengthen(names, name, length, &damage);
	if (result)
		return result;
	more = succeed(name);
	tell_lost(names, more ? name : "", &damage);
	if (!more || names->probes >= PROBES_MAX)
		return SLF_END;
	strcpy(names->name, name);
	result = slf_tree_open(names->txn, name, 0, &names->tree);
	return damage_found(result) ? SLF_NOTFOUND : result;
}

static int next_by_name(struct names *names)
{
	int result = SLF_NOTFOUND;

	while (result == SLF_NOTFOUND) {
		result = slf_tree_next(names->txn, names->name, sizeof(names->name), &names->tree);
		if (names->common->rescues && damage_found(result))
			result = go_past(names);
	}
	return result;
}

/* ---- By id ------------------------------------------------------------------------------------------------------- */

static int note_id(struct names *names)
{
	if (names->id_count == names->id_room) {
		size_t room = names->id_room ? 2 * names->id_room : 64;
		uint32_t *ids = reallocarray(names->ids, room, sizeof(*ids));

		if (!ids)
			return -ENOMEM;
		names->ids = ids;
		names->id_room = room;
	}
	names->ids[names->id_count++] = names->tree;
	return 0;
}

static int compare_ids(const void *left, const void *right)
{
	const uint32_t *a = left;
	const uint32_t *b = right;

	return (*a > *b) - (*a < *b);
}

static void begin_ids(struct names *names)
{
	names->by_id = true;
	names->tree = SLF_MAIN;
	if (names->id_count)
		qsort(names->ids, names->id_count, sizeof(*names->ids), compare_ids);
}

/* Gives the tree a name that no other has. A name that cannot be looked up is lost, and free. */
static void name_lost(struct names *names)
{
	uint32_t other = 0;

	snprintf(names->name, sizeof(names->name), "lost-%u", names->tree);
	while (!slf_tree_open(names->txn, names->name, 0, &other) && strlen(names->name) < sizeof(names->name) - 1)
		strcat(names->name, "-");
	if (!names->quiet)
		tell(names->common->command, "%s: the tree with the id %u has lost its name, and becomes tree '%s'",
		     names->common->shown.text, names->tree, names->name);
}

/* A tree whose name is lost, and whose root too, is not one to be found again: only its id is told. */
static int next_by_id(struct names *names)
{
	struct slf_tree_stat stat = { .size = sizeof(stat) };
	struct damage damage = { 0 };

	for (;;) {
		int result = 0;

		names->tree++;
		if (names->id_count && bsearch(&names->tree, names->ids, names->id_count, sizeof(*names->ids), compare_ids))
			continue;
		result = slf_tree_stat(names->txn, names->tree, &stat);
		if (result == -EINVAL)
			return SLF_END; /* behind the last id */
		if (result && !damage_found(result))
			return result;
		if (!result && stat.entries) {
			name_lost(names);
			return 0;
		}
		if (!result)
			continue; /* an empty tree, or none */
		damage_get(&damage);
		if (!names->quiet)
			tell(names->common->command, "the tree with the id %u is missing, with its name: %s", names->tree,
			     damage.text);
	}
}

int names_next(struct names *names)
{
	int result = 0;

	if (!names->by_id) {
		result = next_by_name(names);
		if (!result && names->common->rescues)
			result = note_id(names);
		if (result != SLF_END || !names->damaged)
			return result;
		begin_ids(names);
	}
	return next_by_id(names);
}

void names_release(struct names *names)
{
	free(names->ids);
	names->ids = NULL;
}
