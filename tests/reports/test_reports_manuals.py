"""The manuals name every setting and every sheet, and their pictures and links are there."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from subsidy.clearing import profiles as outbound
from subsidy.intake import profile, profile_load
from subsidy.money import RATE_UNITS
from subsidy.reports.period import DETAIL_COLUMNS

ROOT = Path(__file__).resolve().parents[2]
DOCS = ROOT / "docs"
OPERATORS, FINANCE = (DOCS / name for name in ("运维手册.md", "财务手册.md"))


@pytest.mark.parametrize("path", sorted(DOCS.glob("*.md")), ids=lambda path: path.stem)
def test_pictures_and_links_of_a_document_exist(path: Path) -> None:
    text = path.read_text(encoding="utf-8")
    linked = re.findall(r"\]\(([^)#:]+)\)", text) + re.findall(r'src="([^":]+)"', text)
    assert [link for link in linked if not (path.parent / link).is_file()] == []


def test_no_picture_lies_unused() -> None:
    text = "".join(path.read_text(encoding="utf-8") for path in DOCS.glob("*.md"))
    assert [picture.name for picture in (DOCS / "images").iterdir() if picture.name not in text] == []


def test_the_operators_manual_names_every_setting() -> None:
    source = "".join(path.read_text(encoding="utf-8") for path in (ROOT / "subsidy").rglob("*.py"))
    manual = OPERATORS.read_text(encoding="utf-8")
    settings = {name for name in re.findall(r"SUBSIDY_[A-Z_]+", source) if not name.endswith("_")}
    assert len(settings) > 8 and [name for name in sorted(settings) if name not in manual] == []


def test_the_finance_manual_names_every_sheet() -> None:
    manual = FINANCE.read_text(encoding="utf-8")
    text = "封面 汇总 贴息明细 变动分析 补差与追回 暂停与恢复 隔离与异常 回盘与退汇 付款构成 凭证 勾稽表 年度口径 计算说明 "
    text += "中心与银行 资金调拨 差异 各中心进度"
    assert [name for name in text.split() if not re.search(rf"^\| .*{name}.* \|", manual, re.M)] == []
    labels = {column.label for column in DETAIL_COLUMNS}
    assert {name for name in re.findall(r"“([^”]+)”", manual) if name in ("来源文件", "行号", "结果", "原因")} <= labels


def test_a_document_has_one_name_wherever_people_read_it() -> None:
    folders = [ROOT / name for name in ("subsidy", "dags", "docs", "rules")]
    read = [path for folder in folders for path in folder.rglob("*") if path.suffix in (".py", ".md", ".yaml")]
    texts = {path: path.read_text(encoding="utf-8") for path in read}
    assert [path.name for path, text in texts.items() if "划款指令" in text or "划拨指令" in text] == []
    assert "资金调拨指令" in texts[FINANCE]


def test_every_key_and_allowed_value_of_a_centres_files_is_written_down() -> None:
    page = (DOCS / "文件格式.md").read_text(encoding="utf-8").partition("## files.yaml 的各键")[2].partition("\n## ")[0]
    kinds = (profile.FORMS, profile.CONTAINERS, profile.ENCODINGS, profile.PROTECTIONS, profile.COMPLETES, RATE_UNITS)
    names = {*profile_load._PROFILE_KEYS, *(name for kind in kinds for name in kind)}
    names |= {*profile.Checks.__dataclass_fields__, *profile.Limits.__dataclass_fields__}
    assert sorted(name for name in names if not re.search(rf"`[^`]*\b{name}\b[^`]*`", page)) == []
    for kind in (profile.Checks, profile.Limits):
        assert [name for name, field in kind.__dataclass_fields__.items() if str(field.default) not in page] == []
    page = (DOCS / "清算文件.md").read_text(encoding="utf-8").partition("## 9 outbound.yaml 的各键")[2]
    tables = (
        outbound.ROW_FIELDS, outbound.SUMMARY_FIELDS, outbound.DETAIL_FIELDS, outbound.MOVEMENT_FIELDS, outbound.TEMPLATE_NAMES,
        outbound.ENCODINGS, tuple(outbound.NEWLINES),
    )  # fmt: skip
    assert sorted({name for table in tables for name in table if f"`{name}`" not in page}) == []
