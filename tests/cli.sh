#!/bin/bash
# SPDX-License-Identifier: MIT
# The command solifuge: exit codes, messages, and that dumps go to LMDB's tools and back unchanged.
# Usage: cli.sh SOLIFUGE
set -uo pipefail
shopt -s lastpipe # a check behind a pipe is counted

tool=$(realpath "$1")
directory=$(mktemp -d)
trap 'rm -rf "$directory"' EXIT
cd "$directory" || exit 1
passed=0
failed=0

# note NAME CONDITION-STATUS: counts one check.
note() {
	if [ "$2" -eq 0 ]; then
		passed=$((passed + 1))
	else
		failed=$((failed + 1))
		echo "cli: FAILED: $1" >&2
		head -n 12 out err | sed 's/^/cli:   /' >&2
	fi
}

# expect CODE NAME ARGUMENTS...: runs the tool; output in out and err. Standard input is passed on.
expect() {
	local code=$1 name=$2
	shift 2
	"$tool" "$@" >out 2>err
	local got=$?
	[ $got -eq "$code" ] || echo "exit code $got, expected $code" >>err
	note "$name" $((got != code))
}

# says PATTERN NAME: the last command's standard error has the pattern.
says() { grep -q -- "$1" err; note "$2: says '$1'" $?; }
# prints TEXT NAME: the last command's output is exactly the text (printf escapes, with a newline at its end).
prints() { printf "$1\n" | cmp -s - out; note "$2: prints $1" $?; }
# same FILE FILE NAME
same() { cmp -s "$1" "$2"; note "$3" $?; }

# ---- one key at a time ----
expect 0 "create" create db
expect 1 "create over an existing database" create db
says "db" "create over an existing database"
expect 0 "put an argument" put db apple green
expect 0 "get it" get db apple
printf green >want; same want out "a value comes out byte for byte"
printf 'a\0b\377\n' >binary
expect 0 "put from standard input" put db blob <binary
expect 0 "get binary" get db blob
same binary out "a binary value comes out byte for byte"
expect 0 "put from a file" put --file binary db file
expect 0 "get what came from a file" get db file
same binary out "a file's bytes come out"
expect 0 "put a binary key" put --hex db 00ff0a5c 01
expect 0 "get a binary key" get --hex db 00FF0a5c
prints 01 "get a binary key"
expect 0 "get into a file" get -o got db file
same binary got "a value in a file is the same"
truncate -s 300M large
expect 0 "put a large value" put --file large db large
expect 0 "get a value that is larger than a transaction's memory" get --force -o got db large
same large got "a large value is the same"
expect 0 "delete a large value" del db large
rm large got
[ ! -s out ]; note "and not printed" $?
cp binary got
expect 1 "get over a file" get -o got db file
says "got exists already" "get over a file"
expect 3 "get what is not there into a file" get --force -o got db pear
same binary got "the file stays when there is no value"
cp db db.before
expect 1 "get into the database" get -o db db file
same db db.before "get leaves the database as it is"
rm got db.before
expect 0 "put an empty value" put db empty ""
expect 0 "get an empty value" get db empty
[ ! -s out ]; note "an empty value is empty" $?
expect 0 "put an empty key" put db "" nothing
expect 0 "get an empty key" get db ""
expect 0 "del the empty key" del db ""
expect 3 "get what is not there" get db pear
says "not found" "get what is not there"
[ ! -s out ]; note "nothing is printed for what is not there" $?
expect 3 "get from a tree that is not there" get --tree none db apple
says "no tree 'none'" "get from a tree that is not there"
expect 0 "put into a tree" put --tree sub db apple red
expect 0 "get from a tree" get --tree sub db apple
printf red >want; same want out "trees are apart"
expect 0 "get json" get --json db apple
prints '{"key":"apple","value":"green"}' "get json"
expect 0 "get json of bytes" get --json db blob
prints '{"key":"blob","value_hex":"610062ff0a"}' "get json of bytes"
expect 0 "put to remove" put db gone 1
expect 3 "del one that is there and one that is not" del db gone never
expect 3 "it is gone" get db gone

# ---- scans ----
expect 0 "scan" scan db
prints '\\x00\\xff\\x0a\\\\\t\\x01\napple\tgreen\nblob\ta\\x00b\\xff\\x0a\nempty\t\nfile\ta\\x00b\\xff\\x0a' "scan"
expect 0 "scan keys backwards" scan --keys --reverse --limit 2 db
prints 'file\nempty' "scan keys backwards"
expect 0 "scan from to" scan --keys --from b --to file db
prints 'blob\nempty' "scan from to"
expect 0 "scan prefix" scan --keys --prefix fi db
prints file "scan prefix"
expect 0 "scan hex" scan --hex --keys --from 00 --to 6170706c6500 db
prints '00ff0a5c\n6170706c65' "scan hex"
expect 0 "scan json" scan --json --prefix a db
prints '{"key":"apple","value":"green"}' "scan json"
expect 0 "count a range" scan --count --from b --to file db
prints 2 "count a range"
expect 0 "count all" scan --count --json db
prints '{"count":5}' "count all"
expect 0 "count as many as wanted" scan --count --limit 3 --reverse db
prints 3 "count as many as wanted"
expect 0 "count nothing" scan --count --prefix zz db
prints 0 "count nothing"
expect 0 "scan nothing" scan --prefix zz db
[ ! -s out ]; note "scan nothing prints nothing" $?
# A record is written in pieces: none may part a character, and no memory grows with the value but that of the value itself.
python3 - <<'END'
text = "".join(c * n for n, c in enumerate("a\"\\/\n\0\x1f\x7f\u00e4\u20ac\U0001f600 ")) * 900
open("odd.text", "w", encoding="utf-8", newline="").write("x" + text + "\u20ac" * 9000 + "\U0001f600" * 9001)
open("odd.bytes", "wb").write(text.encode() + b"\xff" + text.encode())
END
expect 0 "create for json" create json.db
expect 0 "put a value of odd characters" put --file odd.text json.db $'\xc3\xa4"'
expect 0 "put a value of odd bytes" put --file odd.bytes json.db $'\xff\\'
for arguments in "get --json json.db ä\"" "scan --json json.db"; do
	# shellcheck disable=SC2086 # a list of words
	expect 0 "large json: $arguments" $arguments
	python3 - <<'END' 2>>err
