"""The same work on many jobs, by this process and helpers beside it.

A helper is a Python process of its own that finds its jobs in a file and leaves their results in one. It is started afresh: a fork would
copy the locks of the heartbeat's and Arrow's threads, and a pool of `multiprocessing` refuses to work below a process that is itself one
of a pool. What works here only reads, so that a helper left over by a killed step can do no harm.
"""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack, contextmanager
from typing import Any, TypeVar

from subsidy import ENGINE_VERSION

J = TypeVar("J")
R = TypeVar("R")

#: Processes that work at once, this one included: each holds a bucket group in memory, and in a night several centres share a machine.
MOST = 2


def each(work: Callable[[J], R], jobs: Sequence[J]) -> list[R]:
    """`work` of every job, in the order of `jobs`; some of it in helpers where there are several jobs and processors.

    A job must be worth the start of a process (a second). `work` is a function of a module; jobs and results can be pickled. What a
    helper that died should have done is done here: helpers save time and decide nothing, and an error is raised as if there were none."""
    count = max(1, min(len(jobs), MOST, len(os.sched_getaffinity(0))))
    with ExitStack() as stack:
        asked = [stack.enter_context(_helper(work, jobs[first::count])) for first in range(1, count)]
        shares = [[work(job) for job in jobs[::count]]]
        for first, answer in enumerate(asked, 1):
            answered = answer()
            shares.append([work(job) for job in jobs[first::count]] if answered is None else answered)
    return [shares[number % count][number // count] for number in range(len(jobs))]


@contextmanager
def _helper(work: Callable[[Any], Any], jobs: Sequence[Any]) -> Iterator[Callable[[], list[Any] | None]]:
    """A helper at work on `jobs`; yields what waits for its results: None when it failed or the machine had no room for it."""
    with ExitStack() as held:
        try:
            told, left = held.enter_context(tempfile.TemporaryFile()), held.enter_context(tempfile.TemporaryFile())
            pickle.dump((ENGINE_VERSION, work, jobs), told)
            told.seek(0)
            environment = {**os.environ, "PYTHONPATH": os.pathsep.join(path for path in sys.path if path)}
            process = subprocess.Popen([sys.executable, "-m", __name__], stdin=told, stdout=left, env=environment)
        except OSError:
            yield lambda: None
            return

        def results() -> list[Any] | None:
            if process.wait() != 0:
                return None
            left.seek(0)
            found: list[Any] = pickle.load(left)
            return found

        try:
            yield results
        finally:
            process.kill()
            process.wait()


def main() -> None:
    """What a helper does; nothing when the program was upgraded under the step that asks."""
    left = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)  # what is printed does not belong among the results
    version, work, jobs = pickle.load(sys.stdin.buffer)
    if version != ENGINE_VERSION:
        sys.exit(f"engine {ENGINE_VERSION} asked by engine {version}")
    with left:
        pickle.dump([work(job) for job in jobs], left)


if __name__ == "__main__":
    main()
