#!/usr/bin/env python3
"""The pictures of lab 07, from what `make bench LAB=07` has measured: the
lesson's bars, where it turns, how it scales, what the grain costs, and who did
what when. Run by tests/bench/plot.py, with the table and its own folder on
the path.
"""
import collections
import csv
import pathlib
import statistics
import sys

sys.path.append(str(pathlib.Path(__file__).resolve().parents[1] / "bench"))
from pictures import (C, OTHER, PYTHON, SERIAL, THREADS,  # noqa: E402
                      block, draw, quoted)

CORE_COLOURS = [0x2f6f9f, 0xd9a13b, 0x5a9e6f, 0xb0563b, 0x7a5ea8, 0x8a8a8a,
                0x3fa7a7, 0xc77ba5]


class Table:
    """{figure: {row: {round: nanoseconds an item}}}, and the free cores."""

    def __init__(self, path):
        self.rows = collections.defaultdict(
            lambda: collections.defaultdict(dict))
        self.free = collections.defaultdict(list)
        with open(path, newline="", encoding="utf-8") as file:
            for line in csv.DictReader(file):
                self.rows[line["what"]][line["implementation"]][
                    line["round"]] = float(line["per_item_ns"])
                self.free[line["what"]].append(float(line["free_cores"]))

    def cores(self, *figures):
        values = [free for what in figures for free in self.free[what]]
        low, high = min(values), max(values)
        median = statistics.median(values)
        return f"{median:.1f} cores free ({low:.1f} to {high:.1f})"

    def spread(self, what, name):
        """Median, smallest and largest."""
        values = self.rows[what][name].values()
        return statistics.median(values), min(values), max(values)

    def speedup(self, what, name, serial):
        """The same, of the ratios within each round."""
        alone, row = self.rows[what][serial], self.rows[what][name]
        ratios = [alone[r] / row[r] for r in alone.keys() & row.keys()]
        return statistics.median(ratios), min(ratios), max(ratios)


# ---- the lesson's bars -------------------------------------------------------

LESSON = {"factorial(5000), four times": "factorial(5000) x 4",
          "factorial(5000), four times 200": "x 4 x 200",
          "four tasks of one second": "4 pauses of 1 s"}
WAYS = {"serial": (SERIAL, "one worker"),
        "threads(4) under a GIL": (PYTHON, "4 threads under a GIL"),
        "threads(4)": (THREADS, "4 threads"),
        "processes(4)": (C, "4 processes")}


def show(speedup):
    return f"{speedup:.1f}" if speedup >= 1 else f"{speedup:.2f}"


def bars(table, language):
    """A data block and the plot of one language's bars."""
    rows = []
    for i, what in enumerate(LESSON):
        for j, way in enumerate(WAYS):
            if f"{language} {way}" not in table.rows[what]:
                continue
            x = i * (len(WAYS) + 1) + j
            s, low, high = table.speedup(what, f"{language} {way}",
                                         f"{language} serial")
            rows.append((x, s, low, high, int(WAYS[way][0][1:], 16),
                         show(s)))
    return block(language, rows)


def lesson(table, path):
    figures = [what for what in LESSON if what in table.rows]
    script = "".join(bars(table, language) for language in ("C", "Python"))
    tics = ", ".join(f"{quoted(text)} {i * (len(WAYS) + 1) + 1.5}"
                     for i, text in enumerate(LESSON.values()))
    keys = ", ".join(f"NaN with boxes linecolor rgb {quoted(colour)} "
                     f"title {quoted(text)}" for colour, text in WAYS.values())
    script += f"""
set xtics ({tics}) scale 0
set style fill solid noborder
set boxwidth 0.85
set yrange [0:4.8]
set xrange [-1:{len(LESSON) * (len(WAYS) + 1) - 1}]
set ylabel "speed-up"
set grid noxtics
set key top left samplen 1
"""
    panel = """
set title {title}
plot ${language} using 1:2:5 with boxes linecolor rgb variable notitle, \\
     "" using 1:3:(0):($4-$3) with vectors nohead linewidth 2 linecolor \\
     rgb "black" notitle, \\
     "" using 1:4:6 with labels offset 0,0.7 notitle, \\
     1 with lines dashtype 2 linecolor rgb "black" notitle{keys}
"""
    titles = {language: quoted(f"{language}: how many times as fast as one "
                               f"worker; {table.cores(*figures)}")
              for language in ("C", "Python")}
    both = script + "set multiplot layout 2,1\n" + \
        panel.format(title=titles["C"], language="C", keys=", " + keys) + \
        panel.format(title=titles["Python"], language="Python", keys="") + \
        "unset multiplot\n"
    # With letters: times across, ways down.
    rows, y, names = [], 0, []
    for what, text in LESSON.items():
        for way, (_, name) in WAYS.items():
            s = table.speedup(what, f"C {way}", "C serial")[0]
            rows.append((s, y, 0, s, y - 0.3, y + 0.3, show(s)))
            names.append(f"{quoted(f'{text}: {name}')} {y}")
            y += 1
        y += 1
    letters = block("all", rows) + f"""
set title {titles["C"]}
set border 0
set grid noytics
set xrange [0:4.8]
set yrange [{y - 1}:-1]
set ytics ({", ".join(names)}) scale 0
unset key
plot $all using 1:2:3:1:2:2 with boxxyerror, "" using 1:2:7 with labels \\
     offset 2,0
"""
    draw(path, both, height=760, letters=letters)


