"""Profiles: seven that are sound, and one broken one per rule; errors come all at once, each with its place and the nearest name."""

from __future__ import annotations

import pickle
import re
import shutil
from pathlib import Path

import pytest
import yaml
from intake_desk import CENTRES, RULES, Desk
from intake_samples import NIGHT, arrival, deliver, rows

from subsidy.cli.main import main
from subsidy.errors import TerminalError
from subsidy.facts.schema import BY_CODE
from subsidy.intake import ProfileError, load_profiles
from subsidy.intake.describe import DIGEST, describe
from subsidy.intake.write import file_digest


@pytest.mark.parametrize("centre", CENTRES)
def test_the_seven_are_sound_and_leave_no_amount_unprotected(centre: str) -> None:
    profile = load_profiles(RULES, centre).profiles["main"]
    assert set(profile.tables) == set(BY_CODE)
    for spec in profile.tables.values():
        assert spec.unprotected == ()
        assert all(set(c.protection) & {"total", "digest", "archive"} for c in spec.amounts)
    assert profile.basis == "assumed" and profile.document


@pytest.mark.parametrize("centre", CENTRES)
def test_a_profile_is_described_for_the_counterparty(centre: str) -> None:
    profile = load_profiles(RULES, centre).profiles["main"]
    text = describe(profile)
    for spec in profile.tables.values():
        assert f"## {spec.table.code} {spec.table.label}" in text
        for column in spec.columns:
            assert column.name in text
    for word in ("编码" if profile.form != "xlsx" else "工作簿", profile.centre_code, "回执", "完整的标志", "保护", "假设"):
        assert word in text
    for codes in profile.codes.values():
        assert all(code in text for code in codes)


SAMPLED = [c for c in CENTRES if (p := load_profiles(RULES, c).profiles["main"]).header or p.flag or p.digest]


@pytest.mark.parametrize("centre", [c for c in SAMPLED if load_profiles(RULES, c).profiles["main"].carries == "one"])
def test_what_is_written_as_the_sample_says_is_accepted(centre: str, tmp_path: Path) -> None:
    """Header, trailer and companions are copied from the description; only the digest is put in."""
    desk = Desk.open(centre, tmp_path / "desk")
    profile = desk.profiles.profiles["main"]
    text = describe(profile)
    (path,) = deliver(profile, tmp_path / "inbox", {"TX01": rows("TX01")})
    assert f"`{path.name}`：TX01" in text
    blocks = re.findall(r"^(\S+?)(?: `(\S+)`)?：\n\n```\n(.*?\n)```$", text, re.MULTILINE | re.DOTALL)
    assert blocks
    data = path.read_bytes()
    for title, _, shown in blocks:
        if title == "头行":
            data = shown.encode(profile.encoding) + data.partition(b"\n")[2]
        elif title == "尾行":
            data = b"".join(data.splitlines(keepends=True)[:-1]) + shown.encode(profile.encoding)
    path.write_bytes(data)
    for companion in [p for p in path.parent.iterdir() if p != path]:
        companion.unlink()
    for title, name, shown in blocks:
        if name:
            algorithm = "sm3" if "SM3" in text else "sha256"
            encoding = profile.flag.encoding if title == "标志文件" and profile.flag is not None else "utf-8"
            (path.parent / name).write_text(shown.replace(DIGEST, file_digest(path, algorithm)), encoding=encoding, newline="")
    intake = desk.take(arrival(path, desk.profiles), NIGHT)
    assert intake.state == "booked", intake.message


def test_the_sample_of_a_flag_file_names_every_line() -> None:
    text = describe(load_profiles(RULES, "zhejiang-provincial").profiles["main"])
    for line in ("rows=1", "sum.TXBJ=500000.00", f"sm3={DIGEST}", "含开头的 BOM"):
        assert line in text


