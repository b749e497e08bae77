"""A profile in Chinese, for the counterparty that writes the files."""

from __future__ import annotations

from subsidy.facts.schema import Column
from subsidy.intake.codelists import CODE_LISTS
from subsidy.intake.profile import ColumnSpec, Part, Profile, TableSpec
from subsidy.intake.write import sample

_FORMS = {
    "delimited": "分隔文本", "csv": "CSV（首行列名）", "fixed": "定长文本（按字节）", "xlsx": ".xlsx 工作簿，每表一个工作表", "xml": "XML",
    "jsonl": "JSON 行（每行一个对象）",
}
_ENCODINGS = {"gb18030": "GB18030", "utf-8": "UTF-8，不带 BOM", "utf-8-bom": "UTF-8，带 BOM"}
_UNITS = {
    "yuan": "元，两位小数", "fen": "分，整数", "fraction": "年利率小数，0.0350000 为 3.5%", "percent": "年利率百分数，3.5000 为 3.5%",
    "permille_month": "月利率千分数，至少四位小数，2.9167 约为年利率 3.5%",
}
_COMPLETE = {
    "trailer": "尾行", "flag": "标志文件", "digest": "摘要文件", "container": "压缩包写完（目录在文件末尾）", "quiet": "静默时间",
}
_PROTECTION = {"total": "合计", "digest": "摘要", "archive": "压缩包校验和", "none": "无"}
_KINDS = {"text": "文本", "code": "代码", "fen": "金额", "ppm": "利率", "date": "日期", "int": "整数"}


def describe(profile: Profile) -> str:
    """The whole agreement about a profile's files as Markdown text."""
    lines = [f"# {profile.centre} / {profile.name} 入库文件约定", ""]
    basis = "假设，尚无正式文件" if profile.basis == "assumed" else profile.basis
    lines += [f"依据：{basis}。{profile.document}", ""]
    lines.append(f"- 中心编号：{profile.centre_code}")
    lines.append(f"- 文件名：`{profile.pattern}`（{{date}} 为 YYYYMMDD，{{sequence}} 为 3 位批次号，{{*}} 可加说明）")
    lines += [f"- 形式：{_FORMS[profile.form]}" + {"none": "", "zip": "，装在 zip 里", "gz": "，以 gz 压缩"}[profile.container]]
    if profile.container == "zip":
        lines.append(f"- 包内文件：`{profile.entry}`" + (f"，清单 `{profile.manifest.entry}`" if profile.manifest else ""))
    if profile.form != "xlsx":
        lines.append(f"- 编码：{_ENCODINGS[profile.encoding]}；严格解码，不猜测")
    if profile.separator:
        lines.append(f"- 分隔符：`{profile.separator}`" + ("，最后一个字段之后也有" if profile.separator_after_last else ""))
    lines.append(f"- 一份文件：{'一张表' if profile.carries == 'one' else '多张表，可以只有其中几张'}")
    units = profile.units
    lines.append(f"- 单位：金额 {_UNITS[units.amount]}；利率 {_UNITS[units.rate]}；日期 {units.date}")
    lines.append(f"- 方式写作：全量 `{profile.mode_words['full']}`，增量 `{profile.mode_words['increment']}`")
    lines += _frame(profile)
    quiet = f"（{profile.quiet_seconds} 秒不再变化）" if profile.complete == "quiet" else ""
    lines.append(f"- 完整的标志：{_COMPLETE[profile.complete]}{quiet}")
    lines += _limits(profile)
    lines.append(
        f"- 利息核对：与 本金×利率×天数/360 相差不超过 {profile.checks.interest_tolerance_ppm / 10_000:g}% 加 "
        f"{profile.checks.interest_tolerance_fen} 分"
    )
    if profile.expected is not None:
        due = "，".join(f"{code} 每月 {day} 日前" for code, day in profile.expected.by_day.items())
        lines.append(f"- 最迟到达：{due}（自 {profile.expected.since} 起）")
    lines.append(f"- 回执：{profile.acknowledgement.form}，{_ENCODINGS[profile.acknowledgement.encoding]}")
    lines += _samples(profile)
    for spec in profile.tables.values():
        lines += ["", *_table(spec, profile)]
    return "\n".join(lines) + "\n"


def _limits(profile: Profile) -> list[str]:
    most = profile.limits
    lines = [
        f"- 上限：文件 {most.file_bytes} 字节，一行 {most.line_bytes} 字节，一个字段 {most.field_chars} 个字符，"
        f"{most.columns} 列，{most.rows} 行；"
        f"标志文件、清单 {most.companion_bytes} 字节；隔离超过 {most.quarantined_rows} 行整份拒收，逐条列出至多 {most.findings_listed} 条"
    ]
    if profile.container != "none" or profile.form == "xlsx":
        lines.append(
            f"- 压缩上限：展开至多 {most.archive_ratio} 倍且 {most.archive_bytes} 字节，"
            f"{most.archive_entries} 个条目，{most.archive_depth} 层"
        )
    if profile.form == "xlsx":
        lines.append(f"- 工作簿上限：展开 {most.workbook_bytes} 字节，每张表 {most.workbook_cells} 个单元格")
    return lines


