#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual pages are clean for mandoc's lint, down to matters of style. Which other pages this machine has is not ours;
# tidy.py sees to the references among our own. Usage: man.sh PAGE...
set -uo pipefail

output=$(mandoc -T lint -W style "$@" 2>&1 | grep -v -e 'referenced manual not found' -e 'outdated mandoc.db')
[ -z "$output" ] && exit 0
echo "$output"
exit 1