import json
text, data = open("odd.text", "rb").read(), open("odd.bytes", "rb").read()
want = [{"key": "\u00e4\"", "value": text.decode()}, {"key_hex": b"\xff\\".hex(), "value_hex": data.hex()}]
lines = open("out", "rb").read().split(b"\n")
assert lines.pop() == b"" and 1 <= len(lines) <= 2
assert [json.loads(line) for line in lines] == want[:len(lines)]
END
	note "large json is right: $arguments" $?
done
head -c 60000000 /dev/zero | tr '\0' a >plenty
expect 0 "put a value of plenty" put --file plenty json.db k
{ printf '{"key":"k","value":"'; cat plenty; printf '"}\n'; } >want
if { (ulimit -v 150000; exec "$tool" --version); } >/dev/null 2>&1; then
	for arguments in "get --json json.db k" "scan --json --prefix k json.db"; do
		# shellcheck disable=SC2086 # a list of words
		(ulimit -v 150000; exec "$tool" $arguments >out 2>err); code=$?
		[ $code -eq 0 ] && cmp -s want out; note "json in little memory: $arguments" $?
		for room in 90000 60000 30000; do
			# shellcheck disable=SC2086 # a list of words
			(ulimit -v $room; exec "$tool" $arguments >out 2>err)
			[ $? -ne 0 ] || cmp -s want out; note "json in too little memory: $room, $arguments" $?
		done
	done
else
	echo "proof: H json in little memory: not run: under the address sanitizer no memory can be limited"
	expect 0 "json of plenty" get --json json.db k
	same want out "json of plenty"
fi
rm -f plenty want out json.db json.db.lock
: >out

# ---- stat and info ----
expect 0 "stat" stat db
grep -Eq '^ +16 +5 +[0-9]+  \(main\)$' out; note "stat counts the main tree" $?
expect 0 "stat json" stat --json db
python3 -c 'import json; o = json.load(open("out")); t = {x["name"]: x["entries"] for x in o["trees"]}
assert t == {None: 5, "sub": 1}, t; assert o["stats"]' 2>>err; note "stat json is right" $?
expect 0 "info json" info --json db
python3 -c 'import json; o = json.load(open("out")); assert len(o["uuid"]) == 36 and o["spindle_count"] == 1 and o["format"] >= 1' \
	2>>err; note "info json is right" $?

expect 0 "create by a name that is not UTF-8" create $'p\377.db'
expect 0 "put into a tree whose name is not UTF-8" put --tree $'t\377' $'p\377.db' key value
expect 0 "stat json of it" stat --json $'p\377.db'
grep -q '"name_hex":"74ff"' out; note "the name of the tree is name_hex" $?
expect 0 "info json of that" info --json $'p\377.db'
grep -q '"path_hex":"70ff2e6462"' out; note "the path is path_hex" $?
ln -s db symbolic.db
expect 1 "read by a symbolic link" get symbolic.db apple
mkdir real; ln -s real linked
expect 0 "create in a directory" create real/db
expect 0 "read in a directory that is a link" stat linked/db
for option in -h --help -V --version; do expect 0 "option $option" $option; [ -s out ]; note "option $option prints" $?; done

# A run for one back end would be one for the other, wherever that is chosen in silence.
if [ "${SOLIFUGE_IO:-}" = uring ] && ! python3 -c 'import ctypes, sys
sys.exit(ctypes.CDLL(None).syscall(425, 1, ctypes.create_string_buffer(120)) < 0)'; then
	echo "proof: H the command by io_uring: not run: the system has none"
elif [ -n "${SOLIFUGE_IO:-}" ]; then
	expect 0 "info of the back end" info db
	grep -Eq "^io +$SOLIFUGE_IO\$" out; note "the back end is $SOLIFUGE_IO" $?
fi

# ---- usage ----
expect 2 "no command"
expect 2 "unknown command" frobnicate db
says "no command 'frobnicate'" "unknown command"
expect 2 "no database" get
says "no database" "no database"
expect 2 "no key" get db
expect 2 "too many arguments" get db a b
expect 2 "unknown option" scan --bogus db
expect 2 "bad back end" get --io tape db apple
says "'tape' is not a back end; use uring or posix" "bad back end"
for mode in auto Commit "" commit,none; do
	expect 2 "bad mode '$mode'" put --sync "$mode" db never 1
	says "'$mode' is not a mode; use commit or none" "bad mode '$mode'"
done
expect 2 "bad compression" create --compression zstd never.db
says "'zstd' is not known; use lz4 or none" "bad compression"
for word in lz4 none; do
	expect 0 "compression $word" create --compression $word $word.db
done
for mode in commit none; do
	expect 0 "mode $mode" put --sync $mode none.db key 1
done
expect 0 "posix by option" get --io posix db apple
SOLIFUGE_IO=tape expect 0 "an option beats the environment" get --io posix db apple
SOLIFUGE_IO=tape expect 1 "bad back end in the environment" get db apple
says "SOLIFUGE_IO is 'tape': it may be uring or posix" "bad back end in the environment"
expect 2 "bad number" scan --limit x db
expect 2 "bad hex" get --hex db 0g
expect 2 "a tree without a name" get --tree "" db apple
expect 2 "a leaf too small" create --leaf-bytes 10 never.db
[ ! -e never.db ]; note "bad options make no database" $?
mkdir nameless && cd nameless || exit 1
expect 2 "get into a file without a name" get -o '' ../db apple
says "name of the output file is empty" "get into a file without a name"
expect 2 "dump into a file without a name" dump --force -f '' ../db
[ "$(ls -A)" = "$(printf 'err\nout')" ]; note "nothing is written then" $?
cd .. || exit 1
expect 2 "prefix and from" scan --prefix a --from b db
expect 0 "help" --help
expect 0 "help of a command" help scan
expect 0 "version" --version

