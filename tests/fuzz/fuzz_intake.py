"""Coverage-guided fuzzing of every parser of `subsidy.intake`, run by hand::

    python tests/fuzz/fuzz_intake.py PARSER [--seconds 60] [--seed 1] [--minimise]

PARSER is one of: delimited, separated, csv, fixed, xml, jsonl, zip, gz, xlsx, flag, profile; ``all`` takes one after the other.

An input that reaches a line of the room which none before it reached is kept in ``tests/intake/corpus/PARSER``, so the corpus grows with
the code it covers. A failure is an exception other than the room's own refusal, rows that do not tie, or a booked amount whose total the
file did not declare; the input is written to ``crash-<digest>`` in the working directory. `test_intake_corpus.py` reads the whole corpus
in every test run.
"""

from __future__ import annotations

import argparse
import dataclasses
import gzip
import hashlib
import io
import random
import sys
import tempfile
import threading
import time
import warnings
import zipfile
import zlib
from collections.abc import Callable
from pathlib import Path
from types import FrameType
from typing import Any

HERE = Path(__file__).resolve()
ROOM = str(HERE.parents[2] / "subsidy" / "intake")
CORPUS = HERE.parents[1] / "intake" / "corpus"
sys.path[:0] = [str(HERE.parents[2]), str(HERE.parents[1] / "intake")]

from intake_desk import RULES  # noqa: E402
from intake_samples import NIGHT, arrival, deliver, rows  # noqa: E402
from test_intake_mutation import Known, gz, jsonl  # noqa: E402

from subsidy.intake import ProfileError, Profiles, load_profiles, read  # noqa: E402

#: Parser -> centre, and how its profile is turned.
PARSERS: dict[str, tuple[str, Callable[[Any], Any] | None]] = {
    "delimited": ("hangzhou", None), "separated": ("shaoxing", None), "csv": ("zhejiang-provincial", None), "fixed": ("wenzhou", None),
    "xml": ("huzhou", None), "jsonl": ("zhejiang-provincial", jsonl), "zip": ("quzhou", None), "gz": ("hangzhou", gz),
    "xlsx": ("zhoushan", None), "flag": ("shaoxing", None), "profile": ("hangzhou", None),
}


class Target:
    """One parser: takes bytes, says nothing, raises when something is wrong."""

    def __init__(self, parser: str, folder: Path) -> None:
        centre, turn = PARSERS[parser]
        base = load_profiles(RULES, centre).profiles["main"]
        profile = turn(base) if turn is not None else base
        if profile.form != "xlsx":
            # Digests would refuse every mutation before the parser sees it.
            flag = dataclasses.replace(profile.flag, digest_key="") if profile.flag is not None else None
            profile = dataclasses.replace(profile, flag=flag, digest=None)
        self.parser = parser
        self.folder = folder
        self.profiles = Profiles(centre, {"main": profile})
        [self.path] = deliver(profile, folder, {"GB305": rows("GB305", {}, {"serial_no": "LS002"})})
        self.arrival = arrival(self.path, self.profiles)
        self.companion = next(iter(self.arrival.companions.values()), None)

    def seeds(self) -> list[bytes]:
        """Where to begin: a sound file, and what earlier runs kept."""
        kept = sorted((CORPUS / self.parser).glob("*")) if (CORPUS / self.parser).is_dir() else []
        return [self.sound(), *(p.read_bytes() for p in kept)]

    def sound(self) -> bytes:
        """A file without a fault."""
        if self.parser == "profile":
            return (RULES / "hangzhou" / "files.yaml").read_bytes()
        assert self.parser != "flag" or self.companion is not None
        return (self.companion if self.parser == "flag" and self.companion is not None else self.path).read_bytes()

    def feed(self, data: bytes) -> None:
        """Read `data`. AssertionError when what comes out does not tie."""
        if self.parser == "profile":
            folder = self.folder / "rules" / "hangzhou"
            folder.mkdir(parents=True, exist_ok=True)
            (folder / "files.yaml").write_bytes(data)
            try:
                load_profiles(self.folder / "rules", "hangzhou")
            except ProfileError as error:
                assert error.findings
            return
        target = self.companion if self.parser == "flag" else self.path
        assert target is not None
        target.write_bytes(data)
        if self.parser == "xlsx":
            digest = hashlib.sha256(data).hexdigest()
            self.path.with_name(self.path.name + ".sha256").write_text(digest + "\n")
            self.arrival = arrival(self.path, self.profiles)
        looked_at = dataclasses.replace(self.arrival, size=self.path.stat().st_size)
        with read(looked_at, self.profiles, Known(), file_no=1, known_on=NIGHT, workers=1) as intake:
            counts = intake.counts
            assert counts.rows_in == counts.booked + counts.quarantined + counts.duplicates
            assert intake.state == "booked" or (intake.state == "refused" and intake.message and counts.rows_in == 0)
            for result in intake.tables.values():
                booked = sum(part.num_rows for part in result.batches())
                assert booked == result.counts.booked
            assert len(intake.quarantined) == counts.quarantined


