"""``subsidy``: the same steps from a shell. Every module of this package with a ``register(subparsers)`` adds its commands.

Exit codes: 0 done, 1 a check found something, 2 the command line is wrong, 3 stopped with a message (a person must act), 4 stopped for a
transient cause (try again), 5 waiting for an approval, which the shell cannot give.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import pkgutil
import sys
from collections.abc import Sequence

import subsidy.cli
from subsidy import __version__
from subsidy.cli.parsing import Parser
from subsidy.errors import SubsidyError, TransientError
from subsidy.night import trouble

DONE, FOUND, STOPPED, TRY_AGAIN, WAITING = 0, 1, 3, 4, 5


def parser() -> argparse.ArgumentParser:
    """The whole command line."""
    top = Parser(prog="subsidy", description="公积金公转商贴息贷款批处理")
    top.add_argument("--version", action="version", version=f"subsidy {__version__}", help="显示版本后退出")
    subparsers = top.add_subparsers(title="命令", metavar="命令", required=True)
    for module in sorted(m.name for m in pkgutil.iter_modules(subsidy.cli.__path__)):
        register = getattr(importlib.import_module(f"subsidy.cli.{module}"), "register", None)
        if register is not None:
            register(subparsers)
    return top


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command; prints messages to people on standard error. Returns the exit code."""
    args = parser().parse_args(argv)
    try:
        code = int(args.run(args))
        sys.stdout.flush()
        return code
    except SubsidyError as error:
        return _stopped(args, error)
    except BrokenPipeError:
        # Who reads has seen enough (``| head``); what is still buffered must not be written when the interpreter ends.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return DONE
    except OSError as error:
        return _stopped(args, trouble.stopped(error))


def _stopped(args: argparse.Namespace, error: SubsidyError) -> int:
    if getattr(args, "json", False):
        m = error.message
        print(json.dumps({"code": m.code, "what": m.what, "safe": m.safe, "todo": m.todo}, ensure_ascii=False))
    print(error, file=sys.stderr)
    return TRY_AGAIN if isinstance(error, TransientError) else STOPPED


if __name__ == "__main__":
    sys.exit(main())
