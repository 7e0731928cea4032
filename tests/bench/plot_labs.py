"""C beside Python, in every lab that was measured: how many times as long
Python takes for the same.

For each figure of a lab (tests/LAB/bench.py) its own row in C is compared with
the row in Python that one of its aims names, or that has the same name but for
the language, or else with the first there is. Ratios are taken within a round.
A lab that has many figures says in beside_python which of them to show.
"""
import collections
import csv
import math
import runpy
import statistics

from figures import ROOT
from pictures import C, block, draw, quoted

ROW, GAP = 24, 90


def read(table):
    """{figure: {row: {round: nanoseconds}}}, {figure: [free cores]}"""
    rows = collections.defaultdict(lambda: collections.defaultdict(dict))
    free = collections.defaultdict(list)
    with open(table, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            rows[line["what"]][line["implementation"]][line["round"]] = \
                float(line["per_item_ns"])
            free[line["what"]].append(float(line["free_cores"]))
    return rows, free


def python_of(figure, rows):
    aims = [aim.over for aim in figure.aims
            if aim.under == figure.ours and aim.over.startswith("Python")]
    twin = figure.ours.replace("C ", "Python ", 1)
    return next((name for name in [*aims, twin, *rows]
                 if name.startswith("Python") and name in rows), None)


def compared(table):
    """[(lab and figure, median, smallest, largest ratio, free cores)]"""
    rows, free = read(table)
    description = runpy.run_path(str(ROOT / "tests" / table.stem / "bench.py"))
    found = []
    for figure in description.get("beside_python", description["figures"]):
        ours = rows.get(figure.what, {}).get(figure.ours)
        python = python_of(figure, rows.get(figure.what, {}))
        if ours is None or python in (None, figure.ours):
            continue
        theirs = rows[figure.what][python]
        ratios = [theirs[r] / ours[r] for r in ours.keys() & theirs.keys()]
        if ratios:
            found.append((f"{table.stem[:2]}: {figure.what}",
                          statistics.median(ratios), min(ratios), max(ratios),
                          statistics.median(free[figure.what])))
    return found


def show(ratio):
    return f"{ratio:.2g}" if ratio < 100 else f"{float(f'{ratio:.2g}'):.0f}"


def script(found):
    low = min(0.5, min(row[2] for row in found) / 2)
    high = max(row[3] for row in found) * 30
    data = block("rows", [
        (ratio, y, low, ratio, y - 0.36, y + 0.36, smallest, largest,
         f"{show(ratio)}   ({free:.1f} cores free)")
        for y, (_, ratio, smallest, largest, free) in enumerate(found)])
    names = ", ".join(f"{quoted(row[0])} {y}" for y, row in enumerate(found))
    return data + f"""
set title "How many times as long Python takes as C"
set logscale x
set format x "%g"
set xrange [{low}:{high}]
set yrange [{len(found) - 0.4}:-0.6]
set ytics ({names}) scale 0 noenhanced
set grid noytics
set border 1
set style fill solid noborder
unset key
plot $rows using 1:2:3:4:5:6 with boxxyerror linecolor rgb "{C}", \\
     "" using 1:2:7:8 with xerrorbars linecolor rgb "black" pointtype -1, \\
     "" using 8:2:9 with labels left offset 1,0
"""


def print_bars(found, width=24):
    print("How many times as long Python takes as C")
    low = min(0, min(math.log10(row[1]) for row in found))
    step = (max(math.log10(row[1]) for row in found) - low) / width or 1
    for name, ratio, _, _, free in found:
        bar = "#" * max(round((math.log10(ratio) - low) / step), 1)
        print(f"  {name:40.40} {bar:{width}} {show(ratio):>6}"
              f"  ({free:.1f} free)")
    print()


def picture(tables, in_terminal):
    found = [row for table in tables for row in compared(table)]
    if not found:
        return
    if in_terminal:
        print_bars(found)
    draw(ROOT / "build/bench/labs", script(found), 1000,
         ROW * len(found) + GAP, letters=False)
