"""The live dashboard at a terminal: a real pseudo-terminal, and the screen that an emulator makes of the bytes."""

from __future__ import annotations

import os
import re
import select
import signal
import struct
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

pyte = pytest.importorskip("pyte")
if sys.platform == "win32":
    pytest.skip("pseudo-terminals are Unix's", allow_module_level=True)

import fcntl  # noqa: E402
import pty  # noqa: E402
import termios  # noqa: E402

PATIENCE_S = 120.0


class Terminal:
    """A program at a terminal of so many columns and rows."""

    def __init__(self, words: list[str], columns: int = 100, rows: int = 24, **variables: str) -> None:
        self.child, self.master = pty.fork()
        if self.child == 0:
            inherited = {name: value for name, value in os.environ.items() if name != "NO_COLOR"}
            os.execve(words[0], words, {**inherited, "TERM": "xterm-256color", **variables})
        self.screen = pyte.Screen(columns, rows)
        self.stream = pyte.ByteStream(self.screen)
        self.raw = b""
        self.resize(columns, rows)

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))
        self.screen.resize(rows, columns)

    def comes(self, patience_s: float) -> bool:
        return bool(select.select([self.master], [], [], patience_s)[0])

    def feed(self) -> bool:
        """Feeds the screen what has come; false when the program has ended."""
        try:
            data = os.read(self.master, 65536)
        except OSError:  # Linux says so when the other end has closed.
            return False
        self.raw += data
        self.stream.feed(data)
        return bool(data)

    def settle(self) -> None:
        """Until nothing has come for a twentieth of a second: pictures are five a second, and a part of one must not meet another width."""
        while self.comes(0.05) and self.feed():
            pass

    def lines(self) -> list[str]:
        return [line.rstrip() for line in self.screen.display if line.strip()]

    def read(self, until: Callable[[], bool]) -> bool:
        """Feeds the screen until it shows something; false when the program has ended before."""
        end = time.monotonic() + PATIENCE_S
        while not until():
            assert time.monotonic() < end, self.lines()
            if self.comes(0.1) and not self.feed():
                return False
        return True

    def ends(self) -> int:
        self.read(lambda: False)
        return os.waitstatus_to_exitcode(os.waitpid(self.child, 0)[1])

    def shows(self, text: str) -> bool:
        return any(text in line for line in self.lines())


@pytest.fixture
def long_run(binary: Path, scenario_file: Path) -> list[str]:
    """Some minutes, if nobody ends it."""
    sets = ["workload.deployments[0].replicas=1000000", "cluster.nodes[0].count=50000", "stop.limit=10000h"]
    return [str(binary), "run", str(scenario_file), *(word for one in sets for word in ("--set", one))]


def test_the_dashboard_is_drawn_anew_and_ctrl_c_leaves_a_sane_terminal(long_run: list[str]) -> None:
    terminal = Terminal(long_run)
    assert terminal.read(lambda: terminal.shows("bound  "))
    first = terminal.lines()
    words = " ".join(first)
    assert all(word in words for word in ("virtual time ", "events, ", "created ", "in the sche"))
    assert terminal.read(lambda: terminal.lines()[:1] != first[:1])
    # Narrower, then wider again: nothing of an older picture stays.
    terminal.settle()
    terminal.resize(60, 24)
    narrow = terminal.lines()
    assert terminal.read(lambda: terminal.lines() != narrow and terminal.shows("virtual time"))
    terminal.settle()
    terminal.resize(140, 24)
    wide = terminal.lines()
    assert terminal.read(lambda: terminal.lines() != wide and sum("pods " in line for line in terminal.lines()) == 1)
    os.write(terminal.master, b"\x03")
    assert terminal.ends() == 130
    assert terminal.lines()[-1] == "interrupted"
    assert not terminal.screen.cursor.hidden
    assert terminal.screen.cursor.x == 0, "the shell's prompt begins a line"


def test_a_signal_ends_it_alike(long_run: list[str]) -> None:
    terminal = Terminal(long_run)
    assert terminal.read(lambda: terminal.shows("virtual time"))
    os.kill(terminal.child, signal.SIGTERM)
    assert terminal.ends() == 130
    assert terminal.lines()[-1] == "interrupted"


def test_no_color_and_quiet(long_run: list[str], binary: Path, scenario_file: Path) -> None:
    terminal = Terminal(long_run, NO_COLOR="1")
    assert terminal.read(lambda: terminal.shows("virtual time"))
    os.kill(terminal.child, signal.SIGTERM)
    assert terminal.ends() == 130
    # Movements of the cursor are no colours: three lines up is ESC [ 3 A.
    assert not re.search(rb"\x1b\[[0-9;]*m", terminal.raw)
    table = Terminal([str(binary), "--quiet", "run", str(scenario_file)], NO_COLOR="1")
    assert table.ends() == 0
    assert b"\x1b" not in table.raw and table.shows("Limited by ")


def test_a_dumb_terminal_gets_no_cursor_movements(binary: Path, scenario_file: Path) -> None:
    terminal = Terminal([str(binary), "run", str(scenario_file)], TERM="dumb")
    assert terminal.ends() == 0
    assert b"\x1b[1A" not in terminal.raw and b"\x1b[2K" not in terminal.raw
    assert terminal.shows("Limited by ")