# ---- standard streams that are closed, or full ----
expect 0 "create to print of" create closed.db
expect 0 "put to print of" put closed.db key value
expect 0 "dump of it" dump closed.db
mv out closed.want
"$tool" dump -f closed.dump closed.db >&- 2>err; note "dump into a file with standard output closed" $?
same closed.want closed.dump "the dump in it is the same"
printf value >want
"$tool" get -o closed.value closed.db key >&- 2>err; note "get into a file with standard output closed" $?
same want closed.value "the value in it is the same"
"$tool" get -o closed.two closed.db key <&- >&- 2>&-; note "get into a file with all of them closed" $?
same want closed.two "the value in that is the same"
"$tool" get closed.db key >&- 2>err; note "get with standard output closed" $(($? != 1))
says "cannot write to standard output" "get with standard output closed"
for words in --version --help help "help dump" "dump --help"; do
	[ -e /dev/full ] || break
	# shellcheck disable=SC2086 # a list of words
	"$tool" $words >/dev/full 2>err
	note "$words to a full disk" $(($? != 1))
	says "cannot write to standard output: No space" "$words to a full disk"
done

# ---- what stands in messages: nothing that a terminal would obey, and not all of what is long ----
# speaks NAME: standard error has no control characters but newlines.
speaks() { ! LC_ALL=C grep -q $'[\001-\010\013-\037\177\233]' err; note "$1: no control characters" $?; }
escape=$'\033[2J'
expect 3 "a tree with an escape" get -s "a$escape" db apple
speaks "a tree with an escape"
says "no tree 'a\\\\x1b\[2J'" "a tree with an escape"
expect 1 "a path with an escape" get "a$escape" apple
speaks "a path with an escape"
says "a.x1b" "a path with an escape"
expect 1 "a path in UTF-8" get "ä" apple
says "ä" "a path in UTF-8"
expect 2 "a command with an escape" "a$escape"
speaks "a command with an escape"
expect 2 "a mode with an escape" put --sync "a$escape" db never 1
speaks "a mode with an escape"
printf 'VERSION=3\n\033c%01000d=1\n\302\233x=1\nHEADER=END\nDATA=END\n' 0 >headers
expect 0 "a header with an escape, long" load headers.db headers
speaks "a header with an escape, long"
says "line 2: header '.x1bc000.*\.\.\.0*' is not known" "a header with an escape, long"
says "line 3: header '.xc2.x9bx' is not known" "a header with a control character in UTF-8"
[ "$(wc -c <err)" -lt 600 ]; note "a long header is shortened" $?
expect 2 "digits that are none" get --hex db 41420g
says "'41420g' is not an even number" "digits that are none"
expect 2 "digits that are none, of a range" scan --hex --from 41420g db
says "'41420g' is not an even number" "digits that are none, of a range"
expect 0 "create with a line break in its name" create $'in\nfo.db'
expect 0 "info of a path with a line break" info $'in\nfo.db'
grep -Eq '^path +in.x0afo.db$' out && grep -Eq '^spindle +in.x0afo.db$' out; note "a path is one line" $?
expect 1 "a line break in a name" load headers.db $'no\nfile'
[ "$(wc -l <err)" -eq 1 ]; note "a message is one line" $?

# ---- bad databases: told with the file's name, and not touched ----
expect 1 "no such database" get nowhere apple
says "nowhere" "no such database"
says "solifuge create" "no such database"
[ ! -e nowhere ]; note "a read makes no file" $?
mkdir folder
expect 1 "a directory" get folder apple
printf 'this is no database, it is text that goes on for a while' >foreign
cp foreign foreign.before
expect 1 "a foreign file" put foreign key value
says "foreign" "a foreign file"
same foreign foreign.before "a foreign file is not touched"

# ---- dump and load ----
# No leading run of one format only: text, binary and empty values, keys with every byte.
for i in $(seq 0 255); do printf ' %02x%02x\n %08x\n' "$i" $((255 - i)) "$i"; done >records
{ printf 'VERSION=3\nformat=bytevalue\ntype=btree\nmapsize=1048576\nmaxreaders=126\ndb_pagesize=4096\nHEADER=END\n'
  cat records; printf ' ff01\n \nDATA=END\n'; } >in.bytes
expect 0 "load from a file" load a.db in.bytes
expect 0 "dump" dump a.db
cp out a.dump
sed '/^mapsize=/d; /^maxreaders=/d; /^db_pagesize=/d' in.bytes >want
same want a.dump "a dump is what was loaded"
expect 0 "load from standard input" load b.db <a.dump
expect 0 "dump again" dump b.db
same a.dump out "dump, load, dump is the identity"
expect 0 "dump printable" dump -p a.db
mv out a.print
expect 0 "load printable, by the other back end" load --io posix --batch 7 --sync none c.db a.print
expect 0 "dump what was loaded as printable" dump c.db
same a.dump out "printable text loses nothing"
expect 0 "dump with trees" dump db
cp out trees.dump
grep -q '^database=sub$' out; note "a dump names the trees" $?
expect 0 "load trees" load d.db trees.dump
expect 0 "dump trees again" dump d.db
same trees.dump out "trees come back"
expect 0 "dump to a file" dump -f file.dump db
same trees.dump file.dump "a dump in a file is the same"
only_files() { [ "$(ls -d "$1"*)" = "$(printf '%s\n' "${@:2}")" ]; note "no other files: ${*:2}" $?; }
only_files file.dump file.dump
echo old >older.dump
chmod 640 older.dump
ln -s older.dump link.dump
expect 1 "dump over a file" dump -f link.dump db
says "link.dump exists already" "dump over a file"
[ "$(cat older.dump)" = old ]; note "a dump replaces nothing unasked" $?
: >empty.dump
expect 0 "dump into an empty file" dump -f empty.dump db
same trees.dump empty.dump "a dump in an empty file is the same"
expect 0 "dump over a file, by a link" dump --force -f link.dump db
same trees.dump older.dump "a dump over a file is the same"
[ -L link.dump ] && [ "$(stat -c %a older.dump)" = 640 ]; note "the link stays, and the mode of the file" $?
ln -s nowhere.dump dangling.dump
expect 1 "dump to a link to nowhere" dump --force -f dangling.dump db
says "dangling.dump is a symbolic link to a file that is not there" "dump to a link to nowhere"
only_files dangling.dump dangling.dump
[ ! -e nowhere.dump ]; note "no file is made behind the link" $?
mkfifo pipe.dump
cat pipe.dump >want &
expect 0 "dump into a pipe" dump -f pipe.dump db
wait $!
same trees.dump want "a dump into a pipe is the same"
expect 0 "dump to a device" dump -f /dev/null db
expect 1 "dump into a directory that is not there" dump -f none/file.dump db
says "none/file.dump" "dump into a directory that is not there"
echo old >older.dump
expect 3 "a dump that fails" dump --force -s none -f older.dump db
[ "$(cat older.dump)" = old ]; note "a dump that fails leaves the old file" $?
only_files older.dump older.dump
expect 0 "create to dump over" create --spindle over.1 over.db
expect 0 "put to dump over" put over.db key value
cat over.db over.1 over.db.lock >want
ln over.1 hard.dump
ln -s over.db soft.dump
for file in over.db ./over.db over.1 over.db.lock hard.dump soft.dump; do
	expect 1 "dump over the database: $file" dump -f "$file" over.db
	says "$file is a file of the database over.db" "dump over the database"
