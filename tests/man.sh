#!/bin/bash
# SPDX-License-Identifier: MIT
# The manual pages are clean for mandoc's lint, down to matters of style. Which other pages this machine has is not ours;
# tidy.py sees to the references among our own. The two streams are read one after the other: together they cut each
# other's lines. Usage: man.sh PAGE...
set -uo pipefail

lint=$(mandoc -T lint -W style "$@" 2>/dev/null | grep -v 'referenced manual not found')
said=$(mandoc -T lint -W style "$@" 2>&1 >/dev/null | grep -v 'outdated mandoc.db')
[ -z "$lint$said" ] && exit 0
echo "$lint" "$said"
exit 1
