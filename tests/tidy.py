#!/usr/bin/python3
# SPDX-License-Identifier: MIT
"""Keeps the promises of CONTRIBUTING.rst that a compiler does not: layers, lengths, licences, manuals.

Usage: tidy.py SOURCE-ROOT. Prints one line per finding and exits with 1 when there is one.
"""
import os
import re
import sys

FUNCTION_LINES_MAX = 70
FILE_LINES_MAX = 900
FORBIDDEN = re.compile(r"\b(printf|fprintf|vprintf|vfprintf|puts|fputs|putchar|perror|exit|_exit|_Exit|abort|"
                       r"quick_exit|system|err|errx|warn|warnx|syslog)\s*\(")

# Files of lib/ without a test of their own, and the tests that look at them. All others have tests/test_FILE.c.
TESTED_BY = {
    "create": ["api", "bad_input"],
    "cursor": ["api_cursor"],
    "install": ["checkpoint"],
    "io_posix": ["io"],
    "io_uring": ["io"],
    "materialise": ["checkpoint", "spill"],
    "service": ["commit", "api"],
    "tree_edit": ["tree", "tree_forged"],
    "txn": ["api_data", "spill"],
    "txn_commit": ["commit", "spill"],
}

findings = []


def complain(path, line, text):
    findings.append(f"{path}:{line}: {text}")


def read(root, path):
    with open(os.path.join(root, path), encoding="utf-8") as file:
        return file.read()


def sources(root, folder):
    for directory, _, names in sorted(os.walk(os.path.join(root, folder))):
        for name in sorted(names):
            if name.endswith((".c", ".h", ".py", ".sh", "meson.build", ".map")) and name != "solifuge.map":
                yield os.path.relpath(os.path.join(directory, name), root)


def blank_comments(text):
    """Comments and strings without their content, lines kept."""
    def blank(match):
        token = match.group(0)
        if token[0] == '"':
            return '""'
        if token[0] == "'":
            return "' '"
        return re.sub(r"[^\n]", " ", token)
    return re.sub(r'/\*.*?\*/|//[^\n]*|"(?:\\.|[^"\\\n])*"|\'(?:\\.|[^\'\\\n])*\'', blank, text, flags=re.S)


def layers(root):
    """{stem: layer} from the source list of lib/meson.build. A stem stands for x.c and x.h."""
    result = {}
    layer = None
    text = read(root, "lib/meson.build")
    for line in text[text.index("sources = files("):].split("\n)")[0].splitlines():
        found = re.match(r"\s*# layer (\d+):", line)
        if found:
            layer = int(found.group(1))
        for name in re.findall(r"'([a-z_0-9]+)\.[ch]'", line):
            result.setdefault(name, layer)
    return result


def check_layers(root):
    order = layers(root)
    for name in sorted(os.listdir(os.path.join(root, "lib"))):
        stem, extension = os.path.splitext(name)
        if extension not in (".c", ".h"):
            continue
        path = f"lib/{name}"
        if stem not in order and stem.rsplit("_", 1)[0] not in order:
            complain(path, 1, "is not in the source list of lib/meson.build")
            continue
        own = order.get(stem, order.get(stem.rsplit("_", 1)[0]))
        for number, line in enumerate(read(root, path).splitlines(), 1):
            found = re.match(r'\s*#\s*include\s+"([^"]+)\.h"', line)
            if not found:
                continue
            other = order.get(found.group(1))
            if other is None:
                complain(path, number, f"includes {found.group(1)}.h, which no layer has")
            elif other > own:
                complain(path, number, f"is in layer {own} and includes {found.group(1)}.h of layer {other}")


def check_functions(path, text):
    """A function's body begins with a line '{' and ends with a line '}'."""
    begin = 0
    for number, line in enumerate(text.splitlines(), 1):
        if line == "{":
            begin = number
        elif line.startswith("}") and begin:
            if number - begin + 1 > FUNCTION_LINES_MAX:
                complain(path, begin, f"a function of {number - begin + 1} lines; {FUNCTION_LINES_MAX} are the most")
            begin = 0


def check_lines(path, text):
    lines = text.splitlines()
    if not any("SPDX-License-Identifier: MIT" in line for line in lines[:2]):
        complain(path, 1, "no SPDX line")
    if len(lines) > FILE_LINES_MAX:
        complain(path, len(lines), f"{len(lines)} lines; {FILE_LINES_MAX} are the most")
    for number, line in enumerate(lines, 1):
        if line != line.rstrip():
            complain(path, number, "space at the end of the line")