done
cat over.db over.1 over.db.lock >out
same want out "a dump over the database changes nothing"
only_files over. over.1 over.db over.db.lock
expect 0 "list trees" dump -l db
prints sub "list trees"
expect 0 "dump one tree" dump -s sub db
mv out sub.dump
expect 0 "load into a tree" load -s other d.db sub.dump
expect 0 "get from it" get -s other d.db apple
expect 0 "create for named trees" create n.db
expect 0 "only named trees" put --tree only n.db k v
expect 0 "dump only named trees" dump n.db
[ "$(grep -c VERSION out)" -eq 1 ]; note "an empty main tree is left out beside named ones" $?
# With a line break in a name everything behind it would be another header line, or another tree's name.
expect 0 "create for names" create names.db
names=($'a\nb' $'\rreturn' $'tab\t' $'escape\e' $'delete\177' "plain" $'z\\0ab' "ä")
for name in "${names[@]}"; do expect 0 "put into a tree of that name" put --tree "$name" names.db key "of $name"; done
expect 0 "list names" dump -l names.db
prints '\\x0dreturn\na\\x0ab\ndelete\\x7f\nescape\\x1b\nplain\ntab\\x09\nz\\\\0ab\n\\xc3\\xa4' "list names"
for options in "" --lmdb --rescue "-f names.dump"; do
	# shellcheck disable=SC2086 # a list of words
	expect 1 "dump with a name that is no line $options" dump $options names.db
	says "tree '.x0dreturn' of names.db" "dump with a name that is no line $options"
	says "dump -s NAME" "dump with a name that is no line $options"
	speaks "dump with a name that is no line $options"
	[ ! -s out ] && [ ! -e names.dump ]; note "nothing is written then $options" $?
done
expect 0 "create for a copy of the names" create renamed.db
for name in "${names[@]}"; do
	expect 0 "dump by a name" dump -s "$name" names.db
	cp out named.dump
	case $name in
	*[[:cntrl:]]*)
		says "load -s NAME" "dump by a name that is no line"
		! grep -q database= named.dump; note "no name is in it" $?
		expect 0 "load by a name that is no line" load -s "$name" renamed.db named.dump ;;
	*)
		[ ! -s err ]; note "dump by a name that is a line says nothing" $?
		expect 0 "load by a name that is a line" load renamed.db named.dump ;;
	esac
	expect 0 "get by the name" get --tree "$name" renamed.db key
	printf %s "of $name" >want; same want out "the record is in the tree of that name"
done
expect 0 "plain lines" load -T d.db <<<$'plain\\20key\nvalue'
expect 0 "get a plain key" get d.db "plain key"
printf value >want; same want out "plain lines decode escapes"
expect 0 "no overwrite" load -N -T d.db <<<$'plain key\nother'
expect 0 "get it still" get d.db "plain key"
same want out "no overwrite keeps the old value"

# bad NAME PATTERN: standard input is refused with file, line and reason.
bad() { expect 1 "$1" load bad.db; says "line.*$2" "$1"; }
printf 'junk\n' | bad "input of another kind" "VERSION=3"
[ ! -e bad.db ]; note "input of another kind makes no database" $?
printf 'VERSION=2\nHEADER=END\n' | bad "another version" "VERSION=3"
printf 'VERSION=3\nformat=base64\nHEADER=END\n' | bad "another format" "format"
printf 'VERSION=3\ntype=recno\nHEADER=END\n' | bad "another type" "btree"
printf 'VERSION=3\nduplicates=1\nHEADER=END\n' | bad "duplicates" "several values"
printf 'VERSION=3\nHEADER=END\n 0\n 00\nDATA=END\n' | bad "odd digits" "hexadecimal"
printf 'VERSION=3\nHEADER=END\n 00\n 0x\nDATA=END\n' | bad "bad digits" "hexadecimal"
printf 'VERSION=3\nHEADER=END\n00\n 00\nDATA=END\n' | bad "no space" "space"
printf 'VERSION=3\nHEADER=END\n 00\nDATA=END\n' | bad "a key without a value" "pairs"
printf 'VERSION=3\nHEADER=END\n 00\n 00\n' | bad "no end" "DATA=END"
# A data line is never the last of a dump: what is left of one may look like a whole record.
expect 0 "load a value to keep" load -T whole.db <<<$'k\na good long value'
for options in "" -p; do
	# shellcheck disable=SC2086 # a list of words
	expect 0 "dump a value to cut $options" dump $options whole.db
	mv out whole.dump
	size=$(wc -c <whole.dump)
	for cut in 1 2 8 9 10 14 20 $((size - $(grep -b -m1 -o '^HEADER=END' whole.dump | cut -d: -f1) - 11)); do
		head -c -$cut whole.dump >cut.dump
		expect $((cut == 1 ? 0 : 1)) "load a dump $options without its last $cut bytes" load --batch 1 whole.db cut.dump
		[ $cut -eq 1 ] || says "line [4-7]: .*cut short\|DATA=END" "a dump $options without its last $cut bytes"
		"$tool" get whole.db k >out
		[ "$(cat out)" = "a good long value" ]; note "its value stays as it was" $?
	done
