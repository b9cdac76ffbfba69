"""One thing at a time draws on a terminal."""

import io

import pytest

from inspector.progress import progress, without_bars


class Terminal(io.StringIO):
    """A standard error that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def on_terminal(monkeypatch: pytest.MonkeyPatch) -> Terminal:
    """Set up a terminal: in the test itself, because what captures its output sets standard error before it runs."""
    drawn_on = Terminal()
    monkeypatch.setattr("sys.stderr", drawn_on)
    monkeypatch.setenv("TERM", "xterm")
    return drawn_on


def test_long_look__shows_how_far_it_is(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress("wallets", 4) as step:
        step(2)

    assert "wallets" in terminal.getvalue()
    with progress("others", 4) as step:
        step(2)
    assert "others" in terminal.getvalue()


def test_look_within_a_look__draws_no_second_bar_over_the_first(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with progress("outer", 4) as step, progress("inner", 4) as inner_step:
        step(1)
        inner_step(1)

    assert "outer" in terminal.getvalue()
    assert "inner" not in terminal.getvalue()


def test_watched_screen__has_no_bar_drawn_over_it(monkeypatch: pytest.MonkeyPatch) -> None:
    terminal = on_terminal(monkeypatch)
    with without_bars(), progress("wallets", 4) as step:
        step(1)

    assert terminal.getvalue() == ""
