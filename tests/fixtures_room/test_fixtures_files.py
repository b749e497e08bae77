"""Files of the seven centres: read by simple readers they hold the rows that went in, totals and digests agree, reruns are equal."""

from __future__ import annotations

import zipfile
from datetime import date
from decimal import ROUND_HALF_UP, Decimal
from pathlib import Path

import fixtures_readers as readers
import pytest

from fixtures import inbox, story
from fixtures.centres import CENTRES
from fixtures.layouts import LAYOUTS
from fixtures.writers import Raw

SAMPLE = Path(__file__).resolve().parents[2] / "fixtures" / "sample"


def data_files(folder: Path) -> list[Path]:
    return sorted(p for p in folder.iterdir() if p.suffix[1:] in ("txt", "csv", "xlsx", "dat", "xml", "zip"))


def expected_cell(centre: str, code: str, kind: str, value: object) -> str:
    """What a cell must say, from the documented units; None is empty."""
    layout = LAYOUTS[centre]
    if value is None:
        return ""
    if isinstance(value, Raw):
        return str(value)
    if isinstance(value, date):
        return value.isoformat() if layout.dashes else value.isoformat().replace("-", "")
    if kind == "ppm":
        assert isinstance(value, int)
        percent = Decimal(value) / 10_000
        if layout.rate == "percent":
            return f"{percent:.4f}"
        if layout.rate == "fraction":
            return f"{percent / 100:.7f}"
        return str((percent * 10 / 12).quantize(Decimal("0.000001"), ROUND_HALF_UP))
    if code in layout.codes:
        return layout.codes[code][str(value)]
    return str(value)


@pytest.mark.parametrize("centre", sorted(CENTRES))
@pytest.mark.parametrize("night", [1, 2, 3, 4])
def test_story_files_hold_what_was_sent(centre: str, night: int, tmp_path: Path) -> None:
    names = story.deliver(tmp_path, centre, night)
    folder = tmp_path / "inbox" / centre
    assert sorted(names) == [p.name for p in data_files(folder)]
    sent: dict[tuple[str, str, str], list[list[str]]] = {}
    for each in story.files(centre, night):
        for table, row in each.rows:
            key = (f"{each.business_date:%Y%m%d}", f"{each.sequence:03d}", table)
            cells = []
            for c in LAYOUTS[centre].columns(table):
                if c.kind == "fen" and row[c.code] is not None:
                    cells.append(str(row[c.code]))
                elif c.kind == "int" and row[c.code] is not None:
                    cells.append(str(int(row[c.code])))
                else:
                    cells.append(expected_cell(centre, c.code, c.kind, row[c.code]))
            sent.setdefault(key, []).append(cells)
    found: dict[tuple[str, str, str], list[list[str]]] = {}
    for path in data_files(folder):
        file = readers.read(centre, path)
        assert file.identity[0] == CENTRES[centre].code
        assert file.totals == readers.sums(centre, file)
        assert file.counts == {t: len(rows) for t, rows in file.rows.items()}
        for table, rows in file.rows.items():
            assert file.modes[table] == LAYOUTS[centre].mode(table)
            kinds = [c.kind for c in LAYOUTS[centre].columns(table)]
            found[file.identity[1], file.identity[2], table] = [
                [str(readers.fen(v)) if k == "fen" and v.strip() else str(int(v)) if k == "int" and v.strip() else v.strip(" ")
                 for k, v in zip(kinds, row, strict=True)]
                for row in rows
            ]  # fmt: skip
    assert found == sent


@pytest.mark.parametrize("centre", sorted(CENTRES))
def test_story_is_delivered_byte_for_byte_alike(centre: str, tmp_path: Path) -> None:
    for home in ("a", "b"):
        for night in (1, 2, 3, 4):
            story.deliver(tmp_path / home, centre, night)
    one, two = tmp_path / "a" / "inbox" / centre, tmp_path / "b" / "inbox" / centre
    names = sorted(p.name for p in one.iterdir())
    assert names == sorted(p.name for p in two.iterdir()) and not any(n.startswith(".") for n in names)
    assert all((one / n).read_bytes() == (two / n).read_bytes() for n in names)


@pytest.mark.parametrize("centre", sorted(CENTRES))
def test_night_three_repeats_a_file_and_night_four_corrects_one(centre: str, tmp_path: Path) -> None:
    for night in (2, 3, 4):
        story.deliver(tmp_path, centre, night)
    folder = tmp_path / "inbox" / centre
    repeated = next(p for p in data_files(folder) if p.stem.endswith("_重发"))
    assert repeated.read_bytes() == repeated.with_name(repeated.name.replace("_重发", "")).read_bytes()
    corrected = next(p for p in data_files(folder) if p.stem.endswith("_更正"))
    first = corrected.with_name(corrected.name.replace("_更正", ""))
    new, old = readers.read(centre, corrected), readers.read(centre, first)
    assert new.identity == old.identity and new.counts == old.counts
    at = readers.column(centre, "GB305", "LXJE")
    pairs = zip(old.rows["GB305"], new.rows["GB305"], strict=True)
    # One line corrected downwards, one upwards, and one quarantined row put right.
    assert sum(a[at] != b[at] for a, b in pairs) == 3


@pytest.mark.parametrize("centre", sorted(CENTRES))
def test_inbox_is_the_same_twice_and_cut_into_files_at_will(centre: str, tmp_path: Path) -> None:
    counts = [
        inbox.write(tmp_path / name, centre, 40, 2, 3, names="hostile", answers=tmp_path / f"{name}-answers", rows_per_file=limit)
        for name, limit in (("a", 500), ("b", 500), ("c", 10))
    ]
    names = sorted(p.name for p in (tmp_path / "a").iterdir())
    assert all((tmp_path / "a" / n).read_bytes() == (tmp_path / "b" / n).read_bytes() for n in names)
    assert counts[0] == counts[1] and counts[2]["files"] > counts[0]["files"]
    assert {k: v for k, v in counts[2].items() if k != "files"} == {k: v for k, v in counts[0].items() if k != "files"}
    answers = [(tmp_path / f"{name}-answers" / f"{centre}-lines.csv").read_bytes() for name in "abc"]
    assert answers[0] == answers[1] == answers[2]
    rows = [[], []]  # type: list[list[list[str]]]
    for i, name in enumerate("ac"):
        for path in data_files(tmp_path / name):
            file = readers.read(centre, path)
            assert file.totals == readers.sums(centre, file)
            rows[i] += file.rows.get("GB305", [])
    assert sorted(rows[0]) == sorted(rows[1])


def _content(path: Path) -> object:
    """Bytes of a file; of an archive its entries, since another zlib may pack them differently, and then a digest tells nothing."""
    if path.suffix in (".zip", ".xlsx"):
        with zipfile.ZipFile(path) as archive:
            return {i.filename: archive.read(i) for i in archive.infolist()}
    return "" if path.suffix == ".sha256" else path.read_bytes()


@pytest.mark.parametrize("centre", sorted(CENTRES))
def test_committed_sample_is_what_the_generator_writes(centre: str, tmp_path: Path) -> None:
    inbox.write(tmp_path / centre, centre, **inbox.SAMPLE, answers=tmp_path / "answers")
    for made, kept in ((tmp_path / centre, SAMPLE / centre), (tmp_path / "answers", SAMPLE / "answers")):
        names = sorted(p.name for p in made.iterdir())
        assert names == sorted(p.name for p in kept.iterdir() if kept.name != "answers" or p.name.startswith(f"{centre}-"))
        assert all(_content(made / n) == _content(kept / n) for n in names)
