#!/bin/bash
# SPDX-License-Identifier: MIT
# run.sh HARNESS CORPUS WORK SECONDS: lets libFuzzer work for so many seconds (SOLIFUGE_TEST_SECONDS: so many instead), from
# the inputs in CORPUS and those of earlier runs in WORK, where what covers something new goes, with another seed each time
# (SOLIFUGE_TEST_SEED: with that one). A finding goes to WORK/findings, and makes this fail. Ends with what was counted.
set -uo pipefail

harness=$1 corpus=$2 work=$3 seconds=${SOLIFUGE_TEST_SECONDS:-$4}
seed=${SOLIFUGE_TEST_SEED:-$(((RANDOM << 15 | RANDOM) + 1))}
name=$(basename "$harness")
inputs=$work/inputs findings=$work/findings log=$work/log

# Inputs longer than this only cost time.
declare -A lengths=([fuzz_open]=32768 [fuzz_tail]=8192 [fuzz_entry]=8192 [fuzz_api]=512)

mkdir -p "$inputs" "$findings"
touch "$work/start"
echo "$name: SOLIFUGE_TEST_SEED=$seed"

"$harness" -seed="$seed" -max_total_time="$seconds" -max_len="${lengths[$name]}" -timeout=120 -rss_limit_mb=2048 \
	-reduce_inputs=0 -print_final_stats=1 -artifact_prefix="$findings/" "$inputs" "$corpus" >"$log" 2>&1
status=$?

# told FIELD KIND: the number behind FIELD in the last line of a kind that tells how far the coverage has come.
told() { sed -nE "s/^#[0-9]+\s+$2 .*$1: ([0-9]+).*/\1/p" "$log" | tail -1; }
stat() { sed -nE "s/^stat::$1: +([0-9]+)/\1/p" "$log"; }
proof() { echo "proof: I $name: $1 = ${2:-0}"; }

executions=$(stat number_of_executed_units) edges=$(told cov '\w+') read_in=$(told cov INITED)
if [ $status -ne 0 ]; then
	grep -vE '^(#|INFO)' "$log" | head -100
	echo "$name: a finding, in $findings"
	status=1 # libFuzzer's own 77 would be a test that was skipped
elif [ "${executions:-0}" -eq 0 ] || [ -z "$edges" ]; then
	tail -20 "$log"
	echo "$name: nothing ran"
	status=1
fi
proof "executions" "$executions"
proof "edges of the library covered" "$edges"
proof "features covered" "$(told ft '\w+')"
proof "inputs of the corpus" "$(find "$corpus" -type f | wc -l)"
proof "inputs found that cover something new" "$(find "$inputs" -type f -newer "$work/start" | wc -l)"
proof "edges covered for the first time" $((${edges:-0} - ${read_in:-${edges:-0}}))
proof "findings" "$(find "$findings" -type f -newer "$work/start" | wc -l)"
exit $status