def _frame(profile: Profile) -> list[str]:
    lines = []
    if profile.header:
        lines.append(f"- 头行：{_parts(profile.header)}")
    if profile.trailer:
        lines.append(f"- 尾行：{_parts(profile.trailer)}")
    if profile.flag is not None:
        flag = profile.flag
        held = "、".join(flag.identity.values()) or _parts(flag.first)
        digest = f"，摘要 {flag.digest_key}（{flag.algorithm.upper()}）" if flag.digest_key else ""
        lines.append(f"- 标志文件：数据文件名加 `{flag.suffix}`，{_ENCODINGS[flag.encoding]}，写明 {held}，各金额列合计{digest}")
    if profile.digest is not None:
        lines.append(f"- 摘要文件：数据文件名加 `{profile.digest.suffix}`，内容为 {profile.digest.algorithm.upper()}，64 位十六进制")
    if profile.xml is not None:
        x = profile.xml
        said = "、".join(x.identity.values())
        lines.append(f"- XML：根 `{x.root}`（属性 {said}），行 `{x.row}`，合计 `{x.totals}`（属性 {x.rows} 与各金额列）")
    if profile.cover:
        lines.append(f"- 封面：工作表 `{profile.cover}`，写明 中心编号、业务日期、批次号，以及每张表的 方式、行数、各金额列合计")
    return lines


#: What stands in a sample where a digest goes.
DIGEST = "<64 位小写十六进制>"


def _samples(profile: Profile) -> list[str]:
    """The lines around the rows and the companion files of a small file, to copy from."""
    code = "TX01" if "TX01" in profile.tables else next(iter(profile.tables))
    name, shown = sample(profile, code, DIGEST)
    if profile.carries == "many" or not shown:
        return []
    flag, digest = profile.flag, profile.digest
    titles = {
        "header": "头行",
        "trailer": "尾行",
        "flag": f"标志文件 `{name}{flag.suffix if flag else ''}`",
        "digest": f"摘要文件 `{name}{digest.suffix if digest else ''}`",
    }
    table = profile.tables[code].table
    lines = ["", "## 样例", "", f"`{name}`：{table.code} {table.label}，只有一行，各金额列都是 500,000.00 元。", ""]
    for part, text in shown.items():
        lines += [f"{titles[part]}：", "", "```", *text.removesuffix("\n").split("\n"), "```", ""]
    if digest is not None or (flag is not None and flag.digest_key):
        algorithm = (digest.algorithm if digest is not None else flag.algorithm if flag is not None else "").upper()
        marked = "含开头的 BOM" if profile.encoding == "utf-8-bom" else "从第一个字节到最后一个字节"
        lines += [f"{DIGEST} 换成数据文件全部字节（{marked}）的 {algorithm}。", ""]
    return lines[:-1]


def _parts(parts: tuple[Part, ...]) -> str:
    names = {
        "{centre}": "中心编号", "{table}": "表代码", "{date}": "业务日期", "{sequence}": "批次号", "{mode}": "方式", "{rows}": "行数",
        "{sums}": "各金额列合计",
    }
    return "、".join(names.get(p.text, f"`{p.text}`") + (f"（{p.width} 字节）" if p.width else "") for p in parts)


def _table(spec: TableSpec, profile: Profile) -> list[str]:
    table = spec.table
    key = "、".join(table.column(k).code for k in table.key) or "无（相同的行都保留）"
    mode = {"full": "全量", "increment": "增量"}[spec.mode]
    if spec.mode == "full":
        mode += "，替换同一身份的上一版本" if spec.replaces == "version" else "，整张表的快照"
    lines = [f"## {table.code} {table.label}", "", f"方式：{mode}。主键：{key}。", ""]
    lines += ["| 次序 | 列名 | 字段 | 中文名 | 类型 | 宽度 | 必填 | 保护 | 取值 |", "|---|---|---|---|---|---|---|---|---|"]
    for i, spec_column in enumerate(spec.columns, 1):
        lines.append(_row(i, spec_column, profile))
    if spec.unprotected:
        lines += ["", f"未受保护的金额列：{'、'.join(spec.unprotected)}（每份回执都会列出）。"]
    return lines


def _row(number: int, spec: ColumnSpec, profile: Profile) -> str:
    width = str(spec.width) if spec.width else ""
    column = spec.column
    if column is None:
        return f"| {number} | {spec.name} |  |  | 不使用 | {width} |  |  |  |"
    kind = _KINDS[column.kind] + (f"({column.length})" if column.length else "")
    protection = "、".join(_PROTECTION[x] for x in spec.protection)
    need = "是" if column.required else "否"
    cells = (str(number), spec.name, column.code, column.label, kind, width, need, protection, _values(column, profile))
    return "| " + " | ".join(cells) + " |"


def _values(column: Column, profile: Profile) -> str:
    listed = CODE_LISTS.get(column.code, {})
    mapped = profile.codes.get(column.code)
    if mapped is not None:
        return "；".join(f"{code} {listed.get(value, value)}" for code, value in mapped.items())
    return "；".join(f"{code} {name}" for code, name in listed.items())
