#!/usr/bin/env python3
"""Measure a lab: bench.py LAB, with ROUNDS (7) in the environment.

Reads tests/LAB/bench.py, writes build/bench/LAB.csv, draws it, and prints a
summary. C, Python and their peers run in turn in each round, so that a ratio
compares what was measured within seconds; medians are over the rounds. How
many cores were really free is measured before and after every command. No
figure makes this fail: it fails where an answer is wrong.
"""
import collections
import csv
import os
import pathlib
import platform
import runpy
import shutil
import statistics
import subprocess
import sys
import textwrap

from figures import BUILT, CORES, PYTHON, ROOT, Measurement

SKIP = 77                       # a program's status: not on this machine
NOT_AN_ANSWER = {"row", "seconds", "items", "workers"}


class Skipped(Exception):
    pass


def fail(message):
    sys.exit(f"bench: {message}")


def output_of(command):
    # stderr is no terminal: programs draw no progress bars.
    done = subprocess.run([str(word) for word in command], text=True, cwd=ROOT,
                          capture_output=True)
    last = (done.stderr.strip().splitlines() or ["(no message)"])[-1]
    if done.returncode == SKIP:
        raise Skipped(last)
    if done.returncode != 0:
        fail(f"'{' '.join(map(str, command))}' ended with status "
             f"{done.returncode}: {last}")
    return [dict(word.split("=", 1) for word in line.split())
            for line in done.stdout.splitlines()]


def free_cores():
    return float(output_of([BUILT / "free_cores", CORES])[0]["free"])


def compare_answers(figure, answers, line, name):
    """All rows of a figure must agree on what they compute."""
    for key in line.keys() - NOT_AN_ANSWER:
        first, value = answers.setdefault(key, (name, line[key]))
        if value != line[key]:
            fail(f"{figure.what}: {name} has {key}={line[key]}, "
                 f"but {first} {value}")


def run_round(figure, number, before, answers):
    """Each command once. Yields measurements; the last free_cores stays."""
    for run in figure.runs:
        if run.lacks or 0 < run.rounds < number:
            continue
        lines = output_of(run.command)
        after = free_cores()
        for line in lines:
            name = run.name_of(line.get("row"))
            compare_answers(figure, answers, line, name)
            yield Measurement(name, number, float(line["seconds"]),
                              int(line.get("items", 1)), (before + after) / 2)
        before = after


def progress(text):
    if sys.stderr.isatty():
        sys.stderr.write(f"\r\033[K{text}")
        sys.stderr.flush()


def measure(figures, rounds, writer, lab):
    """All rounds of all figures: {what: [measurements]}, {what: reason}."""
    found, skipped = collections.defaultdict(list), {}
    answers = collections.defaultdict(dict)
    for number in range(1, rounds + 1):
        for figure in figures:
            if figure.what in skipped:
                continue
            progress(f"round {number} of {rounds}: {figure.what}")
            try:
                for m in run_round(figure, number, free_cores(),
                                   answers[figure.what]):
                    found[figure.what].append(m)
                    writer.writerow([lab, figure.what, m.name, number,
                                     f"{m.seconds:.9f}",
                                     f"{m.per_item * 1e9:.3f}",
                                     f"{m.free_cores:.2f}"])
            except Skipped as reason:
                skipped[figure.what] = str(reason)
                found.pop(figure.what, None)
    progress("")
    return found, skipped


# ---- the summary -------------------------------------------------------------

def show_time(seconds):
    for unit, size in ("s", 1), ("ms", 1e-3), ("us", 1e-6):
        if seconds >= size:
            return f"{seconds / size:.3g} {unit}"
    return f"{seconds * 1e9:.3g} ns"


def by_row(measurements):
    rows = collections.defaultdict(dict)
    for m in measurements:
        rows[m.name][m.round] = m
    return rows


def ratios(over, under, ratio=lambda a, b: a.per_item / b.per_item):
    """Of those rounds in which both were measured."""
    return [ratio(over[r], under[r]) for r in over.keys() & under.keys()]


def show_number(x):
    """Three figures: 0.0311, 10.6, 4,770."""
    return f"{x:.3g}" if x < 1000 else f"{float(f'{x:.3g}'):,.0f}"


def span(values, show=show_number):
    low, high = show(min(values)), show(max(values))
    return low if low == high else f"{low} to {high}"