done
expect 0 "no plain lines" load -T nolines.db </dev/null
expect 0 "no records of them" scan nolines.db
[ ! -s out ]; note "no plain lines make an empty database" $?
expect 0 "plain lines may end without a newline" load -T plainer.db < <(printf 'k\nvalue')
expect 0 "get the last plain value" get plainer.db k
printf value >want; same want out "the last plain value is whole"
printf 'VERSION=3\nformat=print\nHEADER=END\n a\\z\n 00\nDATA=END\n' | bad "a bad escape" "backslash"
printf 'VERSION=3\r\nHEADER=END\r\n 61\r\n 62\r\nDATA=END\r\n' | bad "lines that end in CR LF" "1: the lines end in CR LF"
printf 'VERSION=3\nHEADER=END\n 61\r\n 62\r\nDATA=END\n' | bad "data that ends in CR LF" "3: the lines end in CR LF"
printf 'VERSION=3\nHEADER=END\n 61\n 62\nDATA=END\r\n' | bad "an end that ends in CR LF" "5: the lines end in CR LF"
for header in integerkey reversekey; do
	printf 'VERSION=3\n%s=1\nHEADER=END\nDATA=END\n' $header | bad "$header" "2: keys in an order that is not that of their bytes"
	expect 0 "no $header" load ordered.db < <(printf 'VERSION=3\n%s=0\nHEADER=END\nDATA=END\n' $header)
	[ ! -s err ]; note "no $header is nothing to tell" $?
done
for header in dupsort dupfixed integerdup reversedup; do
	printf 'VERSION=3\n%s=1\nHEADER=END\nDATA=END\n' $header | bad "$header" "several values"
done
# The count is of what this run has committed, told once, with the advice that fits.
expect 0 "load before a bad line" load -T counted.db <<<$'first\n1'
printf 'VERSION=3\nHEADER=END\n 61\n 31\n 62\n 3\nDATA=END\n' >counted
expect 1 "a bad line behind a batch" load --batch 1 counted.db counted
says "counted: line 6: " "a bad line behind a batch"
says "^solifuge load: 1 records of this run are in counted.db; mend the input and load it again" "a bad line behind a batch"
[ "$(grep -c 'records' err)" -eq 1 ]; note "how many records are in is told once" $?
{ printf 'VERSION=3\nHEADER=END\n 61\n 31\n '; printf '%0131074d' 0; printf '\n 32\nDATA=END\n'; } >oversized
expect 1 "a key that is too long" load counted.db oversized
says "oversized: line 5: " "a key that is too long"
says "0 records of this run.*mend the input" "a key that is too long"
expect 1 "a directory as input" load counted.db folder
says "cannot read folder: Is a directory" "a directory as input"
! grep -q "line\|mend the input" err; note "a directory has no line to mend" $?
expect 0 "create to fill" create full.db
python3 -c 'import os
for i in range(20000): print(f" {i:08x}\n {os.urandom(500).hex()}")' >records
{ printf 'VERSION=3\nHEADER=END\n'; cat records; echo DATA=END; } >filling
(trap '' XFSZ; ulimit -f 6000; exec "$tool" load full.db filling >out 2>err)
note "a file system that is full" $(($? != 1))
says "records of this run are in full.db; all of the input may be loaded again" "a file system that is full"
! grep -q "mend the input" err; note "there is nothing to mend then" $?
[ "$(grep -c 'records' err)" -eq 1 ]; note "how many records are in is told once then" $?
for header in database subdatabase; do
	expect 0 "a section with $header=" load $header.db <<<"VERSION=3
$header=sub
HEADER=END
 61
 62
DATA=END"
	expect 0 "the tree of $header=" dump -l $header.db
	prints sub "the tree of $header="
done
expect 1 "nothing at all" load bad.db </dev/null
expect 1 "no such input" load bad.db missing
if [ -e /dev/full ]; then
	"$tool" dump a.db >/dev/full 2>err
	note "a full disk is told" $(($? != 1))
	says "cannot write to standard output: No space" "a full disk"
	expect 1 "a full disk behind a name" dump -f /dev/full a.db
	says "cannot write to /dev/full: No space" "a full disk behind a name"
fi

# ---- LMDB's own tools ----
if command -v mdb_load >/dev/null && command -v mdb_dump >/dev/null; then
	# mdb_dump adds its own header lines.
	plain() { sed '/^mapsize=/d; /^maxreaders=/d; /^db_pagesize=/d'; }
	mdb_load -n -f a.dump a.mdb >out 2>err; note "mdb_load reads a dump" $?
	mdb_dump -n a.mdb >a.mdb.dump 2>err; note "mdb_dump" $?
	plain <a.mdb.dump >want; same want a.dump "LMDB gives back what it got"
	expect 0 "load what mdb_dump wrote" load e.db a.mdb.dump
	expect 0 "dump that" dump e.db
	same a.dump out "a round trip through LMDB changes nothing"
	mdb_load -n -f trees.dump t.mdb >out 2>err; note "mdb_load reads trees" $?
	mdb_dump -n -s sub t.mdb 2>err | plain >want
	expect 0 "dump the tree" dump -s sub db
	same want out "a tree goes through LMDB"
	for i in $(seq 1 3000); do printf ' %08x\n %0400d\n' "$i" 0; done >records
	{ printf 'VERSION=3\nHEADER=END\n'; cat records; echo DATA=END; } >big
	expect 0 "load more than LMDB's first map" load big.db big
	expect 0 "dump it for LMDB" dump --lmdb big.db
	cp out big.dump
	mdb_load -n -f big.dump big.mdb >out 2>err; note "mdb_load has room for it" $?
else
	echo "proof: H dumps to LMDB's tools and back: not run: lmdb-utils is not installed"
fi

# ---- Berkeley DB's tools ----
if command -v db_load >/dev/null; then
	db_load -f a.dump a.bdb >out 2>err; note "db_load reads a dump" $?
	db_dump a.bdb 2>err | sed '/^db_pagesize=/d' >want; same want a.dump "Berkeley DB gives back what it got"
	db_dump a.bdb >want 2>err
	expect 0 "load what db_dump wrote" load f.db want
else
	echo "proof: H dumps to Berkeley DB's tools and back: not run: db-util is not installed"
fi

