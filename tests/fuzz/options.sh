# SPDX-License-Identifier: MIT
# Sourced by tools/check and tools/torture: how a tree of fuzzers is set up, with CC=clang-14. Clang takes the asserts that
# say in words what cannot be for conversions, and finds the sanitizers' functions only in programs.
fuzz_options=(--buildtype=debugoptimized -Dfuzz=true -Dparanoid=true -Dbench=disabled -Dwerror=true
	-Db_sanitize=address,undefined -Db_lundef=false -Dc_args=-Wno-string-conversion)
