#!/bin/bash
# SPDX-License-Identifier: MIT
# What tools/install-packages.sh does, with commands in the place of apt, dpkg, sudo and id that note how they are called: it
# would install what is there, or not get on where the package lists are missing or too old, or where root is not to be had.
# Usage: apt.sh TOOLS-DIRECTORY
set -uo pipefail

tools=$1
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
failed=0
mkdir "$directory/bin"
# Nothing else is in the path, so that no sudo of this machine is found.
for command in bash cat env grep; do ln -s "$(command -v $command)" "$directory/bin/"; done
bash=$(command -v bash)

# fake NAME: a command whose text is standard input.
fake() { { echo "#!$bash"; cat; } >"$directory/bin/$1"; chmod +x "$directory/bin/$1"; }
fake id <<<'echo ${FAKE_ID:-0}'
fake dpkg-query <<<'case " $FAKE_INSTALLED " in *" ${@: -1} "*) echo -n installed ;; *) exit 1 ;; esac'
fake apt-get <<'END'
[ "$1" != indextargets ] || { echo -n "$FAKE_LISTS"; exit; }
echo "apt-get $1${DEBIAN_FRONTEND:+ $DEBIAN_FRONTEND} ${*: -1}" >>"$FAKE_LOG"
if [ "$1" = install ]; then exit "$(grep -c update "$FAKE_LOG" | { read -r n; echo $((n < ${FAKE_UPDATES:-0})); })"; fi
END

# expect NAME STATUS CALLS [VARIABLE=VALUE...]: installs "one two three".
expect() {
	local name=$1 status=$2 calls=$3 got
	shift 3
	: >"$directory/log"
	env -i PATH="$directory/bin" FAKE_LOG="$directory/log" FAKE_LISTS=list FAKE_INSTALLED="one three" "$@" "$bash" -c \
		'. "$0/install-packages.sh"; install_packages one two three' "$tools" >"$directory/out" 2>"$directory/err"
	got=$?
	if [ $got -ne "$status" ] || [ "$(cat "$directory/log")" != "$(printf '%b' "$calls")" ]; then
		echo "apt: FAILED: $name: status $got, not $status; calls:" >&2
		cat "$directory/log" "$directory/out" "$directory/err" >&2
		failed=1
	fi
}

install="apt-get install noninteractive two\n"
update="apt-get update -qq\n"
expect "all is there" 0 "" FAKE_INSTALLED="one two three"
expect "one is missing" 0 "$install"
expect "no lists" 0 "$update$install" FAKE_LISTS=
expect "old lists" 0 "$install$update$install" FAKE_UPDATES=1
expect "it cannot be installed" 1 "$install$update$install" FAKE_UPDATES=9
expect "no root and no sudo" 1 "" FAKE_ID=1000
grep -q 'apt-get install two' "$directory/err" || { echo "apt: FAILED: the packages are not named" >&2; failed=1; }
expect "no root, but all is there" 0 "" FAKE_ID=1000 FAKE_INSTALLED="one two three"
fake sudo <<'END'
echo sudo >>"$FAKE_LOG"
exec "$@"
END
expect "no root, but sudo" 0 "sudo\n$install" FAKE_ID=1000
expect "no root, no lists, but sudo" 0 "sudo\n${update}sudo\n$install" FAKE_ID=1000 FAKE_LISTS=
[ $failed -eq 0 ] && echo "apt: ok"
exit $failed
