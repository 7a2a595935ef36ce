# SPDX-License-Identifier: MIT
# Sourced by tools/quickstart, tools/check, tools/coverage, tools/torture and bench/setup: installs the Debian packages
# that are missing, and only those.

# as_root COMMAND...: as it is for root, else through sudo.
as_root() {
	if [ "$(id -u)" -eq 0 ]; then
		"$@"
	elif command -v sudo >/dev/null; then
		sudo "$@"
	else
		echo "$0: '$*' needs root; run this as root, or install sudo" >&2
		return 1
	fi
}

# lists_missing: true when apt has no package list; what is installed alone does not count.
lists_missing() {
	[ -z "$(apt-get indextargets --format '$(FILENAME)' 'Created-By: Packages' 2>/dev/null)" ]
}

# lists_update: fetches the package lists.
lists_update() {
	echo "The package lists are missing or too old: fetching them with apt-get update."
	as_root apt-get update -qq
}

# install_packages NAME...
install_packages() {
	local missing=() name
	for name in "$@"; do
		[ "$(dpkg-query -W -f '${db:Status-Status}' "$name" 2>/dev/null)" = installed ] || missing+=("$name")
	done
	[ ${#missing[@]} -gt 0 ] || return 0
	if [ "$(id -u)" -ne 0 ] && ! command -v sudo >/dev/null; then
		echo "$0: packages are missing, and there is no sudo; as root: apt-get install ${missing[*]}" >&2
		return 1
	fi
	if lists_missing; then
		lists_update
	fi
	echo "Installing: ${missing[*]}"
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
		>/dev/null && return 0
	# Old lists name files that the mirrors no longer have.
	lists_update
	as_root env DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${missing[@]}" \
		>/dev/null
}

build_packages=(gcc libc6-dev meson ninja-build pkg-config liburing-dev libxxhash-dev liblz4-dev libjson-c-dev)
test_packages=(g++ libcriterion-dev lmdb-utils db-util liblmdb-dev mandoc python3 binutils util-linux
	e2fsprogs xfsprogs btrfs-progs)
fuzz_packages=(clang-14 libclang-rt-14-dev)
coverage_packages=(gcovr)
valgrind_packages=(valgrind)
store_packages=(liblmdb-dev librocksdb-dev libwiredtiger-dev libleveldb-dev libsqlite3-dev libdb5.3-dev)
report_packages=(gnuplot-nox python3)
