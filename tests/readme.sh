#!/bin/bash
# SPDX-License-Identifier: MIT
# The program in README.rst compiles without a warning against the public header and the shared library alone, runs, and
# prints what the text says. Usage: readme.sh SOURCE-ROOT LIBRARY -fsanitize=KINDS
set -euo pipefail

root=$1
library=$(realpath "$2")
sanitize=$3
[ "$sanitize" = -fsanitize=none ] && sanitize=
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

# The first block after ".. code-block:: c", up to the next line that is not indented.
awk '/^\.\. code-block:: c$/ { inside = 1; next } inside && /^[^ \t]/ { exit } inside { sub(/^ {4}/, ""); print }' \
	"$root/README.rst" >"$directory/program.c"
[ -s "$directory/program.c" ] || { echo "readme: README.rst has no C program" >&2; exit 1; }

mkdir "$directory/include"
cp "$root/lib/solifuge.h" "$directory/include/"
${CC:-cc} -std=c11 -Wall -Wextra -Werror ${sanitize:+"$sanitize"} -I"$directory/include" "$directory/program.c" \
	"$library" -Wl,-rpath,"$(dirname "$library")" -o "$directory/program"

cd "$directory"
for round in first second; do
	output=$(./program)
	if [ "$output" != "Hello, world" ]; then
		echo "readme: the $round run printed '$output'" >&2
		exit 1
	fi
done
echo "readme: compiled and ran twice"
