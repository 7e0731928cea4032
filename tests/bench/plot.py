#!/usr/bin/env python3
"""Draw build/bench/LAB.csv as build/bench/LAB.svg, with gnuplot.

A panel for each figure, a bar for each row: the median time of an item. The
scale is logarithmic, or the fast ones could not be seen beside the slow.
"""
import collections
import csv
import math
import pathlib
import statistics
import subprocess
import sys

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


def quoted(text):
    return '"' + text.replace("\\", r"\\").replace('"', r'\"') + '"'


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


def script(figures, output):
    height = sum(GAP + ROW * len(rows) for rows in figures.values()) + 20
    text = f"""
set terminal svg size {WIDTH},{height} font "sans,12" background rgb "white"
set output {quoted(str(output))}
set multiplot
set lmargin at screen {LEFT / WIDTH}
set rmargin at screen 0.97
set logscale x
set format x ""
set grid xtics linecolor rgb "#dddddd"
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


def main():
    if len(sys.argv) != 2:
        print("usage: plot.py FILE.csv", file=sys.stderr)
        sys.exit(2)
    table = pathlib.Path(sys.argv[1])
    picture = table.with_suffix(".svg")
    try:
        subprocess.run(["gnuplot"], input=script(read(table), picture),
                       text=True, check=True)
    except FileNotFoundError as error:
        lacks = error.filename
        sys.exit("plot: gnuplot is not installed" if lacks == "gnuplot"
                 else f"plot: there is no {lacks}: make bench writes it")
    except subprocess.CalledProcessError as error:
        sys.exit(f"plot: gnuplot ended with status {error.returncode}")
    print(f"Picture: {picture}")


if __name__ == "__main__":
    main()
