"""Work for the tests of helpers; light to import, since every helper does."""

from __future__ import annotations

import os

from subsidy.errors import TerminalError

PARENT = "SUBSIDY_TEST_PARENT"


def here() -> bool:
    """True in the process of the test, False in a helper."""
    return os.environ[PARENT] == str(os.getpid())


def whose(job: int) -> tuple[int, bool]:
    print("what is printed is no result")
    return job, here()


def dies_in_a_helper(job: int) -> int:
    if not here():
        os.kill(os.getpid(), 9)
    return -job


def refuses(job: int) -> int:
    if job == 4:
        raise TerminalError("TEST-REFUSED", "一", "二", "三")
    return job
