#!/bin/bash
# SPDX-License-Identifier: MIT
# What is installed is enough, and all there is: header, library with its soname, pkg-config file, command, manual. A
# program that knows only these compiles as C and as C++ without a warning, and runs; the examples of the manual compile.
# Usage: install.sh BUILD-ROOT -fsanitize=KINDS
set -euo pipefail

build=$(realpath "$1")
sanitize=$2
[ "$sanitize" = -fsanitize=none ] && sanitize=
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
root=$directory/root

die() { echo "install: $*" >&2; exit 1; }

DESTDIR=$root meson install -C "$build" --no-rebuild --quiet >"$directory/log" 2>&1 || { cat "$directory/log"; exit 1; }
cd "$directory"

# one NAME: the only installed file of that name.
one() {
	local found
	found=$(find "$root" -name "$1")
	[ "$(wc -l <<<"$found")" -eq 1 ] && [ -n "$found" ] || die "not exactly one $1: $found"
	echo "$found"
}

header=$(one solifuge.h)
library=$(one libsolifuge.so.0.*)
package=$(one solifuge.pc)
tool=$(one solifuge)
page=$(one libsolifuge.3)
one solifuge-durability.7 >/dev/null
one solifuge-format.5 >/dev/null
one solifuge.1 >/dev/null
[ "$(find "$root" -name '*.h' -o -name '*.a' -o -name packages | wc -l)" -eq 1 ] || die "more than the public header is installed"
readelf -d "$library" | grep -q 'SONAME.*\[libsolifuge\.so\.0\]' || die "the soname is not libsolifuge.so.0"
[ -e "$(dirname "$library")/libsolifuge.so.0" ] && [ -e "$(dirname "$library")/libsolifuge.so" ] ||
	die "the links to the library are missing"

export PKG_CONFIG_LIBDIR=${package%/*} PKG_CONFIG_SYSROOT_DIR=$root
version=$(sed -n 's/^#define SLF_VERSION_\(MAJOR\|MINOR\|PATCH\) //p' "$header" | paste -sd.)
[ "$(pkg-config --modversion solifuge)" = "$version" ] || die "solifuge.pc and the header name different versions"
flags=$(pkg-config --cflags solifuge)
libraries=$(pkg-config --libs solifuge)

cat >program.c <<'C'
#include <solifuge.h> /* first: it needs no other header before it */
#include <stdio.h>
#include <string.h>

static int use(void)
{
	struct slf_options options = SLF_OPTIONS_INIT;
	struct slf_slice key = { "key", 3 }, value = { "value", 5 };
	struct slf_db *db = NULL;
	struct slf_txn *txn = NULL;
	int result;

	options.flags = SLF_CREATE;
	result = slf_open("installed.db", &options, &db);
	if (!result)
		result = slf_begin(db, SLF_WRITE, &txn);
	if (!result)
		result = slf_put(txn, SLF_MAIN, key, value);
	if (!result)
		result = slf_get(txn, SLF_MAIN, key, &value);
	if (!result)
		result = slf_commit(txn, NULL);
	if (!result)
		result = slf_close(db);
	if (result)
		fprintf(stderr, "%s\n", slf_strerror(result));
	return result || value.size != 5;
}

int main(void)
{
	puts(slf_version());
	return use();
}
C
cp program.c program.cc

# compile PROGRAM COMPILER FLAGS...: compiles, links and runs.
compile() {
	local program=$1
	shift
	# shellcheck disable=SC2086 # flags and libraries are lists of words
	"$1" -Wall -Wextra -Werror "${@:2}" ${sanitize:+"$sanitize"} $flags "$program" $libraries -o a.out
	[ "$(LD_LIBRARY_PATH=${library%/*} ./a.out)" = "$version" ] || die "$* $program: the program does not print $version"
}

compile program.c "${CC:-cc}" -std=c99 -pedantic
compile program.c "${CC:-cc}" -std=gnu11
if command -v "${CXX:-c++}" >/dev/null; then
	# SLF_OPTIONS_INIT names one member and leaves the others 0, of which C++ compilers warn.
	compile program.cc "${CXX:-c++}" -std=c++17
	compile program.cc "${CXX:-c++}" -std=c++20 -pedantic
else
	echo "install: there is no C++ compiler, its part was left out" >&2
fi

# The example of the manual page.
{
	sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "$page" | grep -v '^\.' | sed 's/\\e/\\/g'
	printf 'int main(void)\n{\n\tputs(slf_version());\n'
	printf '\treturn put_one("example.db", (struct slf_slice){ "a", 1 }, (struct slf_slice){ "b", 1 });\n}\n'
} | sed '1i #include <stdio.h>' >example.c
compile example.c "${CC:-cc}" -std=c11

# The examples of the other pages are pieces of functions: they compile inside of one.
# piece PAGE DECLARATIONS
piece() {
	{
		printf '#include <solifuge.h>\n#include <stdio.h>\nextern void use(struct slf_slice, struct slf_slice);\n'
		printf 'int piece(struct slf_db *, struct slf_txn *, const char *);\n'
		printf 'int piece(struct slf_db *db, struct slf_txn *txn, const char *path)\n{\n%s\n(void)db, (void)txn, (void)path;\n' "$2"
		sed -n '/^\.Sh EXAMPLES/,/^\.Ed/p' "${page%/*}/$1" | sed '1,/^\.Bd/d; /^\.Ed/d; s/\\e/\\/g'
		printf 'return 0;\n}\n'
	} >"$1.c"
	# shellcheck disable=SC2086
	"${CC:-cc}" -std=gnu11 -Wall -Wextra -Werror -fsyntax-only $flags "$1.c" || die "the example of $1 does not compile"
}
piece slf_cursor.3 ""
piece slf_tree.3 "int result;"
piece slf_errinfo.3 ""

LD_LIBRARY_PATH=${library%/*} "$tool" scan example.db >output
[ "$(cat output)" = "$(printf 'a\tb')" ] || die "the installed command does not read what the example wrote"
echo "install: ok"
