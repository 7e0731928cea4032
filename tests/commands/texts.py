#!/usr/bin/env python3
"""texts.py - what lab texts and slides show is what the sources and programs do

A code block is filled from a source by its info string:

    ```c file=solutions/02-pool/pool.c region=claim
    ```c file=solutions/02-pool/pool.c function=pool_map
    ```c file=solutions/02-pool/pool.c part=1

A region stands between the lines //region: name and //endregion (in Python
#region: name, #endregion), part 1 between BEGIN and END SOLUTION 1; without
any of them it is the whole file.
Marker lines and the TODO comments of a solution are not shown, and tabs
become four spaces a level. --check writes nothing and fails where they differ.

--run executes each console block: every `$ command` in the project's root.
What it prints, stdout and stderr together, must be the lines below it. HTML
comments right before the block tell exceptions:

    varies: seconds=[0-9.]+ | cpu=[0-9]+%   what matches is equal to any match
    order: any                              lines in any order
    status: 2                               of every command, or one for each
    limit: 120                              seconds for each command, else 60
    not run: reason                         only shown
"""
import argparse
import contextlib
import difflib
import os
import pathlib
import re
import signal
import subprocess
import sys
import tempfile

sys.dont_write_bytecode = True
from sources import ROOT, Bad, source

FENCE = re.compile(r"( *)(`{3,}|~{3,})\s*(\w*)\s*(.*)")
NOTE = re.compile(r"^\s*(varies|order|status|limit|not run):\s*(.*?)\s*$", re.M)


class Block:
    """A fenced block: its info string, its lines, and the notes before it."""

    def __init__(self, number, fence, notes):
        self.number, self.notes, self.lines = number, notes, []
        self.indent, self.ticks, self.language, info = fence.groups()
        self.info = dict(re.findall(r"(\w+)=(\S+)", info))


def blocks(lines):
    """The fenced blocks of a text; those inside HTML comments do not count."""
    block, comment, begun, notes = None, None, 0, {}
    for number, line in enumerate(lines, 1):
        fence = FENCE.fullmatch(line)
        if block:
            if line.strip() == block.ticks:
                yield block
                block, notes = None, {}
            else:
                block.lines.append(line.removeprefix(block.indent))
        elif comment is not None or line.lstrip().startswith("<!--"):
            begun = begun if comment else number
            comment = [*(comment or []), re.sub("<!--|-->", "", line)]
            if "-->" in line:
                notes |= dict(NOTE.findall("\n".join(comment)))
                comment = None
        elif fence:
            block = Block(number, fence, notes)
        elif line.strip():
            notes = {}
    if block or comment:    # it has no end
        block = block or Block(begun, FENCE.match("```"), {})
        block.ticks = None
        yield block


def commands(block):
    """(line number, command, expected lines) for each command of a block."""
    found = []
    for number, line in enumerate(block.lines, block.number + 1):
        if line.startswith("$ "):
            found.append((number, line[2:], []))
        elif found and found[-1][1].endswith("\\") and not found[-1][2]:
            number, command, _ = found.pop()
            found.append((number, command + "\n" + line.removeprefix("> "), []))
        elif found:
            found[-1][2].append(line)
        else:
            raise Bad("a console block begins with `$ ` and a command")
    return found


def run(command, limit, env):
    """What it printed and its status (None: the time ran out)."""
    with tempfile.TemporaryFile() as out:
        with subprocess.Popen(
                ["bash", "-c", command], cwd=ROOT, env=env, stdout=out,
                stdin=subprocess.DEVNULL, stderr=subprocess.STDOUT,
                start_new_session=True) as child:
            try:
                status = child.wait(limit)
            except subprocess.TimeoutExpired:
                status = None
            with contextlib.suppress(ProcessLookupError):
                os.killpg(child.pid, signal.SIGKILL)
        out.seek(0)
        text = out.read().decode(errors="replace")
    return text.splitlines(), 128 - status if (status or 0) < 0 else status


def normal(lines, notes):
    """The lines with what varies replaced, for comparing."""
    text = "\n".join(line.rstrip() for line in lines)
    for pattern in filter(None, notes.get("varies", "").split(" | ")):
        text = re.sub(pattern, lambda _, p=pattern: f"<{p}>", text)
    lines = text.split("\n") if text else []
    return sorted(lines) if notes.get("order") == "any" else lines