# ---- where it turns ----------------------------------------------------------

def turn(table, path):
    times = sorted(int(what.split()[3]) for what in table.rows
                   if what.startswith("4 tasks of "))
    figures = {t: f"4 tasks of {t} factorial{'s' * (t > 1)} each"
               for t in times}
    curves = {"C threads(2)": ("C serial", THREADS),
              "C processes(2)": ("C serial", C),
              "Python processes(2)": ("Python serial", PYTHON)}
    script, plots = "", []
    for number, (name, (serial, colour)) in enumerate(curves.items()):
        script += block(f"curve{number}", [
            (t, *table.speedup(what, name, serial))
            for t, what in figures.items()])
        plots.append(f"$curve{number} with yerrorlines linewidth 2 linecolor "
                     f"rgb {quoted(colour)} title {quoted(name)}")
    script += f"""
set title {quoted("4 tasks by 2 workers, and how large a task is; "
                  + table.cores(*figures.values()))}
set xlabel "factorials in each task"
set ylabel "speed-up"
set logscale x
set xtics ({", ".join(f'"{t}" {t}' for t in times)})
set xrange [{times[0] * 0.85}:{times[-1] * 1.18}]
set yrange [0:2.2]
set key top left
plot {", ".join(plots)}, \\
     1 with lines dashtype 2 linecolor rgb "black" title "no gain"
"""
    draw(path, script)


# ---- how it scales -----------------------------------------------------------

def amdahl(table, what, crews):
    """Two curves: Amdahl's law with a core for each worker, and with those that
    were free. Karp and Flatt: the part that cannot be divided is found from the
    largest crew that had a core for each; there may be none."""
    free = statistics.median(table.free[what])
    w = max(crew for crew in crews if crew <= free + 0.3 or crew == 1)
    speedup = table.speedup(what, f"C processes({w})", "C serial")[0]
    if w == 1 or speedup <= 1:
        return (f"NaN title {quoted('too few cores were free for Amdahl')}, ")
    part = max((1 / speedup - 1 / w) / (1 - 1 / w), 0)

    def curve(workers):
        return f"1 / ({part} + {1 - part} / ({workers}))"
    return (f"{curve('x')} with lines dashtype 2 linecolor rgb \"black\" title "
            + quoted(f"Amdahl: {part * 100:.1f} % cannot be divided") + ", "
            + curve(f"x < {free} ? x : {free}")
            + " with lines linecolor rgb \"black\" title "
            + quoted(f"the same, and {free:.1f} cores") + ", ")


def scale(table, path):
    what = "64 tasks of 5 factorials"
    crews = sorted({int(name.split("(")[1][:-1]) for name in table.rows[what]
                    if "(" in name})
    script, plots = "", []
    for name, colour in ("threads", THREADS), ("processes", C):
        script += block(name, [
            (w, *table.speedup(what, f"C {name}({w})", "C serial"))
            for w in crews])
        plots.append(f"${name} with yerrorlines linewidth 2 linecolor rgb "
                     f"{quoted(colour)} title {quoted(name)}")
    script += f"""
set title {quoted(f"64 tasks of 5 factorials; {table.cores(what)}")}
set xlabel "workers"
set ylabel "speed-up"
set xtics ({", ".join(f'"{crew}" {crew}' for crew in crews)})
set xrange [{crews[0] - 0.2}:{crews[-1] + 0.2}]
set yrange [0:{max(crews[-1] * 0.6, 2.5)}]
set key top left
plot x with lines dashtype 3 linecolor rgb "{OTHER}" title "a core for each, \
all divided", {amdahl(table, what, crews)}{", ".join(plots)}
"""
    draw(path, script)


# ---- the grain ---------------------------------------------------------------

