/* SPDX-License-Identifier: MIT */
/*
 * solifuge COMMAND [options] DB [arguments]: finds the command and hands over. Every command parses its own options
 * with argp, so usage errors are told by it, on standard error, with exit code 2.
 */
#include "tool.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

struct command {
	const char *name;
	int (*run)(int argc, char **argv);
	const char *summary;
};

static const struct command commands[] = {
	{ "create", command_create, "make an empty database" },
	{ "load", command_load, "read records in the text format of mdb_dump and db_dump" },
	{ "dump", command_dump, "write all records in that format" },
	{ "get", command_get, "print the value of a key" },
	{ "put", command_put, "set a key to a value" },
	{ "del", command_del, "remove keys" },
	{ "scan", command_scan, "print a range of keys and values" },
	{ "stat", command_stat, "print the trees and the statistics" },
	{ "info", command_info, "print what the database is" },
};

#define COMMAND_COUNT (sizeof(commands) / sizeof(commands[0]))

static void print_help(FILE *out)
{
	fputs("Usage: solifuge COMMAND [options] DB [arguments]\n\nCommands:\n", out);
	for (size_t i = 0; i < COMMAND_COUNT; i++)
		fprintf(out, "  %-8s %s\n", commands[i].name, commands[i].summary);
	fputs("\nsolifuge COMMAND --help tells the options of a command; solifuge(1) tells all.\n"
	      "Exit codes: 0 done, 1 failure, 2 usage, 3 key or tree not found, 4 damaged database.\n",
	      out);
}

static const struct command *command_find(const char *name)
{
	for (size_t i = 0; i < COMMAND_COUNT; i++) {
		if (!strcmp(commands[i].name, name))
			return &commands[i];
	}
	tell("solifuge", "there is no command '%s'; solifuge --help lists them", text_shown(name).text);
	return NULL;
}

/* Runs the command with its full name in front, which argp and the messages show. */
static int command_run(const struct command *command, int argc, char **argv)
{
	char title[32];

	snprintf(title, sizeof(title), "solifuge %s", command->name);
	argv[0] = title;
	return command->run(argc, argv);
}

static int help(const char *name)
{
	char option[] = "--help";
	char *argv[] = { NULL, option, NULL };
	const struct command *command = NULL;

	if (!name) {
		print_help(stdout);
		return EXIT_OK;
	}
	command = command_find(name);
	return command ? command_run(command, 2, argv) : EXIT_USAGE;
}

/*
 * Sees to it that the three standard streams are there, or the next file that a command opens would be one of them. The
 * stand-ins are open the wrong way round: their use fails.
 */
static bool standard_open(void)
{
	for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; fd++) {
		if (fcntl(fd, F_GETFD) < 0 && open("/dev/null", fd == STDIN_FILENO ? O_WRONLY : O_RDONLY) != fd)
			return false;
	}
	return true;
}

int main(int argc, char **argv)
{
	const struct command *command = NULL;

	if (!standard_open())
		return EXIT_FAILED;
	atexit(output_at_exit);
	argp_err_exit_status = EXIT_USAGE;
	if (argc < 2) {
		print_help(stderr);
		return EXIT_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h") || !strcmp(argv[1], "help"))
		return help(argc > 2 ? argv[2] : NULL);
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V")) {
		printf("solifuge %s\n", slf_version());
		return EXIT_OK;
	}
	command = command_find(argv[1]);
	return command ? command_run(command, argc - 1, argv + 1) : EXIT_USAGE;
}
