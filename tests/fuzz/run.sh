#!/bin/bash
# SPDX-License-Identifier: MIT
# run.sh HARNESS CORPUS WORK SECONDS: lets libFuzzer work for so many seconds (SOLIFUGE_TEST_SECONDS: so many instead), from
# the inputs in CORPUS and those of earlier runs in WORK, where what covers something new goes, with another seed each time
# (SOLIFUGE_TEST_SEED: with that one). A finding goes to WORK/findings, and makes this fail. Ends with what was counted.
set -uo pipefail

harness=$1 corpus=$2 work=$3 seconds=${SOLIFUGE_TEST_SECONDS:-$4}
seed=${SOLIFUGE_TEST_SEED:-$(((RANDOM << 15 | RANDOM) + 1))}
name=$(basename "$harness")
inputs=$work/inputs findings=$work/findings log=$work/log edges=$work/edges

# Inputs longer than this only cost time.
declare -A lengths=([fuzz_open]=32768 [fuzz_tail]=8192 [fuzz_entry]=8192 [fuzz_api]=512)

mkdir -p "$inputs" "$findings"
touch "$work/start"
echo "$name: SOLIFUGE_TEST_SEED=$seed"

# Times and numbers of edges, from when the corpus has been read on: what was new in the last hour is not told otherwise.
# Features, and so inputs that have some, go on being found for ever; edges and findings do not.
note_edges() {
	local line known=
	while IFS= read -r line; do
		[[ $line =~ ^#[0-9]+[[:space:]]+([A-Za-z]+)[[:space:]]+cov:\ ([0-9]+) ]] || continue
		[ -n "$known" ] || [ "${BASH_REMATCH[1]}" = INITED ] || continue
		[ "${BASH_REMATCH[2]}" != "$known" ] || continue
		known=${BASH_REMATCH[2]}
		echo "$EPOCHSECONDS $known"
	done
}

"$harness" -seed="$seed" -max_total_time="$seconds" -max_len="${lengths[$name]}" -timeout=120 -rss_limit_mb=2048 \
	-reduce_inputs=0 -print_final_stats=1 -artifact_prefix="$findings/" "$inputs" "$corpus" 2>&1 | tee "$log" | note_edges >"$edges"
status=${PIPESTATUS[0]}

# last FIELD: the number behind it in the last line that tells how far the coverage has come.
last() { grep -E '^#[0-9]+\s' "$log" | tail -1 | sed -nE "s/.* $1: ([0-9]+).*/\1/p"; }
stat() { sed -nE "s/^stat::$1: +([0-9]+)/\1/p" "$log"; }
proof() { echo "proof: I $name: $1 = ${2:-0}"; }

executions=$(stat number_of_executed_units)
if [ $status -ne 0 ]; then
	grep -vE '^(#|INFO)' "$log" | head -100
	echo "$name: a finding, in $findings"
	status=1 # libFuzzer's own 77 would be a test that was skipped
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
proof "edges first covered in the last hour" "$(awk -v since=$((EPOCHSECONDS - 3600)) '
	NR == 1 || $1 < since { before = $2 } { now = $2 } END { print now - before }' "$edges")"
proof "findings" "$(find "$findings" -type f -newer "$work/start" | wc -l)"
exit $status