def mutate(data: bytes, pool: list[bytes], chance: random.Random) -> bytes:
    """A few changes of `data`; pieces of other inputs and telling bytes are mixed in."""
    out = bytearray(data)
    telling = (b"\n", b"\r\n", b"\0", b"|", b"@|$", b'"', b",", b"-", b"9" * 19, b"<", b">", b"&", b"\xff", b"\xef\xbb\xbf", b"=", b"0.00")
    for _ in range(chance.choice((1, 1, 2, 3, 6))):
        at = chance.randrange(len(out) + 1)
        kind = chance.randrange(7)
        if kind == 0 and out:
            out[at % len(out)] ^= 1 << chance.randrange(8)
        elif kind == 1:
            out[at:at] = chance.choice(telling)
        elif kind == 2:
            del out[at : at + chance.choice((1, 2, 8, 64))]
        elif kind == 3 and out:
            out[at % len(out)] = chance.randrange(256)
        elif kind == 4:
            other = chance.choice(pool)
            start = chance.randrange(len(other) + 1)
            out[at:at] = other[start : start + chance.choice((1, 4, 16, 128))]
        elif kind == 5:
            end = out.find(b"\n", at)
            start = out.rfind(b"\n", 0, at) + 1
            out[at:at] = out[start : end if end > 0 else len(out)]
        else:
            piece = out[at : at + chance.choice((1, 4, 16))]
            out[at:at] = piece * chance.choice((1, 2, 50))
    return bytes(out[: 1 << 20])


def vary(parser: str, data: bytes, pool: list[bytes], chance: random.Random) -> bytes:
    """Change `data`; of packed forms mostly what is inside, so that the checksum does not stop every change at the door."""
    if parser not in ("zip", "gz", "xlsx") or chance.random() < 0.2:
        return mutate(data, pool, chance)
    try:
        if parser == "gz":
            return gzip.compress(mutate(gzip.decompress(data), [p[:1] for p in pool], chance), 1, mtime=0)
        with zipfile.ZipFile(io.BytesIO(data)) as archive:
            entries = [(i.filename, archive.read(i)) for i in archive.infolist()]
    except (OSError, EOFError, zlib.error, zipfile.BadZipFile, RuntimeError, NotImplementedError, ValueError):
        return mutate(data, pool, chance)
    if not entries:
        return mutate(data, pool, chance)
    at = chance.randrange(len(entries))
    name, inside = entries[at]
    what = chance.randrange(8)
    if what == 0:
        del entries[at]
    elif what == 1:
        entries[at] = (mutate(name.encode(), [b"../", b"TX05.csv"], chance).decode("latin-1") or "x", inside)
    else:
        entries[at] = (name, mutate(inside, [d for _, d in entries], chance))
    out = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(out, "w", zipfile.ZIP_DEFLATED) as archive:
        warnings.simplefilter("ignore")
        for name, inside in entries:
            archive.writestr(zipfile.ZipInfo(name.replace("\0", "0") or "x"), inside)
    return out.getvalue()


