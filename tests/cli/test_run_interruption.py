"""Signals break off work, once, and never its cleaning up. In a process of their own each."""

from __future__ import annotations

import signal
import subprocess
import sys

import pytest

PRELUDE = """
import os, signal, time
from bench.interruption import Cleanup, interruptible, postponed

def interrupt(number=signal.SIGINT):
    os.kill(os.getpid(), number)
    time.sleep(0.01)  # where a handler would run, if one does
"""


def lines(program: str) -> list[str]:
    """What the program prints."""
    command = [sys.executable, "-c", PRELUDE + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.parametrize("number", ["signal.SIGINT", "signal.SIGTERM"])
def test_the_first_signal_interrupts_and_the_others_do_nothing(number: str) -> None:
    program = f"""
try:
    with interruptible():
        try:
            interrupt({number})
            print("unimpressed")
        finally:
            interrupt()
            interrupt(signal.SIGTERM)
            print("cleaned")
except KeyboardInterrupt:
    interrupt()
    print("interrupted")
"""
    assert lines(program) == ["cleaned", "interrupted"]


def test_without_a_signal_everything_is_as_before() -> None:
    program = """
with interruptible():
    pass
print(signal.getsignal(signal.SIGINT) is signal.default_int_handler)
print(signal.getsignal(signal.SIGTERM) is signal.SIG_DFL)
"""
    assert lines(program) == ["True", "True"]


def test_a_signal_that_was_ignored_stays_ignored() -> None:
    program = """
signal.signal(signal.SIGINT, signal.SIG_IGN)
with interruptible():
    interrupt()
    with postponed():
        interrupt()
    print("on")
"""
    assert lines(program) == ["on"]


def test_a_postponed_signal_takes_effect_at_the_end_of_the_outermost_block() -> None:
    program = """
try:
    with postponed():
        with postponed():
            interrupt()
            print("inner")
        print("outer")
    print("unimpressed")
except KeyboardInterrupt:
    print("interrupted")
"""
    assert lines(program) == ["inner", "outer", "interrupted"]


def test_what_a_stack_cleans_up_is_done_whole() -> None:
    program = """
try:
    with Cleanup() as stack:
        stack.callback(print, "first")
        stack.callback(interrupt)
        stack.callback(print, "last")
    print("unimpressed")
except KeyboardInterrupt:
    print("interrupted")
"""
    assert lines(program) == ["last", "first", "interrupted"]


def test_the_error_that_ends_a_stack_gets_out() -> None:
    program = """
try:
    with Cleanup() as stack:
        stack.callback(print, "cleaned")
        raise ValueError
except ValueError:
    print("told")
"""
    assert lines(program) == ["cleaned", "told"]


def test_other_threads_are_left_alone() -> None:
    program = """
import threading

def work():
    with interruptible(), postponed():
        print("done")

thread = threading.Thread(target=work)
thread.start()
thread.join()
"""
    assert lines(program) == ["done"]


def test_a_signal_that_nobody_handles_has_its_usual_effect_after_the_block() -> None:
    program = """
with postponed():
    interrupt(signal.SIGTERM)
    print("done", flush=True)
print("alive")
"""
    done = subprocess.run(
        [sys.executable, "-c", PRELUDE + program], capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout) == (-signal.SIGTERM, "done\n")