def check_forbidden(path, text):
    for number, line in enumerate(text.splitlines(), 1):
        found = FORBIDDEN.search(line)
        if found and "__attribute__" not in line:
            complain(path, number, f"{found.group(1)}: a library returns an error, it does not print or end a program")


def check_tool_includes(root, path, text):
    """A tool uses the public header alone; quoted headers are its own."""
    if not path.endswith((".c", ".h")):
        return
    folders = (os.path.dirname(path), "tools/common")
    for number, line in enumerate(text.splitlines(), 1):
        found = re.match(r'\s*#\s*include\s+"([^"]+)"', line)
        if found and not any(os.path.exists(os.path.join(root, folder, found.group(1))) for folder in folders):
            complain(path, number, f"includes {found.group(1)}, which is not a header of the tools")


def public_functions(root):
    text = blank_comments(read(root, "lib/solifuge.h"))
    return [re.search(r"\b(\w+)\(", declaration).group(1) for declaration in re.findall(r"^SLF_API ([^;]*);", text, re.M)]


def check_public(root):
    """Every public function has a place in a manual page of section 3, and the version script lets it out."""
    man = ""
    for name in sorted(os.listdir(os.path.join(root, "man"))):
        if name.endswith(".3"):
            man += read(root, f"man/{name}")
    pattern = re.search(r"global:\s*([^;]*);", read(root, "lib/solifuge.map")).group(1)
    expression = re.compile(pattern.replace("*", ".*") + "$")
    functions = public_functions(root)
    if not functions:
        complain("lib/solifuge.h", 1, "no public function was found")
    for function in functions:
        if not re.search(rf"^\.(Fn|Fo) {function}\b", man, re.M):
            complain("lib/solifuge.h", 1, f"{function} has no synopsis in a manual page")
        if not expression.match(function):
            complain("lib/solifuge.map", 1, f"{function} is not exported")
    text = read(root, "lib/solifuge.h")
    for code in re.findall(r"^\t(SLF_E?[A-Z]+) = -?\d+,", text, re.M):
        if not re.search(rf"\b{code}\b", man):
            complain("lib/solifuge.h", 1, f"{code} is in no manual page")


def check_references(root):
    """A reference to a page of ours names one that exists."""
    pages = {name for name in os.listdir(os.path.join(root, "man"))}
    for page in sorted(pages - {"meson.build"}):
        for number, line in enumerate(read(root, f"man/{page}").splitlines(), 1):
            found = re.search(r"\bXr ([\w-]+) (\d)", line)
            if found and re.match(r"slf_|libsolifuge|solifuge", found.group(1)):
                if f"{found.group(1)}.{found.group(2)}" not in pages:
                    complain(f"man/{page}", number, f"there is no page {found.group(1)}({found.group(2)})")


def check_tests(root):
    listed = read(root, "tests/meson.build")
    for name in sorted(os.listdir(os.path.join(root, "tests"))):
        found = re.match(r"test_([a-z_0-9]+)\.c$", name)
        if found and f"'{found.group(1)}'" not in listed and f"'{name}'" not in listed:
            complain(f"tests/{name}", 1, "is not in tests/meson.build and never runs")
    for name in sorted(os.listdir(os.path.join(root, "lib"))):
        stem, extension = os.path.splitext(name)
        for test in TESTED_BY.get(stem, [stem]) if extension == ".c" else []:
            if not os.path.exists(os.path.join(root, "tests", f"test_{test}.c")):
                complain(f"lib/{name}", 1, f"has no tests/test_{test}.c; see TESTED_BY in tests/tidy.py")
    for stem in sorted(TESTED_BY):
        if os.path.exists(os.path.join(root, "tests", f"test_{stem}.c")):
            complain("tests/tidy.py", 1, f"TESTED_BY has {stem}, which has a test of its own")


def main():
    root = sys.argv[1] if len(sys.argv) > 1 else os.path.join(os.path.dirname(os.path.abspath(__file__)), "..")
    check_layers(root)
    check_public(root)
    check_references(root)
    check_tests(root)
    for folder in ("lib", "tools", "tests", "bench"):
        for path in sources(root, folder):
            text = read(root, path)
            check_lines(path, text)
            if path.endswith((".c", ".h")):
                check_functions(path, blank_comments(text))
            if folder == "lib":
                check_forbidden(path, blank_comments(text))
            if folder == "tools":
                check_tool_includes(root, path, text)
    for finding in findings:
        print(finding)
    print(f"tidy: {len(findings)} findings")
    return 1 if findings else 0


sys.exit(main())
