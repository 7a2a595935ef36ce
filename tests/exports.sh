#!/bin/bash
# SPDX-License-Identifier: MIT
# The shared library exports every function of solifuge.h and nothing else: what leaks out can never be taken back.
# Usage: exports.sh LIBRARY
set -euo pipefail

library=$1
header=$(dirname "$0")/../lib/solifuge.h

declared=$(grep '^SLF_API' "$header" | grep -o '\bslf_[a-z_]*(' | tr -d '(' | sort -u)
exported=$(nm -D --defined-only "$library" | awk '$2 != "A" { print $3 }' | sed 's/@.*//' | sort -u)

if ! diff <(echo "$declared") <(echo "$exported"); then
	echo "exports: < is declared and not exported, > is exported and not declared" >&2
	exit 1
fi
echo "exports: $(wc -l <<<"$declared") functions"
