#!/bin/bash
# SPDX-License-Identifier: MIT
# run.sh HARNESS CORPUS WORK SECONDS: lets libFuzzer work for so many seconds (SOLIFUGE_TEST_SECONDS: so many instead), from
# the inputs in CORPUS and those of earlier runs in WORK, where what covers something new goes. A finding goes to
# WORK/findings, and makes this fail. Ends with what was counted.
set -uo pipefail

harness=$1 corpus=$2 work=$3 seconds=${SOLIFUGE_TEST_SECONDS:-$4}
name=$(basename "$harness")
inputs=$work/inputs findings=$work/findings log=$work/log

# Inputs longer than this only cost time.
declare -A lengths=([fuzz_open]=32768 [fuzz_tail]=8192 [fuzz_entry]=8192 [fuzz_api]=512)

mkdir -p "$inputs" "$findings"
touch "$work/start"
"$harness" -seed="${SOLIFUGE_TEST_SEED:-1}" -max_total_time="$seconds" -max_len="${lengths[$name]}" -timeout=120 -rss_limit_mb=2048 -reduce_inputs=0 \
	-print_final_stats=1 -artifact_prefix="$findings/" "$inputs" "$corpus" >"$log" 2>&1
status=$?

# last FIELD: the number behind it in the last line that tells how far the coverage has come.
last() { grep -E '^#[0-9]+\s' "$log" | tail -1 | sed -nE "s/.* $1: ([0-9]+).*/\1/p"; }
stat() { sed -nE "s/^stat::$1: +([0-9]+)/\1/p" "$log"; }
proof() { echo "proof: I $name: $1 = ${2:-0}"; }

executions=$(stat number_of_executed_units)
if [ $status -ne 0 ]; then
	grep -vE '^(#|INFO)' "$log" | head -100
	echo "$name: a finding, in $findings"
elif [ "${executions:-0}" -eq 0 ] || [ "$(last cov)" = "" ]; then
	tail -20 "$log"
	echo "$name: nothing ran"
	status=1
fi
proof "executions" "$executions"
proof "edges of the library covered" "$(last cov)"
proof "features covered" "$(last ft)"
proof "inputs of the corpus" "$(find "$corpus" -type f | wc -l)"
proof "inputs found that cover something new" "$(find "$inputs" -type f -newer "$work/start" | wc -l)"
proof "inputs found in the last hour" "$(find "$inputs" -type f -newer "$work/start" -mmin -60 | wc -l)"
exit $status
