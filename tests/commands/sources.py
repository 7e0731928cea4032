"""sources.py - pieces of the sources, as lab texts and slides show them"""
import pathlib
import re

ROOT = pathlib.Path(__file__).resolve().parents[2]
MARKER = re.compile(r"\s*(//|#)\s*(region:|endregion\b)"
                    r"|\s*/\* (BEGIN|END) SOLUTION \d+ \*/")
TODO = re.compile(r"[ \t]*/\*[\s*]*TODO \d+\b.*?\*/[ \t]*\n", re.S)
QUOTED = re.compile(r"\"(\\.|[^\"\\])*\"|'(\\.|[^'\\])*'|/\*.*?(\*/|$)|//.*")


class Bad(Exception):
    """Something in a text that cannot be followed."""


def region(lines, name):
    """The first region of that name, with the markers of those inside it."""
    inside, depth = [], 0
    for line in lines:
        begins = re.match(r"\s*(//|#)\s*region:\s*(\S+)", line)
        if depth and re.match(r"\s*(//|#)\s*endregion\b", line):
            depth -= 1
            if depth == 0:
                return inside
        elif begins and (depth or begins[2] == name):
            depth += 1
        if depth:
            inside.append(line)
    raise Bad(f"there is no region {name}, or it has no end")


def part(lines, n):
    """The student's part n of a solution."""
    ends = [i for i, line in enumerate(lines)
            if re.match(rf"\s*/\* (BEGIN|END) SOLUTION {n} \*/", line)]
    if len(ends) != 2:
        raise Bad(f"there is no part {n}, or it has no end")
    return lines[ends[0]:ends[1]]


def function(lines, name):
    """A whole function of a C or a Python file."""
    for i, line in enumerate(lines):
        if re.match(rf"[A-Za-z_][^;=(]*\b{name}\(", line) \
                and not line.startswith("def "):
            ends = (j for j in range(i, len(lines)) if lines[j] == "}")
        elif python := re.match(rf"(\s*)def {name}\(", line):
            deeper = python[1] + " "
            ends = (j for j in range(i, len(lines)) if j + 1 == len(lines)
                    or not (lines[j + 1] + deeper + " ").startswith(deeper))
        else:
            continue
        if (end := next(ends, None)) is not None:
            return "\n".join(lines[i:end + 1]).rstrip().split("\n")
    raise Bad(f"there is no function {name}")


def untabbed(lines):
    """Tabs as four spaces a level; what is aligned stays aligned."""
    depth = cut = 0
    shown = []
    for line in lines:
        line = line.expandtabs(8)
        if depth <= 0:      # no parenthesis is open: a line of its own
            cut = 4 * ((len(line) - len(line.lstrip())) // 8)
        shown.append(line[cut:] if line[:cut].isspace() else line)
        bare = QUOTED.sub("", line)
        depth = max(0, depth) + bare.count("(") - bare.count(")")
    return shown


def source(info):
    """The lines that a block with this info string has to show."""
    path = ROOT / info["file"]
    try:
        lines = path.read_text(encoding="utf-8").splitlines()
    except OSError as error:
        raise Bad(f"{info['file']}: {error.strerror}") from error
    if "region" in info:
        lines = region(lines, info["region"])
    elif "part" in info:
        lines = part(lines, info["part"])
    elif "function" in info:
        lines = function(lines, info["function"])
    lines = [line for line in lines if not MARKER.match(line)]
    lines = TODO.sub("", "\n".join(lines) + "\n").split("\n")
    if path.suffix in (".c", ".h"):
        lines = untabbed(lines)
    margin = min((len(s) - len(s.lstrip()) for s in lines if s), default=0)
    text = "\n".join(line[margin:].rstrip() for line in lines)
    return re.sub(r"\n{3,}", "\n\n", text).strip("\n").split("\n")
