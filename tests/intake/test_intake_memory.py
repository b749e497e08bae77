"""Memory is bounded and does not grow with the file: ten times the rows, nearly the same peak."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from intake_desk import RULES
from intake_samples import arrival, deliver, rows

from subsidy.intake import load_profiles

READ = """
import sys
from pathlib import Path
from intake_desk import RULES
from intake_samples import NIGHT
import pyarrow as pa
from subsidy.intake.check import NothingKnown
from subsidy.intake import arrived, load_profiles, read
profiles = load_profiles(RULES, sys.argv[1])
[arrival] = arrived(Path(sys.argv[2]), profiles, 0, 4e9)
class Known(NothingKnown):
    def parents(self, table):
        numbers = range(1000)
        return pa.table({"key": [f"DK{n:03d}" for n in numbers], "contract_no": [f"JK{n:03d}" for n in numbers]})
with read(arrival, profiles, Known(), file_no=1, known_on=NIGHT, range_bytes=1 << 21, block_bytes=1 << 20) as intake:
    assert intake.state == "booked" and intake.counts.booked == int(sys.argv[3]), (intake.message, intake.counts)
    assert sum(part.num_rows for part in intake.tables["transaction"].batches()) == int(sys.argv[3])
print(Path("/proc/self/status").read_text().split("VmHWM:")[1].split()[0])
"""


def peak_kb(centre: str, folder: Path, count: int) -> int:
    """Peak memory of a process that reads a file of `count` rows."""
    profiles = load_profiles(RULES, centre)
    profile = profiles.profiles["main"]
    [path] = deliver(profile, folder, {"GB305": rows("GB305", {"serial_no": "LS0000000000"})})
    data = path.read_bytes()
    at = data.index(b"LS0000000000")
    start, end = data.rindex(b"\n", 0, at) + 1, data.index(b"\n", at) + 1
    head, line, tail = data[:start], data[start:end], data[end:]
    sums = [b"2245.22", b"786.89", b"1458.33", b"0.00", b"500000.00", b"499213.11"]
    fen = [int(s.replace(b".", b"")) * count for s in sums]
    tail = b"TAIL|%d|" % count + b"|".join(b"%d.%02d" % divmod(f, 100) for f in fen) + b"|\n"
    head = head.replace(b"|1|\n", b"|%d|\n" % count)
    with path.open("wb") as out:
        out.write(head)
        for first in range(0, count, 10_000):
            numbers = range(first, min(first + 10_000, count))
            out.write(b"".join(line.replace(b"LS0000000000", b"LS%010d" % n).replace(b"DK001", b"DK%03d" % (n % 1000)) for n in numbers))
        out.write(tail)
    assert arrival(path, profiles).name
    done = subprocess.run(
        [sys.executable, "-c", READ, centre, str(folder), str(count)], capture_output=True, text=True, check=False,
        cwd=Path(__file__).parent,
    )
    assert done.returncode == 0, done.stderr[-2_000:]
    return int(done.stdout)


@pytest.mark.slow
def test_ten_times_the_rows_in_the_same_memory(tmp_path: Path) -> None:
    small, large = peak_kb("hangzhou", tmp_path / "1", 60_000), peak_kb("hangzhou", tmp_path / "10", 600_000)
    assert large < 500_000, large
    assert large < small * 5 // 4, (small, large)