def print_rows(figure, rows):
    ours = rows[figure.ours]
    items = {m.items for row in rows.values() for m in row.values()}
    unit = "time" if items == {1} else "time an item"
    print(f"  {'':36}{unit:>13}{'x ours':>9}{'rounds':>8}{'free cores':>12}")
    for name, row in rows.items():
        median = statistics.median(m.per_item for m in row.values())
        relative = statistics.median(ratios(row, ours))
        free = statistics.median(m.free_cores for m in row.values())
        print(f"  {name:36}{show_time(median):>13}"
              f"{show_number(relative):>9}{len(row):>8}{free:>12.2f}")


def print_aims(figure, rows):
    for aim in figure.aims:
        if not rows.keys() >= {aim.over, aim.under}:
            print(fill(f"{aim.text()}: not measured."))
            continue
        got = ratios(rows[aim.over], rows[aim.under], aim.ratio)
        median = statistics.median(got)
        verdict = "met" if aim.met(median) else "MISSED"
        between = f" ({span(got)})" if len(got) > 1 else ""
        print(fill(f"{aim.text()}, got {show_number(median)}{between}: "
                   f"{verdict}."))


def print_figure(figure, measurements, reason):
    print(f"\n{figure.what}")
    if reason:
        print(f"  skipped: {reason}")
        return
    rows = by_row(measurements)
    print_rows(figure, rows)
    for run in figure.runs:
        if run.lacks:
            print(f"  {run.names}: skipped: {run.lacks}")
    print_aims(figure, rows)
    faster = [name for name, row in rows.items()
              if statistics.median(ratios(row, rows[figure.ours])) < 0.95]
    if faster:
        print(fill(f"Faster than ours ({figure.ours}): {'; '.join(faster)}."))
    if figure.notes:
        print(fill(figure.notes))


def fill(text):
    return textwrap.fill(text, 80, initial_indent="  ", subsequent_indent="  ")


def print_head(lab, rounds, found):
    free = [m.free_cores for rows in found.values() for m in rows]
    compiler = subprocess.run(["gcc", "--version"], text=True,
                              capture_output=True).stdout.splitlines()[:1]
    print(textwrap.fill(
        f"Lab {lab}: medians of {rounds} "
        f"{'round' if rounds == 1 else 'rounds'} in which all took turns. "
        f"Ratios are taken within a round; in brackets, the smallest and the "
        f"largest. Python {platform.python_version()}; {' '.join(compiler)}, "
        f"-O2; Linux {platform.release()}; {CORES} cores, of which "
        f"{statistics.median(free):.2f} were free "
        f"({span(free, '{:.2f}'.format)}).", 80))


def read_rounds():
    text = os.environ.get("ROUNDS") or "7"
    if not text.isdigit() or not 1 <= int(text) <= 1000:
        print(f"bench: ROUNDS is a number from 1 to 1000, not '{text}'",
              file=sys.stderr)
        sys.exit(2)
    return int(text)


def draw(table):
    if shutil.which("gnuplot") is None:
        print("No picture: skipped, gnuplot is not installed.")
        return
    plot = pathlib.Path(__file__).with_name("plot.py")
    subprocess.run([PYTHON, plot, "--only-files", table.relative_to(ROOT)],
                   cwd=ROOT, check=False)


def main():
    if len(sys.argv) != 2:
        print("usage: bench.py LAB", file=sys.stderr)
        sys.exit(2)
    lab, rounds = sys.argv[1], read_rounds()
    description = ROOT / "tests" / lab / "bench.py"
    if not description.exists():
        fail(f"lab {lab} has no benchmark (tests/{lab}/bench.py)")
    if not (BUILT / "free_cores").exists():
        fail(f"nothing is built: use make bench LAB={lab.partition('-')[0]}")
    figures = runpy.run_path(str(description))["figures"]
    table = ROOT / f"build/bench/{lab}.csv"
    table.parent.mkdir(parents=True, exist_ok=True)
    with open(table, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(["lab", "what", "implementation", "round", "seconds",
                         "per_item_ns", "free_cores"])
        found, skipped = measure(figures, rounds, writer, lab)
    print_head(lab, rounds, found)
    for figure in figures:
        print_figure(figure, found.get(figure.what), skipped.get(figure.what))
    print(f"\nRows: {table.relative_to(ROOT)}")
    draw(table)


if __name__ == "__main__":
    try:
        main()
    except KeyboardInterrupt:
        sys.exit(130)
