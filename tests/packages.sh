#!/bin/bash
# SPDX-License-Identifier: MIT
# The quickstart's program on a small index: a name that comes twice, a record without a section, a record that is there
# twice. Usage: packages.sh PROGRAM
set -euo pipefail

program=$1
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT

for i in $(seq 1 2500); do
	printf 'Package: p%d\nVersion: 1\nSection: editors\nDescription: number %d\n more text\n\n' "$i" "$i"
done >"$directory/index"
printf 'Package: p1\nVersion: 2\nSection: editors\n\nPackage: p1\nVersion: 2\n\nPackage: gcc\nVersion: 3\n\n' \
	>>"$directory/index"

check() {
	grep -qF -- "$1" "$directory/output" || { echo "packages: '$1' is not in the output:" >&2
						  cat "$directory/output" >&2; exit 1; }
}

"$program" "$directory/db" "$directory/index" >"$directory/output"
check "Loaded 2502 packages"
check "  2501 in all"
check "(main)     loaded 2502, counted 2502, tree says 2502"
check "by-section loaded 2502, counted 2502, tree says 2502"

# An existing database is not touched, an empty index is an error.
! "$program" "$directory/db" "$directory/index" >/dev/null 2>&1 || exit 1
! "$program" "$directory/empty" </dev/null >/dev/null 2>&1 || exit 1
echo "packages: ok"
