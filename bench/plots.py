# SPDX-License-Identifier: MIT
"""SVG plots by gnuplot."""
import shutil
import subprocess

COLOURS = {
    "solifuge": "#d1495b", "lmdb": "#00798c", "lmdb-writemap": "#66b2b2", "rocksdb": "#edae49", "wiredtiger": "#30638e",
    "leveldb": "#8d6a9f", "sqlite": "#57a773", "bdb": "#7f7f7f", "limit": "#000000",
}
WIDTH, HEIGHT = 920, 420


def available():
    return shutil.which("gnuplot") is not None


def colour(store):
    return COLOURS.get(store, "#444444")


def quote(text):
    return '"' + str(text).replace("\\", "").replace('"', "").replace("_", "\\\\_") + '"'


def draw(commands, width=WIDTH, height=HEIGHT):
    """Runs gnuplot: the SVG element as text."""
    script = (f'set terminal svg size {width},{height} dynamic background "white" font "sans-serif,12"\n'
              "set key outside right top\nset grid ytics lc rgb '#dddddd'\nset border 3\nset tics nomirror\n" + commands)
    result = subprocess.run(["gnuplot"], input=script, capture_output=True, text=True, check=False)
    if result.returncode or "<svg" not in result.stdout:
        raise RuntimeError("gnuplot: " + result.stderr.strip())
    return result.stdout[result.stdout.index("<svg"):]


def lines(title, x_label, y_label, curves, logarithmic="", extra=""):
    """curves: [(store, [(x, y)])]. None when there is nothing to draw."""
    curves = [(name, [(x, y) for x, y in points if y]) for name, points in curves]
    curves = [(name, points) for name, points in curves if points]
    if not curves:
        return None
    blocks, plots = "", []
    for index, (name, points) in enumerate(curves):
        body = "\n".join(f"{x} {y}" for x, y in points)
        blocks += f"$d{index} << EOD\n{body}\nEOD\n"
        wide = 3 if name == "solifuge" else 1.6
        dash = " dt 2" if name == "limit" else ""
        plots.append(f"$d{index} using 1:2 with linespoints pt 7 ps 0.35 lw {wide}{dash} lc rgb '{colour(name)}' "
                     f"title {quote(name)}")
    scale = f"set logscale {logarithmic}\n" if logarithmic else ""
    return draw(f"set title {quote(title)}\nset xlabel {quote(x_label)}\nset ylabel {quote(y_label)}\n"
                f"set format y '%.0s%c'\n{scale}{extra}{blocks}plot " + ", ".join(plots) + "\n")


def bars(title, y_label, labels, stores, values, width=WIDTH, logarithmic=True):
    """A cluster of bars per label; values[store][label index] may be None. None when there is nothing to draw."""
    stores = [store for store in stores if any(values[store])]
    if not stores:
        return None
    rows = []
    for index, label in enumerate(labels):
        cells = " ".join(str(values[store][index]) if values[store][index] else "?" for store in stores)
        rows.append(f"{quote(label)} {cells}")
    plots = [f"$d using {column + 2}:xtic(1) lc rgb '{colour(store)}' title {quote(store)}"
             for column, store in enumerate(stores)]
    scale = "set logscale y\n" if logarithmic else "set yrange [0:*]\n"
    return draw(f"set title {quote(title)}\nset ylabel {quote(y_label)}\nset datafile missing '?'\n"
                f"set style data histogram\nset style histogram clustered gap 1\nset style fill solid 0.9 noborder\n"
                f"set format y '%.0s%c'\nset xtics rotate by -30\n{scale}$d << EOD\n" + "\n".join(rows) +
                "\nEOD\nplot " + ", ".join(plots) + "\n", width)


def latency(title, curves):
    """curves: [(store, [[fraction, ns]])]: the tail on the right, each step to it a tenth of what is left."""
    points = [(name, [(1 / (1 - fraction), ns / 1000) for fraction, ns in curve]) for name, curve in curves]
    ticks = ("set xtics ('0' 1, '90 %%' 10, '99 %%' 100, '99.9 %%' 1000, '99.99 %%' 10000, '99.999 %%' 100000, "
             "'99.9999 %%' 1000000)\n")
    return lines(title, "part of the calls", "microseconds", points, "xy", ticks + "set format y '%g'\n")
