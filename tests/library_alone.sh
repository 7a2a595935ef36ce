#!/bin/bash
# SPDX-License-Identifier: MIT
# With -Dtools=false the library is built alone: nothing asks for json-c, no command is built, and what is installed is the
# library, its header, its pkg-config file and its manual. Tests or a benchmark cannot be asked for then.
# Usage: library_alone.sh SOURCE-ROOT
set -euo pipefail

source=$(realpath "$1")
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory"

die() { echo "library_alone: $*" >&2; exit 1; }

meson setup build "$source" -Dtools=false -Doptimization=0 >log 2>&1 || { cat log; die "the library cannot be set up"; }
grep -q json-c log && die "json-c is asked for"
ninja -C build >log 2>&1 || { cat log; die "the library cannot be built"; }
DESTDIR=$directory/root meson install -C build --no-rebuild --quiet >log 2>&1 || { cat log; die "it cannot be installed"; }
for name in solifuge.h solifuge.pc libsolifuge.so libsolifuge.3 solifuge-format.5; do
	[ -n "$(find root -name "$name")" ] || die "no $name is installed"
done
[ -z "$(find root -name solifuge -o -name solifuge.1)" ] || die "the command or its manual is installed"
for option in tests bench; do
	meson setup "with-$option" "$source" -Dtools=false "-D$option=enabled" >log 2>&1 && die "$option=enabled is taken"
	grep -q 'cannot be built without the tools' log || { cat log; die "$option=enabled is refused for another reason"; }
done
echo "library_alone: ok"
