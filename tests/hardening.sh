#!/bin/bash
# SPDX-License-Identifier: MIT
# What the compiler and the linker were asked for to make an overrun harmless is in what they have made: an option that is not
# known, or comes too late, is left out without a word. Only for trees with optimisation and without sanitizers.
# Usage: hardening.sh LIBRARY TOOL
set -euo pipefail

library=$1 tool=$2
failed=0

# has FILE WHAT PATTERN TEXT: a line of the text looks so.
has() { grep -qE -- "$3" <<<"$4" || { echo "hardening: $1: $2" >&2; failed=1; }; }
# has_no FILE WHAT PATTERN TEXT
has_no() { ! grep -E -- "$3" <<<"$4" >&2 || { echo "hardening: $1: $2" >&2; failed=1; }; }

for file in "$library" "$tool"; do
	headers=$(readelf --wide --program-headers "$file")
	dynamic=$(readelf --wide --dynamic "$file")
	symbols=$(readelf --wide --dyn-syms "$file")
	has "$file" "what is relocated stays writable (-z relro)" '^ +GNU_RELRO ' "$headers"
	has "$file" "symbols are bound when they are first called (-z now)" 'BIND_NOW|\bNOW\b' "$dynamic"
	has "$file" "nothing is said about the stack" '^ +GNU_STACK ' "$headers"
	has_no "$file" "the stack can be executed" '^ +GNU_STACK .* RWE ' "$headers"
	has_no "$file" "a segment can be written and executed" '^ +LOAD .* RWE ' "$headers"
	has_no "$file" "code is relocated" 'TEXTREL' "$dynamic"
	has "$file" "no function guards its stack (-fstack-protector-strong)" '\b__stack_chk_fail\b' "$symbols"
	has "$file" "no function is fortified (-D_FORTIFY_SOURCE)" '\b__(asprintf|memcpy|memset|snprintf|strcpy|vsnprintf)_chk\b' \
		"$symbols"
done
has "$tool" "it lies at a fixed address (-pie)" '\bPIE\b' "$(readelf --wide --dynamic "$tool")"

if [ "$(uname -m)" = x86_64 ]; then
	code=$(objdump --disassemble --no-show-raw-insn "$library")
	has "$library" "indirect calls may land anywhere (-fcf-protection)" 'endbr64' "$code"
	has "$library" "large frames jump over the guard page (-fstack-clash-protection)" 'orq +\$0x0,(0x[0-9a-f]+)?\(%rsp\)' "$code"
fi
[ $failed = 0 ] && echo "hardening: all there"
exit $failed
