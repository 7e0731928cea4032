"""Draw with gnuplot: as SVG, as PNG, and with letters in the terminal.

A picture is a piece of gnuplot that says what to plot, without a terminal and
an output. What it plots stands in data blocks ($name << END).
"""
import os
import shutil
import subprocess
import sys

C, PYTHON, OTHER = "#2f6f9f", "#d9a13b", "#8a8a8a"
THREADS, PROCESSES, SERIAL = "#5a9e6f", "#2f6f9f", "#8a8a8a"

COMMON = """
set encoding utf8
set datafile missing "NaN"
set border 3
set grid linecolor rgb "#dddddd"
set tics nomirror
set key noenhanced
set title noenhanced
set xlabel noenhanced
set ylabel noenhanced
"""


def available():
    return shutil.which("gnuplot") is not None


def quoted(text):
    return '"' + text.replace("\\", r"\\").replace('"', r'\"') + '"'


def block(name, rows):
    """A data block; texts are quoted."""
    lines = (" ".join(quoted(value) if isinstance(value, str) else
                      f"{value:.9g}" for value in row) for row in rows)
    return f"${name} << END\n" + "\n".join(lines) + "\nEND\n"


def gnuplot(script):
    """What it prints, or None where it failed."""
    done = subprocess.run(["gnuplot"], input=script, text=True,
                          capture_output=True, check=False)
    if done.returncode != 0:
        print(f"plot: gnuplot: {done.stderr.strip()[-300:]}", file=sys.stderr)
        return None
    return done.stdout


def draw(path, script, width=900, height=500, letters=None):
    """path without its ending. letters: another piece of gnuplot for the
    terminal, where colours and fine lines cannot be seen; False = none."""
    font = 'font "sans,12" background rgb "white"'
    terminals = [(f"svg size {width},{height} {font}", ".svg")]
    # Not every gnuplot has cairo.
    for terminal in "pngcairo", "png":
        if gnuplot(f"set terminal {terminal}") is not None:
            terminals.append((f"{terminal} size {width},{height} {font}"
                              if terminal == "pngcairo" else
                              f"{terminal} size {width},{height}", ".png"))
            break
    made = []
    for terminal, ending in terminals:
        output = path.with_name(path.name + ending)
        if gnuplot(f"set terminal {terminal}\nset output "
                   f"{quoted(str(output))}\n{COMMON}{script}") is not None:
            made.append(os.path.relpath(output))
    if letters is not False:
        columns = min(os.get_terminal_size().columns, 100) \
            if sys.stdout.isatty() else 79
        text = gnuplot(f"set terminal dumb mono size {columns},24\n"
                       f"{COMMON}{letters or script}")
        if text:
            print(text.strip("\n\f"))
    if made:
        print(f"Picture: {', '.join(made)}\n")
    return bool(made)