class Report:
    """Counts verdicts and prints failures."""

    def __init__(self):
        self.counts = {"passed": 0, "failed": 0, "skipped": 0}

    def add(self, verdict, where, check, why="", expected=(), got=()):
        self.counts[verdict] += 1
        if verdict == "failed":
            print(f"FAIL  {where}: {check}\n      {why}")
            for line in difflib.unified_diff(expected, got, "in the text",
                                             "in truth", lineterm=""):
                print(f"      {line}")


def check_console(block, name, report):
    notes, found = block.notes, commands(block)
    statuses = [int(word) for word in notes.get("status", "0").split()]
    limit = float(notes.get("limit", 60))
    if len(statuses) not in (1, len(found)):
        raise Bad("status: one for all commands, or one for each")
    statuses *= 1 if len(statuses) == len(found) else len(found)
    env = os.environ | {"LC_ALL": "C.UTF-8", "TERM": "dumb"}
    # As a person types it: a make below make says where it is.
    for variable in ("MAKEFLAGS", "MFLAGS", "MAKELEVEL"):
        env.pop(variable, None)
    for (number, command, shown), wanted in zip(found, statuses):
        where, check = f"{name}:{number}", f"`{command}` prints what is shown"
        if "not run" in notes:
            report.add("skipped", where, check, f"not run: {notes['not run']}")
            continue
        got, status = run(command, limit, env)
        expected, got = normal(shown, notes), normal(got, notes)
        if status is None:
            why = f"It was still running after {limit:g} seconds."
        elif status != wanted:
            why = f"It ended with status {status}, not {wanted}."
        else:
            why = "It prints something else."
        if status == wanted and expected == got:
            report.add("passed", where, check)
        else:
            report.add("failed", where, check, why, expected, got)


def check_code(block, name, args, report):
    """Returns the lines that the block should have."""
    wanted = source(block.info)
    if args.check:
        fine = block.lines == wanted
        report.add("passed" if fine else "failed", f"{name}:{block.number}",
                   " ".join(["it shows", *block.info.values()]),
                   "" if fine else "`make texts` fills it again.",
                   block.lines, wanted)
    return [(block.indent + line).rstrip() for line in wanted]


def check_links(path, name, text, report):
    """Files that a text points at are there, and pictures are described."""
    text = re.sub(r"(`{3,}|`|<!--).*?(\1|-->)", lambda m:
                  "\n" * m[0].count("\n"), text, flags=re.S)
    for link in re.finditer(r"(!?)\[([^\]]*)\]\(([^)\s#:]+)(#[^)]*)?\)", text):
        fine = (path.parent / link[3]).exists() and (link[2] or not link[1])
        report.add("passed" if fine else "failed",
                   f"{name}:{text.count(chr(10), 0, link.start()) + 1}",
                   f"{link[3]} is there" + " and described" * bool(link[1]),
                   "" if fine else "No such file, or no text between [ ].")


def check_text(path, args, report):
    """Judges a text and, without --check, fills its code blocks."""
    name = os.path.relpath(path, ROOT) if ROOT in path.resolve().parents \
        else str(path)
    lines = path.read_text(encoding="utf-8").splitlines()
    filled, grown = list(lines), 0
    if args.check:
        check_links(path, name, "\n".join(lines), report)
    for block in blocks(lines):
        start, end = block.number + grown, len(block.lines)
        try:
            if block.ticks is None:
                raise Bad("this code block or comment has no end")
            if "file" in block.info:
                wanted = check_code(block, name, args, report)
                filled[start:start + end] = wanted
                grown += len(wanted) - end
            elif block.language == "console" and args.run:
                check_console(block, name, report)
        except (Bad, ValueError, re.error) as bad:
            report.add("failed", f"{name}:{block.number}",
                       "it can be followed", str(bad))
    if not args.check and filled != lines:
        path.write_text("\n".join(filled) + "\n", encoding="utf-8")
        print(f"{name}: filled")


def main():
    parser = argparse.ArgumentParser(
        description=__doc__.split("\n\n", 1)[1],
        formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--check", action="store_true")
    parser.add_argument("--run", action="store_true")
    parser.add_argument("files", nargs="+", type=pathlib.Path)
    args = parser.parse_args()
    report = Report()
    try:
        for path in args.files:
            check_text(path, args, report)
    except OSError as error:
        sys.exit(f"texts.py: {error.filename}: {error.strerror}")
    print(", ".join(f"{n} {verdict}" for verdict, n in report.counts.items()))
    sys.exit(1 if report.counts["failed"] else 0)


if __name__ == "__main__":
    main()