# ---- damage ----
for name in a b c; do head -c 50000 /dev/urandom >$name.bin; done
expect 0 "create to damage" create damaged.db
for name in a b c; do expect 0 "put to damage" put --file $name.bin damaged.db $name; done
python3 - <<'END'
data = bytearray(open("damaged.db", "rb").read())
at = data.find(open("b.bin", "rb").read()[:64])
assert at > 0 and data.find(open("b.bin", "rb").read()[:64], at + 1) < 0
data[at + 1000] ^= 1
open("damaged.db", "wb").write(data)
END
expect 4 "get a damaged value" get damaged.db b
says "damaged.db: offset [0-9]" "get a damaged value"
[ ! -s out ]; note "nothing of a damaged value is printed" $?
expect 0 "get beside the damage" get damaged.db c
same out c.bin "what is beside the damage is whole"
expect 0 "keys of a damaged database" scan --keys damaged.db
prints 'a\nb\nc' "keys of a damaged database"
expect 4 "scan of a damaged database" scan damaged.db
expect 4 "dump of a damaged database" dump damaged.db
! grep -q DATA=END out; note "a dump that stops has no end" $?
expect 4 "rescue" dump --rescue damaged.db
says "left out key 'b'" "rescue"
cp out rescued.dump
expect 4 "rescue for LMDB" dump --lmdb --rescue damaged.db
[ "$(grep -c "left out key 'b'" err)" -eq 1 ]; note "a lost key is told once" $?
says "the main tree is damaged: 2 of 3 records were written, 1 were left out" "rescue for LMDB"
expect 4 "rescue into a file" dump --rescue -f rescued.file damaged.db
same rescued.dump rescued.file "what was rescued into a file is the same"
expect 4 "dump a damaged database into a file" dump --force -f older.dump damaged.db
[ "$(cat older.dump)" = old ]; note "a dump that stops leaves the old file" $?
only_files older.dump older.dump
expect 0 "load what was rescued" load rescued.db rescued.dump
expect 0 "scan what was rescued" scan --keys rescued.db
prints 'a\nc' "scan what was rescued"
# A file that somebody cuts while it is read would end a command that reads through a map by a signal.
{ echo VERSION=3; echo HEADER=END
  python3 -c 'import random
for i in range(4000): print(f" {i:08x}\n {random.randbytes(500).hex()}")'
  echo DATA=END; } >records
expect 0 "load to cut" load shrinking.db records
for arguments in "dump --rescue" scan; do
	cp shrinking.db shrunk.db
	# shellcheck disable=SC2086 # a list of words
	"$tool" $arguments shrunk.db 2>err | { head -c 100 >out; truncate -s 256K shrunk.db; cat >/dev/null; }
	note "$arguments of a file that is cut meanwhile" $((PIPESTATUS[0] != 4))
	says "shrunk.db: offset [0-9]" "$arguments of a file that is cut meanwhile"
done
# In leaves: what lies before, between and behind them is read, and other trees too.
expect 0 "create to damage leaves" create --leaf-bytes 256 leaf.db
seq 10000 13999 | sed 's/.*/leafkey&\nvalue/' >leaves
expect 0 "load to damage leaves" load -T leaf.db leaves
expect 0 "load a tree in front of the damage" load -T -s a leaf.db <<<$'one\ntwo'
expect 0 "load a tree to lose its root" load -T -s b leaf.db <<<$'rootkey\nvalue'
sed 's/^leafkey/treekey/' leaves >tree.leaves
expect 0 "load a tree to damage leaves" load -T -s c leaf.db tree.leaves
expect 0 "load a tree behind the damage" load -T -s d leaf.db <<<$'three\nfour'
cp leaf.db leaf.whole
# damage NAME: leaf.db, without the keys whose patterns come on standard input
damage() {
	python3 -c 'import re, sys
data = open("leaf.whole", "rb").read()
for line in sys.stdin.read().split():
    data, count = re.subn(line.encode(), lambda match: match[0].replace(b"key", b"rot"), data)
    assert count, line
open("leaf.db", "wb").write(data)'
	note "damage of $1" $?
}
# rescued NAME: of what is left out nothing can be read, and there is not much; and each tree is there, with its end.
rescued() {
	expect 4 "rescue of $1" dump --rescue -p leaf.db
	cp out leaf.rescue; cp err leaf.said
	[ "$(grep -c '^HEADER=END' leaf.rescue)" -eq 5 ] && [ "$(grep -c '^DATA=END' leaf.rescue)" -eq 5 ]
	note "rescue of $1 has all trees" $?
	rm -f rescued.db rescued.db.lock
	expect 0 "load the rescue of $1" load rescued.db leaf.rescue
	for tree in "" a b c d; do "$tool" scan ${tree:+-s $tree} rescued.db; done >leaf.read
	grep -q '^one	two$' leaf.read && grep -q '^three	four$' leaf.read
	note "rescue of $1 has the trees beside the damage" $?
	[ "$(sort leaf.read | uniq -d | wc -l)" -eq 0 ] && [ "$(grep -c '^ [a-z]*key' leaf.rescue)" -eq "$(grep -c key leaf.read)" ]
	note "rescue of $1 has each record once" $?
	grep -v value leaves tree.leaves | cut -d: -f2 | sort >want
	cut -f1 leaf.read | sort | comm -23 want - >leaf.lost
	local readable=0 key tree
	for key in $(shuf -n 60 leaf.lost); do
		case $key in tree*) tree=c ;; *) tree= ;; esac
		"$tool" get ${tree:+-s $tree} leaf.db "$key" >out 2>err
		[ $? -eq 4 ] || readable=$((readable + 1))
	done
	note "rescue of $1 leaves out nothing that can be read" $readable
	cp leaf.said err
}
damage "a leaf" <<<'leafkey12000'
rescued "a leaf"
says "records between key 'leafkey1[12][0-9]*' and key 'leafkey12[0-9]*' may be missing: leaf.db: offset [0-9]" "a leaf"
says "the main tree is damaged: 39[0-9]* of 4000 records were written" "a leaf"
says "older copy" "a leaf"
! grep -q "dump --rescue" err; note "a rescue is no advice for itself" $?
[ "$(wc -l <leaf.lost)" -lt 60 ]; note "what a leaf takes with it is not much" $?
damage "many leaves" <<END
leafkey10000 leafkey11[0-9]00 leafkey120[0-4][0-9] leafkey13..7 leafkey13999
rootkey treekey1[0-3]500 treekey13999
END
rescued "many leaves"
says "records before key 'leafkey10[0-9]*' may be missing" "many leaves"
says "records behind key 'treekey13[0-9]*' may be missing" "many leaves"
says "all records are missing: leaf.db: offset" "many leaves"
says "tree 'b' is damaged: 0 of 1 records" "many leaves"
[ "$(grep -c 'between key' err)" -ge 10 ]; note "each gap is told" $?
damage "all leaves of a tree" <<<$'treekey1.*'
rescued "all leaves of a tree"
# Keys that differ at their ends only, and beyond what a message can show.
cp leaf.whole leaf.kept
expect 0 "create for long keys" create leaf.whole.db
mv leaf.whole.db leaf.whole; rm -f leaf.whole.db.lock
for i in $(seq 100 199); do printf '%03000d\tkey%d\nvalue\n' 0 "$i"; done >long.leaves
expect 0 "load long keys" load -T leaf.whole long.leaves
damage "long keys" <<<$'key120\nkey12[24]\nkey150'
expect 4 "rescue of long keys" dump --rescue -p leaf.db
says "key '0*\.\.\.0*.x09key1[01][0-9]' and key '0*\.\.\.0*.x09key1[23][0-9]' may be missing" "rescue of long keys"
says "records between key .*key1[34][0-9]. and key .*key1[56][0-9]. may" "rescue of long keys"
[ "$(wc -c <err)" -lt 2000 ]; note "long keys are shortened" $?
mv leaf.kept leaf.whole
# The list of the trees: the main tree does not stand in it.
expect 0 "create to damage the list" create list.db
expect 0 "put into the main tree" put list.db mainkey value
expect 0 "put into a tree of the list" put -s listkey list.db key value
cp leaf.whole leaf.kept
cp list.db leaf.whole
damage "the list of the trees" <<<listkey
cp leaf.db list.db
cp leaf.kept leaf.whole
expect 4 "rescue without the list" dump --rescue -p list.db
[ "$(grep -c '^ mainkey' out)" -eq 1 ] && [ "$(grep -c '^DATA=END' out)" -eq 2 ]; note "the main tree is there" $?
says "all names of trees are missing: list.db: offset" "rescue without the list"
says "has lost its name, and becomes tree 'lost-17'" "rescue without the list"
# What leads to the trees: the records of their roots are the system's tree 0, those of their names its tree 1.
expect 0 "create for many trees" create --leaf-bytes 256 trees.db
{ printf 'VERSION=3\nformat=print\nHEADER=END\n keymain\n of main\nDATA=END\n'
  for i in $(seq 100 299) lost-20; do
	printf 'VERSION=3\nformat=print\ndatabase=%s\nHEADER=END\n key%s\n of it\nDATA=END\n' "$i" "$i"
  done; } >many.dump