def grain(table, path):
    c, python = ("a million tiny tasks by 2 workers",
                 "a hundred thousand tiny tasks in Python")
    curves = [(c, "C threads(2), chunks of ", "C serial", THREADS),
              (c, "C processes(2), chunks of ", "C serial", C),
              (python, "Python processes(2), chunks of ", "Python serial",
               PYTHON)]
    script, plots = "", []
    for number, (what, prefix, serial, colour) in enumerate(curves):
        chunks = sorted(int(name.removeprefix(prefix))
                        for name in table.rows[what]
                        if name.startswith(prefix))
        script += block(f"curve{number}", [
            (chunk, *table.spread(what, f"{prefix}{chunk}"))
            for chunk in chunks])
        plots.append(f"$curve{number} with yerrorlines linewidth 2 linecolor "
                     f"rgb {quoted(colour)} title "
                     f"{quoted(prefix.split(',')[0])}")
    for what, serial in (c, "C serial"), (python, "Python serial"):
        plots.append(f"{table.spread(what, serial)[0]} with lines dashtype 2 "
                     f"linecolor rgb \"{SERIAL}\" title {quoted(serial)}")
    script += f"""
set title {quoted("Tiny tasks: the time of one, and how many are taken at a "
                  "time; " + table.cores(c, python))}
set xlabel "tasks in a chunk"
set ylabel "time of a task"
set logscale xy
set format x "%.0f"
set xrange [0.7:1.4e6]
set yrange [0.5:100000]
set ytics ("1 ns" 1, "10 ns" 10, "100 ns" 100, "1 us" 1000, "10 us" 10000, \\
    "100 us" 100000)
set key top right
plot {", ".join(plots)}
"""
    draw(path, script)


# ---- who did what when -------------------------------------------------------

def lanes(path):
    """[(lane, name, [(start, end, item, core)])] in milliseconds."""
    found = collections.defaultdict(list)
    with open(path, newline="", encoding="utf-8") as file:
        for line in csv.DictReader(file):
            name = f"{line['mode']} {line['worker']}"
            if line["mode"] == "serial":
                name = "one worker"
            found[name].append((float(line["start"]) * 1000,
                                float(line["end"]) * 1000,
                                line["item"], int(line["core"])))
    return list(enumerate(found.items()))


def timeline_panel(language, path):
    found = lanes(path)
    rows = [((start + end) / 2, lane, start, end, lane - 0.38, lane + 0.38,
             CORE_COLOURS[core % len(CORE_COLOURS)], item)
            for lane, (_, items) in found for start, end, item, core in items]
    names = ", ".join(f"{quoted(name)} {lane}" for lane, (name, _) in found)
    last = max(row[3] for row in rows)
    boxes = block(language, rows) + f"""
set title "{language}: who did which of the 16 items when, and on which core"
set xrange [0:{last * 1.02}]
set yrange [{len(found) - 0.4}:-0.6]
set ytics ({names}) scale 0
set xlabel "milliseconds since the start"
"""
    cores = sorted({core for _, (_, items) in found for *_, core in items})
    keys = "".join(f", NaN with boxes linecolor rgb {CORE_COLOURS[core % 8]} "
                   f"title \"core {core}\"" for core in cores[:8])
    boxes += f"""
plot ${language} using 1:2:3:4:5:6:7 with boxxyerror linecolor rgb variable \\
     notitle, "" using 1:2:8 with labels textcolor rgb "white" \\
     notitle{keys}
"""
    return boxes, found, last


def in_letters(language, found, last):
    """The lanes as text: a column is a moment, the letter is the core."""
    width = 60
    print(f"{language}: who worked when; the number is that of the core"
          f" ({last:.3g} ms)")
    for _, (name, items) in found:
        line = [" "] * width
        for start, end, _, core in items:
            first = int(start / last * (width - 1))
            for x in range(first, max(first + 1, int(end / last * width))):
                line[x] = str(core % 10) if x > first or end - start < \
                    last / width else "|"
        print(f"{name:>14} {''.join(line)}")


def timeline(folder, path):
    script, height = "", 0
    files = [(language, folder / f"07-benchmarks-timeline{ending}.csv")
             for language, ending in (("C", ""), ("Python", "-python"))]
    files = [(language, file) for language, file in files if file.exists()]
    for language, file in files:
        panel, found, last = timeline_panel(language, file)
        script += panel
        height += 110 + 34 * len(found)
        in_letters(language, found, last)
    if not files:
        print("No timeline: make bench LAB=07 writes it.")
        return
    draw(path, f"""
set multiplot layout {len(files)},1
set style fill solid border rgb "white"
set grid noytics
set key outside right top
""" + script + "unset multiplot\n", height=height, letters=False)


def main():
    if len(sys.argv) != 2:
        print("usage: plots.py FILE.csv", file=sys.stderr)
        sys.exit(2)
    path = pathlib.Path(sys.argv[1])
    table = Table(path)
    for name, picture in (("lesson", lesson), ("turn", turn),
                          ("scaling", scale), ("grain", grain)):
        try:
            picture(table, path.with_name(f"{path.stem}-{name}"))
        except (KeyError, ValueError, statistics.StatisticsError):
            print(f"No picture of {name}: skipped, {path.name} has no figures "
                  "for it.")
    timeline(path.parent, path.with_name(f"{path.stem}-timeline"))


if __name__ == "__main__":
    main()
