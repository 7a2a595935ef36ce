#!/bin/bash
# SPDX-License-Identifier: MIT
# valgrind.sh BUILD: builds in BUILD, without sanitizers, and runs some of the tests under valgrind: bytes that nobody has set
# must decide nothing, and must not reach a file, where they would show what was in memory. By the POSIX back end: what
# io_uring reads would count as not set. Ends with what was counted, and exits with 1 when a test failed or valgrind found
# something; BUILD/valgrind/ has the outputs. Needs the packages of tools/check, and valgrind.
set -uo pipefail

build=$1
root=$(cd "$(dirname "$0")/.." && pwd)
logs=$build/valgrind

# Nodes, entries, slabs and pages as bytes; the engine on the simulated disk, with power cuts; the public interface on files.
tests=(action bulk entry log meta node node_branch node_disk slab store part tree checkpoint commit recover replay crash
	api_cursor api_data)

# Of valgrind's 128 GiB a simulated disk of the usual size would take half.
options=(--buildtype=debugoptimized -Dtests=enabled -Dbench=disabled -Dplain_runner=true
	-Dc_args=-DSIM_FILE_BYTES_MAX=2147483648ull)
if [ ! -f "$build/build.ninja" ]; then
	meson setup "$build" "$root" "${options[@]}" >/dev/null || exit 1
fi
ninja -C "$build" --quiet "${tests[@]/#/tests/test_}" || exit 1

export SOLIFUGE_IO=posix SOLIFUGE_SOURCE_ROOT=$root SOLIFUGE_TEST_ROUNDS=1
mkdir -p "$logs"
status=0 passed=0
for name in "${tests[@]}"; do
	log=$logs/$name.log
	if ! timeout -k 10 1200 valgrind --quiet --track-origins=yes --leak-check=no --fair-sched=yes --error-exitcode=99 \
		"$build/tests/test_$name" >"$log" 2>&1 || grep -qE 'uninitialised|Invalid (read|write)' "$log"; then
		status=1
		echo "test_$name under valgrind: $log"
		grep -E '^==[0-9]+== |failed$|crashed$' "$log" | head -40
	fi
	passed=$((passed + $(sed -nE 's/^Synthesis: .*Passing: ([0-9]+) .*/\1/p' "$log" | grep . || echo 0)))
done
echo "proof: J tests passed under valgrind = $passed"
exit $status