expect 0 "load many trees" load trees.db many.dump
expect 0 "list many trees" dump -l trees.db
cp out trees.list
cp trees.db trees.whole
# spoil TREE FIRST LAST: trees.db with these leaves of a system tree damaged, in the order of the file; -1 is the last.
spoil() {
	python3 - "$@" <<'END'
import struct, sys
tree, first, last = map(int, sys.argv[1:])
data = bytearray(open("trees.whole", "rb").read())
leaves = []
for at in range(2 << 20, len(data) - 64, 64):
    bytes_of, what, kind, level, owner = struct.unpack_from("<IBBBxI", data, at + 16)
    if what == 2 and kind == level == 0 and owner == tree and 64 < bytes_of <= 1024:
        leaves.append(at + bytes_of - 1)
assert len(leaves) > 20
for at in leaves[first:last + 1 or None]:
    data[at] ^= 1
open("trees.db", "wb").write(data)
END
	note "spoil $*" $?
}
# saved NAME: of the trees all are there, by name or by id, but those that were told; without the option there is no end.
saved() {
	expect 4 "a rescue of trees with $1" dump --rescue -p trees.db
	cp out trees.rescue; cp err trees.said
	[ "$(grep -c '^HEADER=END' trees.rescue)" -eq "$(grep -c '^DATA=END' trees.rescue)" ]; note "each has its end, with $1" $?
	[ $(($(grep -c '^ key' trees.rescue) + $(grep -c 'cannot be opened\|is missing, with' err))) -eq 202 ]
	note "each is written or told, with $1" $?
	[ -z "$(grep '^ key' trees.rescue | sort | uniq -d)" ]; note "none comes twice, with $1" $?
	[ "$(tail -n 1 err)" = "solifuge dump: keep the files as they are, and take what was left out from an older copy" ]
	note "the last word is true, with $1" $?
	rm -f saved.db saved.db.lock
	expect 0 "load the trees with $1" load saved.db trees.rescue
	expect 0 "list the trees with $1" dump -l saved.db
	cp out saved.list
	expect 4 "a dump of trees with $1" dump -p trees.db
	says "older copy\|dump --rescue" "a dump of trees with $1"
	cp trees.said err
}
spoil 0 10 12; saved "roots damaged"
says "trees.db: tree '[0-9]*' cannot be opened, none of its records were written: trees.db: offset [0-9]" "roots damaged"
same saved.list trees.list "all names are there when roots are damaged"
expect 0 "list by damaged roots" dump -l trees.db
same out trees.list "a list needs no roots but its own"
expect 4 "a tree with a damaged root" dump --rescue -s "$(sed -n "s/.*tree '\([0-9]*\)' cannot.*/\1/p" trees.said | tail -n 1)" trees.db
[ "$(tail -n 1 out)" = DATA=END ] && ! grep -q '^ ' out; note "its section is empty" $?
spoil 0 0 0; saved "the first roots damaged"
says "the main tree cannot be opened" "the first roots damaged"
says "the tree with the id 17 is missing, with its name" "the first roots damaged"
says "the tree with the id 200 has lost its name, and becomes tree 'lost-200'" "the first roots damaged"
spoil 0 0 -1; saved "all roots damaged"
for leaves in "0 0" "7 7" "7 9" "-1 -1" "-9 -1" "0 -1"; do
	# shellcheck disable=SC2086 # two words
	spoil 1 $leaves; saved "names damaged, $leaves"
	[ "$(grep -c '^ key' trees.rescue)" -eq 202 ]; note "no record is lost with names, $leaves" $?
	[ "$(wc -l <saved.list)" -eq 201 ]; note "no tree is lost with names, $leaves" $?
	comm -23 <(sort saved.list) <(sort trees.list) | while read -r name; do
		grep -q "has lost its name, and becomes tree '$name'" err || echo "$name is not told" >>err
	done
	! grep -q "is not told" err; note "what is lost with names is told, $leaves" $?
	expect 4 "list by damaged names, $leaves" dump --rescue -l trees.db
	sort out | cmp -s - <(sort saved.list); note "the list is that of the rescue, $leaves" $?
	expect 4 "rescue of damaged names for LMDB, $leaves" dump --rescue --lmdb trees.db
	cmp -s <(sort err) <(sort trees.said); note "each is told once, $leaves" $?