class Coverage:
    """Lines of the room that have been reached."""

    def __init__(self) -> None:
        self.lines: set[tuple[str, int, int]] = set()
        self._new = False
        self._last = 0

    def _trace(self, frame: FrameType, event: str, argument: object) -> Any:
        if not frame.f_code.co_filename.startswith(ROOM):
            return None
        if event == "line":
            # A pair of lines is a branch that was taken.
            place = (frame.f_code.co_filename, self._last, frame.f_lineno)
            self._last = frame.f_lineno
            if place not in self.lines:
                self.lines.add(place)
                self._new = True
        return self._trace

    def reached_more(self, work: Callable[[], None]) -> bool:
        """Run `work`; whether it reached anything new."""
        self._new = False
        threading.settrace(self._trace)
        sys.settrace(self._trace)
        try:
            work()
        finally:
            sys.settrace(None)
            threading.settrace(None)  # type: ignore[arg-type]
        return self._new


def fuzz(parser: str, seconds: float, seed: int) -> int:
    """Fuzz one parser; 1 when an input failed."""
    chance = random.Random(seed)
    coverage = Coverage()
    with tempfile.TemporaryDirectory() as name:
        target = Target(parser, Path(name))
        pool = target.seeds()
        for data in pool:
            coverage.reached_more(lambda data=data: target.feed(data))  # type: ignore[misc]
        began, runs, kept = time.monotonic(), 0, 0
        while time.monotonic() - began < seconds:
            data = vary(parser, chance.choice(pool), pool, chance)
            runs += 1
            try:
                more = coverage.reached_more(lambda data=data: target.feed(data))  # type: ignore[misc]
            except Exception as error:
                path = Path(f"crash-{parser}-{hashlib.sha256(data).hexdigest()[:12]}")
                path.write_bytes(data)
                print(f"{parser}: {error!r}, input in {path}")
                raise
            if more:
                pool.append(data)
                kept += 1
                folder = CORPUS / parser
                folder.mkdir(parents=True, exist_ok=True)
                (folder / hashlib.sha256(data).hexdigest()[:16]).write_bytes(data)
        print(f"{parser}: {runs} inputs, {kept} kept, {len(coverage.lines)} branches reached")
    return 0


def minimise(parser: str) -> int:
    """Drop inputs of the corpus that reach no line which smaller ones do not reach."""
    coverage = Coverage()
    with tempfile.TemporaryDirectory() as name:
        target = Target(parser, Path(name))
        target.feed(target.sound())
        seen: set[tuple[str, int]] = set()
        kept = dropped = 0
        for path in sorted((CORPUS / parser).glob("*"), key=lambda p: (p.stat().st_size, p.name)):
            data = path.read_bytes()
            coverage.lines = set()
            coverage.reached_more(lambda data=data: target.feed(data))  # type: ignore[misc]
            lines = {(file, line) for file, _, line in coverage.lines}
            if lines <= seen:
                path.unlink()
                dropped += 1
            else:
                seen |= lines
                kept += 1
    print(f"{parser}: {kept} kept, {dropped} dropped")
    return 0


def main() -> int:
    """Parse the command line and fuzz."""
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0] if __doc__ else "")
    parser.add_argument("parser", choices=[*PARSERS, "all"])
    parser.add_argument("--seconds", type=float, default=60)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--minimise", action="store_true", help="thin the corpus out instead")
    args = parser.parse_args()
    if args.minimise:
        return max(minimise(name) for name in (PARSERS if args.parser == "all" else [args.parser]))
    return max(fuzz(name, args.seconds, args.seed) for name in (PARSERS if args.parser == "all" else [args.parser]))


if __name__ == "__main__":
    sys.exit(main())
