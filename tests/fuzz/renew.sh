#!/bin/bash
# SPDX-License-Identifier: MIT
# renew.sh BUILD KILOBYTES DIRECTORY...: makes tests/fuzz/corpus anew, of the inputs in DIRECTORY/NAME and DIRECTORY/NAME/inputs and
# in the corpus itself: what libFuzzer's -merge=1 takes of them, 150 of every size, to so many kilobytes for each harness.
# Files with a name that somebody has given them stay.
set -euo pipefail

build=$1 kilobytes=$2
shift 2
here=$(cd "$(dirname "$0")" && pwd)
export SOLIFUGE_SOURCE_ROOT=$here/../..

for name in fuzz_open fuzz_tail fuzz_entry fuzz_api; do
	corpus=$here/corpus/$name
	merged=$(mktemp -d)
	sources=("$corpus")
	for directory in "$@"; do
		for source in "$directory/$name" "$directory/$name/inputs"; do
			[ ! -d "$source" ] || sources+=("$source")
		done
	done
	mkdir -p "$corpus"
	"$build/tests/fuzz/$name" -merge=1 -timeout=120 -max_len=32768 "$merged" "${sources[@]}" 2>/dev/null
	find "$corpus" -type f -regextype posix-extended -regex '.*/[0-9a-f]{40}' -delete
	step=$((($(find "$merged" -type f | wc -l) + 149) / 150))
	find "$merged" -type f -printf '%s %p\n' | sort -n | awk "NR % $step == 0" | while read -r size path; do
		[ $(($(du -sb "$corpus" | cut -f1) + size)) -le $((kilobytes * 1024)) ] || break
		cp "$path" "$corpus/"
	done
	rm -rf "$merged"
	echo "$name: $(find "$corpus" -type f | wc -l) inputs, $(du -sb "$corpus" | cut -f1) bytes"
done