done
spoil 1 7 9; saved "names damaged in the middle"
grep -q "names of trees between '1[0-9]*' and '[12][0-9]*' may be missing" err; note "it is told between which" $?
[ "$(wc -l <err)" -lt 50 ]; note "not more names are lost than were damaged" $?
damage "a leaf anew" <<<'leafkey12000'
echo old >older.dump
expect 4 "rescue into a file that is there" dump --force --rescue -p -f older.dump leaf.db
expect 4 "rescue of the same" dump --rescue -p leaf.db
same older.dump out "what was rescued from around the damage is in the file"
only_files older.dump older.dump
expect 4 "a dump without rescue" dump leaf.db
says "dump --rescue" "a dump without rescue"
! grep -q DATA=END out; note "a dump that stops at a leaf has no end" $?
if command -v mdb_load >/dev/null; then
	expect 4 "rescue for LMDB, out of order" dump --rescue leaf.db
	awk '/^VERSION/ { n++ } n == 1' out | mdb_load -n rescued.mdb >err 2>&1
	note "mdb_load reads a rescue" $?
fi
head -c 40000 damaged.db >cut.db
cp cut.db cut.before
expect 4 "a truncated database" get cut.db a
says "cut.db" "a truncated database"
expect 4 "write to a truncated database" put cut.db a b
same cut.db cut.before "a truncated database is not touched"

# ---- a log that has rotted: what is read is an old state, and every command says so ----
mkfifo pipe
# until COMMAND...: waits for it to succeed, ten seconds at most.
until_done() {
	for _ in $(seq 1 200); do
		"$@" >/dev/null 2>&1 && return
		sleep 0.05
	done
	note "waited for: $*" 1
}
"$tool" load -T --batch 1 rotten.db <pipe >/dev/null 2>&1 &
writer=$!
exec 9>pipe
for i in $(seq 1 12); do printf 'key%d\nthe value of %d\n' "$i" "$i" >&9; done
until_done "$tool" get rotten.db key12
{ kill -9 $writer; wait $writer; } 2>/dev/null
exec 9>&-
expect 0 "a log as it was" scan --keys --limit 20 rotten.db
[ "$(wc -l <out)" -eq 12 ]; note "all commits are there" $?
python3 - <<'END'
data = bytearray(open("rotten.db", "rb").read())
at = data.find(b"the value of 6")
assert at > 0 and data.find(b"the value of 6", at + 1) < 0
data[at] ^= 1
open("rotten.db", "r+b").write(data)
END
lost="rotten.db: damage in the log at offset [0-9].*commits are lost"
expect 4 "scan of a rotten log" scan --keys rotten.db
says "solifuge scan: $lost" "scan of a rotten log"
[ "$(wc -l <out)" -eq 5 ]; note "what was before the damage is shown" $?
expect 4 "dump of a rotten log" dump rotten.db
says "$lost" "dump of a rotten log"
expect 4 "a key that the damage took" get rotten.db key12
says "$lost" "a key that the damage took"
expect 4 "a key that it left" get rotten.db key2
says "$lost" "a key that it left"
printf 'the value of 2' >want; same want out "a key that the damage left is read"
expect 4 "stat of a rotten log" stat rotten.db
says "$lost" "stat of a rotten log"
expect 4 "info of a rotten log" info rotten.db
says "$lost" "info of a rotten log"
grep -Eq '^damaged +1$' out; note "info tells the damage" $?
expect 4 "info json of a rotten log" info --json rotten.db
grep -q '"damaged":1' out; note "info json tells the damage" $?
expect 4 "write to a rotten log" put rotten.db key value
cp rotten.db copy.db
expect 0 "write to a copy of it" put copy.db key value
says "copy.db is a copy, taken while the database was in use or damaged since: cut at commit" "write to a copy of it"
expect 0 "info of a whole database" info db
grep -Eq '^damaged +0$' out; note "nothing is damaged there" $?
[ ! -s err ]; note "and nothing is told" $?

# ---- one writer, and readers beside it ----
"$tool" load -T db <pipe >/dev/null 2>&1 &
writer=$!
exec 9>pipe
printf 'waiting\n' >&9
until_done grep -a "pid $writer\$" db.lock
expect 1 "a second writer" put db locked 2
says "open for writing" "a second writer"
expect 0 "a reader beside the writer" get db apple
exec 9>&-
wait $writer

# ---- spindles ----
expect 0 "create with spindles" create --spindle s.1 --spindle s.2 s.db
expect 0 "put there" put s.db key value
expect 0 "info of it" info s.db
grep -Eq '^spindle_count +3$' out; note "three spindles" $?
[ "$(sed -n 's/^spindle  *//p' out | paste -sd' ')" = "s.db s.1 s.2" ]; note "info names the spindles" $?
expect 0 "info json of it" info --json s.db
python3 -c 'import json; assert [x["path"] for x in json.load(open("out"))["spindles"]] == ["s.db", "s.1", "s.2"]' 2>>err
note "info json names the spindles" $?
mv s.1 s.away
expect 1 "a spindle is missing" get s.db key
says "put that one back" "a spindle is missing"
mv s.away s.1
expect 1 "a spindle is no database" get s.2 key
says "open spindle 0" "a spindle is no database"

echo "cli: $passed passed, $failed failed"
[ $failed -eq 0 ]
