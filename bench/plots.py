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


def bottom(values):
    """Where 0 is drawn on a logarithmic axis: below all that is above it."""
    positive = [value for value in values if value > 0]
    return min(positive) / 3 if positive else 1


def axis(values, logarithmic):
    """(commands, function that says where a value is drawn): an axis on which 0 has a place, also a logarithmic one."""
    if not logarithmic:
        return "set yrange [0:*]\n", lambda value: value
    if min(values) > 0:
        return "set logscale y\n", lambda value: value
    low = bottom(values)
    return f"set logscale y\nset yrange [{low}:*]\nset ytics add ('0' {low})\n", lambda value: max(value, low)


def lines(title, x_label, y_label, curves, logarithmic="", extra=""):
    """curves: [(store, [(x, y)])]; a y of None is left out. None when there is nothing to draw."""
    curves = [(name, [(x, y) for x, y in points if y is not None]) for name, points in curves]
    curves = [(name, points) for name, points in curves if points]
    if not curves:
        return None
    scale, place = axis([y for _, points in curves for _, y in points], "y" in logarithmic)
    if "x" in logarithmic:
        scale += "set logscale x\n"
    blocks, plots = "", []
    for index, (name, points) in enumerate(curves):
        body = "\n".join(f"{x} {place(y)}" for x, y in points)
        blocks += f"$d{index} << EOD\n{body}\nEOD\n"
        wide = 3 if name == "solifuge" else 1.6
        dash = " dt 2" if name == "limit" else ""
        plots.append(f"$d{index} using 1:2 with linespoints pt 7 ps 0.35 lw {wide}{dash} lc rgb '{colour(name)}' "
                     f"title {quote(name)}")
    return draw(f"set title {quote(title)}\nset xlabel {quote(x_label)}\nset ylabel {quote(y_label)}\n"
                f"set format y '%.0s%c'\n{scale}{extra}{blocks}plot " + ", ".join(plots) + "\n")


def dots(title, y_label, labels, stores, values, width=WIDTH):
    """A dot per label and store on a logarithmic axis, where a bar would have no beginning, and a line from the least to
    the greatest. values[store][label index]: (middle, least, greatest) or None. None when there is nothing to draw."""
    stores = [store for store in stores if any(values[store])]
    if not stores:
        return None
    scale, place = axis([figure for store in stores for points in values[store] if points for figure in points], True)
    blocks, plots = "", []
    for column, store in enumerate(stores):
        shift = 0.8 * ((column + 0.5) / len(stores) - 0.5)
        rows = [" ".join(str(value) for value in [index + shift] + [place(figure) for figure in points])
                for index, points in enumerate(values[store]) if points]
        blocks += f"$d{column} << EOD\n" + "\n".join(rows) + "\nEOD\n"
        plots.append(f"$d{column} using 1:2:3:4 with yerrorbars pt 7 ps {0.8 if store == 'solifuge' else 0.6} lw 1.6 "
                     f"lc rgb '{colour(store)}' title {quote(store)}")
    ticks = ", ".join(f"{quote(label)} {index}" for index, label in enumerate(labels))
    between = "".join(f"set arrow from {index + 0.5}, graph 0 to {index + 0.5}, graph 1 nohead lc rgb '#dddddd'\n"
                      for index in range(len(labels) - 1))
    return draw(f"set title {quote(title)}\nset ylabel {quote(y_label)}\nset format y '%.0s%c'\n"
                f"set xrange [-0.5:{len(labels) - 0.5}]\nset xtics rotate by -30 ({ticks})\n{between}{scale}{blocks}plot " +
                ", ".join(plots) + "\n", width)


def latency(title, curves):
    """curves: [(store, [(fraction, ns)])]: the tail on the right, each step to it a tenth of what is left."""
    points = [(name, [(1 / (1 - fraction), ns / 1000) for fraction, ns in curve]) for name, curve in curves]
    ticks = ("set xtics ('0' 1, '90 %%' 10, '99 %%' 100, '99.9 %%' 1000, '99.99 %%' 10000, '99.999 %%' 100000, "
             "'99.9999 %%' 1000000)\n")
    return lines(title, "part of the calls", "microseconds", points, "xy", ticks + "set format y '%g'\n")
