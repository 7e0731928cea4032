#!/usr/bin/env python3
"""Draw what `make bench` has measured, with gnuplot: build/bench/LAB.csv as
build/bench/LAB.svg and .png, and in the terminal.

usage: plot.py [--only-files] [FILE.csv...]

A panel for each figure, a bar for each row: the median time of an item. The
scale is logarithmic, or the fast ones could not be seen beside the slow. Then
what tests/LAB/plots.py draws, where a lab has one; and C beside Python, for all
labs that were measured. Without a file: all there are. --only-files: nothing in
the terminal but their names.
"""
import collections
import csv
import math
import pathlib
import statistics
import subprocess
import sys

import plot_labs
from figures import PYTHON, ROOT
from pictures import available, draw, quoted

ROW, GAP = 22, 74               # heights in points: of a bar, between panels
LEFT, WIDTH = 250, 900
COLOURS = {"C": "#2f6f9f", "P": "#d9a13b"}      # by the first letter


def read(path):
    """{figure: {row: (median ns, median free cores)}}"""
    rows = collections.defaultdict(lambda: collections.defaultdict(list))
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            rows[line["what"]][line["implementation"]].append(
                (float(line["per_item_ns"]), float(line["free_cores"])))
    return {what: {name: tuple(map(statistics.median, zip(*values)))
                   for name, values in figure.items()}
            for what, figure in rows.items()}


def show(ns):
    for unit, size in ("s", 1e9), ("ms", 1e6), ("us", 1e3):
        if ns >= size:
            return f"{ns / size:.3g} {unit}"
    return f"{ns:.3g} ns"


def panel(what, figure, top, height):
    """Gnuplot's commands for one figure whose bars begin at point top."""
    rows = sorted(figure.items(), key=lambda row: row[1][0])
    low = 10 ** math.floor(math.log10(rows[0][1][0])) / 2
    high = rows[-1][1][0] * 4           # room for the number behind the bar
    names = ", ".join(f"{quoted(name)} {i}"
                      for i, (name, _) in enumerate(rows))
    free = statistics.median(f for _, (_, f) in rows)
    data = "\n".join(f"{ns} {i} {low} {ns} {i - 0.36} {i + 0.36} "
                     f"{int(COLOURS[name[0]][1:], 16)} {quoted(show(ns))}"
                     for i, (name, (ns, _)) in enumerate(rows))
    title = quoted(f"{what}  ({free:.1f} cores free)")
    return f"""
$rows << END
{data}
END
set title {title}
set tmargin at screen {1 - top / height}
set bmargin at screen {1 - (top + ROW * len(rows)) / height}
set xrange [{low}:{high}]
set yrange [{len(rows) - 0.5}:-0.5]
set ytics ({names})
plot $rows using 1:2:3:4:5:6:7 with boxxyerror linecolor rgb variable, \\
     $rows using 1:2:8 with labels left offset 0.6,0
"""


def height_of(figures):
    return sum(GAP + ROW * len(rows) for rows in figures.values()) + 20


def script(figures):
    height = height_of(figures)
    text = f"""
set multiplot
set lmargin at screen {LEFT / WIDTH}
set rmargin at screen 0.97
set logscale x
set format x ""
set grid xtics noytics linecolor rgb "#dddddd"
set border 0
set tics scale 0
unset key
set title font ",14" offset 0,-0.7 noenhanced
set ytics noenhanced
set xtics ("1 ns" 1, "10 ns" 10, "100 ns" 100, "1 us" 1e3, "10 us" 1e4, \\
    "100 us" 1e5, "1 ms" 1e6, "10 ms" 1e7, "100 ms" 1e8, "1 s" 1e9, \\
    "10 s" 1e10, "100 s" 1e11)
set style fill solid noborder
"""
    top = 0
    for what, figure in figures.items():
        text += panel(what, figure, top + GAP * 0.6, height)
        top += GAP + ROW * len(figure)
    return text


def print_bars(figures, width=30):
    """The same with letters."""
    for what, figure in figures.items():
        free = statistics.median(f for _, (_, f) in figure.items())
        print(f"{what}  ({free:.1f} cores free)")
        rows = sorted(figure.items(), key=lambda row: row[1][0])
        low = math.log10(rows[0][1][0]) - 0.2
        step = max(math.log10(rows[-1][1][0]) - low, 0.5) / width
        for name, (ns, _) in rows:
            bar = "#" * max(round((math.log10(ns) - low) / step), 1)
            print(f"  {name:37.37} {bar:{width}} {show(ns):>8}")
        print()


def draw_table(table, in_terminal):
    try:
        figures = read(table)
    except FileNotFoundError:
        sys.exit(f"plot: there is no {table}: make bench writes it")
    if in_terminal:
        print_bars(figures)
    if not draw(table.with_suffix(""), script(figures), WIDTH,
                height_of(figures), letters=False):
        sys.exit(f"plot: {table} cannot be drawn")
    more = ROOT / "tests" / table.stem / "plots.py"
    if more.exists():
        subprocess.run([PYTHON, more, table], check=True,
                       stdout=None if in_terminal else subprocess.DEVNULL)


def main():
    words = sys.argv[1:]
    in_terminal = "--only-files" not in words
    tables = [pathlib.Path(word) for word in words if word != "--only-files"]
    if not in_terminal:
        words.remove("--only-files")
    if any(word.startswith("-") for word in words):
        print(__doc__, file=sys.stderr)
        sys.exit(2)
    if not available():
        print("No pictures: skipped, gnuplot is not installed.")
        return
    everything = sorted((ROOT / "build/bench").glob("[0-9][0-9]-*.csv"))
    measured = [table for table in everything
                if (ROOT / "tests" / table.stem / "bench.py").exists()]
    if not tables and not measured:
        sys.exit("plot: nothing is measured yet: make bench LAB=02")
    for table in tables or measured:
        draw_table(table, in_terminal)
    plot_labs.picture(measured, in_terminal)


if __name__ == "__main__":
    main()
