"""How a lab describes its benchmark: see tests/*/bench.py.

A lab has figures. A figure runs commands, in turn in each round; a command
prints one or more rows: "row=KEY seconds=S items=N" (what else it prints as
name=value is compared between all rows of the figure: all must find the same
answer). Aims are ratios of two rows, taken within each round.
"""
import dataclasses
import os
import pathlib
import sys

ROOT = pathlib.Path(__file__).resolve().parents[2]
BUILT = ROOT / "build/fast"
PYTHON = sys.executable
CORES = len(os.sched_getaffinity(0))
WORKERS = max(CORES, 2)         # for pools that have a worker for each core


@dataclasses.dataclass
class Run:
    """A command, and the names of the rows that it prints, by their keys.

    A command that prints no row=KEY has a single name. It takes part in the
    first `rounds` rounds, or in all. `lacks`: why it cannot run here.
    """
    command: list
    names: object
    rounds: int = 0
    lacks: str = ""

    def name_of(self, key):
        return self.names if isinstance(self.names, str) else self.names[key]


@dataclasses.dataclass
class Aim:
    """`over` takes so many times as long as `under`.

    shared_by: compare with `under` divided by the free cores, of which so
    many workers can use no more than one each.
    """
    over: str
    under: str
    at_least: float = 0
    at_most: float = 0
    shared_by: int = 0

    def text(self):
        under = self.under
        if self.shared_by:
            under = f"({under} / free cores)"
        bound = (f"{self.at_least:g} or more" if self.at_least else
                 f"{self.at_most:g} or less")
        return f"{self.over} / {under}: aim {bound}"

    def met(self, ratio):
        return ratio >= self.at_least and ratio <= (self.at_most or ratio)

    def ratio(self, over, under):
        """Of two measurements of one round."""
        free = 1
        if self.shared_by:
            free = (over.free_cores + under.free_cores) / 2
            free = max(1, min(free, self.shared_by))
        return over.per_item / (under.per_item / free)


@dataclasses.dataclass
class Figure:
    """ours: the row that the others are compared with."""
    what: str
    ours: str
    runs: list
    aims: list = dataclasses.field(default_factory=list)
    notes: str = ""


@dataclasses.dataclass
class Measurement:
    name: str
    round: int
    seconds: float
    items: int
    free_cores: float

    @property
    def per_item(self):
        return self.seconds / self.items