def broken(tmp_path: Path, centre: str, old: str, new: str) -> ProfileError:
    folder = tmp_path / centre
    folder.mkdir()
    text = (RULES / centre / "files.yaml").read_text(encoding="utf-8")
    assert old in text
    (folder / "files.yaml").write_text(text.replace(old, new, 1), encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profiles(tmp_path, centre)
    return caught.value


TX05 = "[DKZH, YWLSH, FAMC, TXJE]"
AT = "inbound.main.tables."
BROKEN = [
    ("hangzhou", "    form: delimited\n", "    form: delimted\n", "PROFILE-UNKNOWN", "inbound.main.form", "delimited"),
    ("hangzhou", "    encoding: gb18030\n", "    encoding: gbk\n", "PROFILE-UNKNOWN", "inbound.main.encoding", "gb18030"),
    ("hangzhou", "    encoding: gb18030\n", "    encodng: gb18030\n", "PROFILE-UNKNOWN", "inbound.main.encodng", "encoding"),
    ("hangzhou", '    separator: "|"\n', "", "PROFILE-MISSING", "inbound.main", "separator"),
    ("hangzhou", '"330100000000000"', '"3301"', "PROFILE-CENTRE", "inbound.main.centre_code", "15"),
    ("hangzhou", '"330100000000000"', "330100000000000", "PROFILE-TYPE", "inbound.main.centre_code", "引号"),
    ("hangzhou", "HZ_{table}_{date}_{sequence}{*}.txt", "HZ_{table}_{sequence}.txt", "PROFILE-PATTERN", "inbound.main.name", "{date}"),
    ("hangzhou", "HZ_{table}", "../HZ_{table}", "PROFILE-PATTERN", "inbound.main.name", "路径"),
    ("hangzhou", "HZ_{table}", "HZ_{tabel}", "PROFILE-UNKNOWN", "inbound.main.name", "table"),
    ("hangzhou", "    source: {basis: assumed,", "    source: {basis: guess,", "PROFILE-UNKNOWN", "inbound.main.source.basis", "assumed"),
    ("hangzhou", "    source: {basis: assumed, document", "    source: {document", "PROFILE-SOURCE", "inbound.main.source", "依据"),
    ("hangzhou", '[HEAD, "{centre}"', '[HEAD, "{center}"', "PROFILE-UNKNOWN", "inbound.main.header.1", "{centre}"),
    ("hangzhou", '[HEAD, "{centre}", ', "[HEAD, ", "PROFILE-IDENTITY", "inbound.main", "centre"),
    ("hangzhou", '[HEAD, "{centre}"', '["{centre}"', "PROFILE-MARKER", "inbound.main.header", "标记"),
    ("hangzhou", "complete: trailer", "complete: flag", "PROFILE-COMPLETE", "inbound.main.complete", "flag"),
    ("hangzhou", "protection: [total]", "protection: [digest]", "PROFILE-PROTECT", "inbound.main.protection.0", "digest"),
    ("hangzhou", "protection: [total]", "protection: []", "PROFILE-TYPE", "inbound.main.protection", "列表"),
    ("hangzhou", "amount: yuan", "amount: yaun", "PROFILE-UNKNOWN", "inbound.main.units.amount", "yuan"),
    ("hangzhou", "rate: fraction, ", "", "PROFILE-MISSING", "inbound.main.units", "rate"),
    ("hangzhou", '"0": normal, ', "", "PROFILE-CODE", "inbound.main.codes.DKZT", "normal"),
    ("hangzhou", '"0": normal', '"0": normel', "PROFILE-UNKNOWN", "inbound.main.codes.DKZT.0", "normal"),
    ("hangzhou", "      DKZT:", "      DKZZ:", "PROFILE-UNKNOWN", "inbound.main.codes.DKZZ", "DKZT"),
    ("hangzhou", "interest_tolerance_ppm: 50000", "interest_tolerance_ppm: -1", "PROFILE-RANGE",
     "inbound.main.checks.interest_tolerance_ppm", "整数"),
    ("hangzhou", "GB305: 19", "GB305: 31", "PROFILE-RANGE", "inbound.main.expected.tables.GB305", "28"),
    ("hangzhou", "from: 2026-09-01", "from: soon", "PROFILE-TYPE", "inbound.main.expected.from", "日期"),
    ("hangzhou", "      TX05:\n", "      TX06:\n", "PROFILE-UNKNOWN", AT + "TX06", "TX0"),
    ("hangzhou", TX05, TX05.replace(", TXJE", ""), "PROFILE-COLUMN", AT + "TX05.columns", "TXJE"),
    ("hangzhou", TX05, TX05.replace("TXJE", "TXJE, TXJE"), "PROFILE-COLUMN", AT + "TX05.columns", "两次"),
    ("hangzhou", TX05, TX05.replace("TXJE", "TXJJ"), "PROFILE-UNKNOWN", AT + "TX05.columns.3", "TXJE"),
    ("hangzhou", "      GB306:\n        mode: full", "      GB306:\n        mode: increment", "PROFILE-MODE", AT + "GB306.mode",
     "主键"),
    ("hangzhou", "      TX05:\n        mode: increment\n", "      TX05:\n        mode: increment\n        replaces: table\n",
     "PROFILE-MODE", AT + "TX05.replaces", "full"),
    ("wenzhou", "{TXJE: 16}", "TXJE", "PROFILE-COLUMN", AT + "TX05.columns.3", "宽度"),
    ("wenzhou", '{"{centre}": 15}', '"{centre}"', "PROFILE-TYPE", "inbound.main.header.1", "宽度"),
    ("zhejiang-provincial", '    separator: ","\n', '    separator: ",,"\n', "PROFILE-RANGE", "inbound.main.separator", "一个字符"),
    ("zhejiang-provincial", '    separator: ","\n', '    separator: "，"\n', "PROFILE-RANGE", "inbound.main.separator", "一个字符"),
    ("hangzhou", '    separator: "|"\n', '    separator: "|\\x1f"\n', "PROFILE-RANGE", "inbound.main.separator", "U+001F"),
    ("zhejiang-provincial", "suffix: .ok", "suffix: ok", "PROFILE-RANGE", "inbound.main.flag.suffix", "后缀"),
    ("huzhou", "    xml:", "    xmll:", "PROFILE-MISSING", "inbound.main", "xml"),
    ("quzhou", "    manifest:", "    manifesto:", "PROFILE-MISSING", "inbound.main", "manifest"),
    ("quzhou", '    entry: "{table}.csv"\n', "", "PROFILE-MISSING", "inbound.main", "entry"),
    ("quzhou", 'entry: "{table}.csv"', 'entry: "{tabel}.csv"', "PROFILE-UNKNOWN", "inbound.main.entry", "最接近的名称是 {table}"),
    ("quzhou", '    entry: "{table}.csv"\n', '    entry: "data.csv"\n', "PROFILE-PATTERN", "inbound.main.entry", "补上 {table}"),
    ("quzhou", '"{table}.mode"', '"{tabel}.mode"', "PROFILE-UNKNOWN", "inbound.main.manifest.mode", "{table}"),
    ("zhejiang-provincial", 'sums: "sum.{column}"', 'sums: "sum"', "PROFILE-PATTERN", "inbound.main.flag.sums", "{column}"),
    ("zhoushan", "carries: many", "carries: one", "PROFILE-FORM", "inbound.main.form", "carries"),
    ("hangzhou", "    carries: one", "    carries: one\n    carries: one", "PROFILE-TWICE", "inbound.main.carries", "两次"),
    ("hangzhou", "    form: delimited\n", "    form: delimited\n    limits: {archive_depth: 2}\n", "PROFILE-RANGE",
     "inbound.main.limits.archive_depth", "1"),
    ("hangzhou", "inbound:\n", "inbound: [\n", "PROFILE-YAML", "", "YAML"),
    ("hangzhou", "inbound:\n", "inbond:\n", "PROFILE-MISSING", "", "inbound"),
    ("hangzhou", "acknowledgement: {form: lines", "acknowledgement: {form: pdf", "PROFILE-UNKNOWN", "inbound.main.acknowledgement.form",
     "lines"),
]


@pytest.mark.parametrize(("centre", "old", "new", "code", "place", "word"), BROKEN, ids=[f"{b[3]}-{i}" for i, b in enumerate(BROKEN)])
def test_a_broken_profile_says_what_where_and_what_to_do(
    centre: str, old: str, new: str, code: str, place: str, word: str, tmp_path: Path
) -> None:
    error = broken(tmp_path, centre, old, new)
    found = [f for f in error.findings if f.code == code and f.field == place]
    assert found, [(f.code, f.field, f.what) for f in error.findings]
    said = " ".join((found[0].what, found[0].todo, found[0].rule, found[0].value))
    assert word in said and found[0].file_name == f"{centre}/files.yaml"
    text = (tmp_path / centre / "files.yaml").read_text(encoding="utf-8").splitlines()
    if place and code not in ("PROFILE-MISSING", "PROFILE-IDENTITY"):
        leaf = next(part for part in reversed(place.split(".")) if not part.isdigit())
        assert any(leaf in line for line in text[max(0, found[0].line_no - 2) : found[0].line_no + 1]), (found[0].line_no, leaf)


def test_an_unknown_name_is_told_with_its_key_and_all_that_is_allowed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.copytree(RULES, tmp_path / "rules")
    path = tmp_path / "rules" / "hangzhou" / "files.yaml"
    path.write_text(path.read_text(encoding="utf-8").replace("encoding: gb18030\n", "encoding: gb1830\n", 1), encoding="utf-8")
    assert main(["policy", "check", "hangzhou", "--rules", str(tmp_path / "rules")]) == 1
    told = "inbound.main.encoding：不认识的名称。现为“gb1830”。允许：gb18030、utf-8、utf-8-bom。最接近的名称是 gb18030。"
    assert told in capsys.readouterr().out


def test_all_errors_come_at_once(tmp_path: Path) -> None:
    folder = tmp_path / "hangzhou"
    folder.mkdir()
    text = (RULES / "hangzhou" / "files.yaml").read_text(encoding="utf-8")
    for _, old, new, *_ in (BROKEN[0], BROKEN[17], BROKEN[21], BROKEN[26]):
        text = text.replace(old, new, 1)
    (folder / "files.yaml").write_text(text, encoding="utf-8")
    with pytest.raises(ProfileError) as caught:
        load_profiles(tmp_path, "hangzhou")
    fields = {f.field for f in caught.value.findings}
    assert {"inbound.main.form", "inbound.main.units.amount", "inbound.main.codes.DKZZ", AT + "TX05.columns"} <= fields
    assert caught.value.findings == tuple(sorted(caught.value.findings, key=lambda f: (f.line_no, f.field)))
    again = pickle.loads(pickle.dumps(caught.value))
    assert isinstance(again, TerminalError) and again.message == caught.value.message


def test_an_amount_without_protection_is_named(tmp_path: Path) -> None:
    shutil.copytree(RULES / "hangzhou", tmp_path / "hangzhou")
    path = tmp_path / "hangzhou" / "files.yaml"
    text = path.read_text(encoding="utf-8")
    columns = f"        columns: {TX05}"
    path.write_text(text.replace(columns, f"        protection: {{TXJE: [none]}}\n{columns}"), encoding="utf-8")
    profile = load_profiles(tmp_path, "hangzhou").profiles["main"]
    assert profile.tables["TX05"].unprotected == ("TXJE",)
    assert "未受保护的金额列：TXJE" in describe(profile)


def test_a_column_may_be_renamed_or_read_over(tmp_path: Path) -> None:
    folder = tmp_path / "hangzhou"
    folder.mkdir()
    data = yaml.safe_load((RULES / "hangzhou" / "files.yaml").read_text(encoding="utf-8"))
    data["inbound"]["main"]["tables"]["TX05"]["columns"] = [{"GRDKZH": "DKZH"}, "YWLSH", {"BZ": "ignore"}, "FAMC", "TXJE"]
    (folder / "files.yaml").write_text(yaml.safe_dump(data, allow_unicode=True), encoding="utf-8")
    columns = load_profiles(tmp_path, "hangzhou").profiles["main"].tables["TX05"].columns
    assert [(c.name, c.column.code if c.column else None) for c in columns][:3] == [("GRDKZH", "DKZH"), ("YWLSH", "YWLSH"), ("BZ", None)]


def test_a_centre_without_a_file(tmp_path: Path) -> None:
    with pytest.raises(ProfileError, match="PROFILE-INVALID"):
        load_profiles(tmp_path, "nowhere")
