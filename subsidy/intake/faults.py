"""Every fault that intake names: code, severity, sentence, rule and what to do. The codes are stable and tested like an API."""

from __future__ import annotations

from dataclasses import dataclass

from subsidy.errors import Finding, Severity


@dataclass(frozen=True, slots=True)
class Fault:
    """`what`, `rule`, `todo` are Chinese; `what` may hold {placeholders}. `soft`: a person may release such a row, with reason."""

    severity: Severity
    what: str
    rule: str
    todo: str
    soft: bool = False


_RESEND = "请对方改正后以同一身份重送整份文件。"
_FIX_ROW = "请对方改正该行后重送；更正到达后自动解除隔离。"
_DECIDE = "核对原件：确有其事的由人员填写理由放行；否则请对方更正。"

FAULTS: dict[str, Fault] = {
    # the file as a whole
    "FILE-UNKNOWN": Fault("error", "文件名不符合本中心任何约定。", "文件名样式", "核对文件是否放错目录，或按约定改名后重送。"),
    "FILE-EMPTY": Fault("error", "文件没有内容。", "至少有头行或标志文件所述内容", _RESEND),
    "FILE-SIZE": Fault("error", "文件 {got} 字节，超过上限 {limit}。", "limits.file_bytes", "请对方分批送，或由管理员调整上限。"),
    "FILE-ENCODING": Fault("error", "文件不是约定的编码 {encoding}：{where}。", "按声明的编码严格解码，从不猜测", _RESEND),
    "FILE-BOM": Fault("error", "文件开头的 BOM 与约定不符（应{expect}）。", "encoding", _RESEND),
    "FILE-HEADER": Fault("error", "头行缺失或不符合约定：{where}。", "header", _RESEND),
    "FILE-HEADER-TWICE": Fault("error", "头行出现了不止一次。", "一份文件只有一个头行", _RESEND),
    "FILE-TRAILER": Fault("error", "尾行缺失或不完整，文件可能被截断：{where}。", "trailer", _RESEND),
    "FILE-AFTER-TRAILER": Fault("error", "尾行之后还有内容。", "尾行是最后一行", _RESEND),
    "FILE-ROWS": Fault("error", "{table} 声明 {declared} 行，实有 {counted} 行。", "行数要与声明一致", _RESEND),
    "FILE-TOTAL": Fault("error", "{table} 的 {column} 声明合计 {declared}，实际合计 {counted}。", "金额合计要与声明一致", _RESEND),
    "FILE-UNVERIFIED": Fault(
        "error", "{table} 有 {count} 行的金额读不出，合计无法核对，文件没有其他保护。", "只受合计保护的金额列必须全部可读", _RESEND
    ),
    "FILE-DIGEST": Fault(
        "error", "文件内容与摘要不符（{algorithm}）。", "摘要须等于全部字节的摘要", "核对是否传输损坏，请对方重送数据文件和摘要文件。",
    ),
    "FILE-FLAG": Fault("error", "标志文件或摘要文件读不懂：{where}。", "flag / digest", "请对方重送标志文件。"),
    "FILE-CENTRE": Fault("error", "内容写明的中心编号不是本中心。", "centre_code", "核对文件是否放错目录；不要改内容。"),
    "FILE-TABLE": Fault("error", "内容写明的表 {value} 不在本约定内。", "tables", _RESEND),
    "FILE-DATE": Fault(
        "error", "内容写明的业务日期 {value} 不是合法日期，或晚于营业日期而文件名的日期已到。", "业务日期不晚于营业日期", _RESEND,
    ),
    "FILE-SEQUENCE": Fault("error", "批次号 {value} 不是 3 位数字。", "批次号 001–999", _RESEND),
    "FILE-MODE": Fault("error", "{table} 写明的方式 {value} 与约定的 {expect} 不符。", "mode", _RESEND),
    "FILE-NAME": Fault(
        "error", "文件名写的 {field} 是 {name}，内容写的是 {content}。", "身份以内容为准，文件名不得矛盾",
        "核对送错的是名称还是内容，改正后重送。",
    ),
    "FILE-COLUMNS": Fault("error", "{table} 的列名与约定不符：{where}。", "columns", _RESEND),
    "FILE-LINE-LONG": Fault("error", "有一行超过 {limit} 字节。", "limits.line_bytes", _RESEND),
    "FILE-ROWS-LIMIT": Fault("error", "行数超过上限 {limit}。", "limits.rows", "请对方分批送，或由管理员调整上限。"),
    "FILE-QUOTE": Fault("error", "引号没有闭合，或位置不合 CSV 规则。", "RFC 4180", _RESEND),
    "FILE-BAD-ROWS": Fault(
        "error", "要隔离的行超过上限 {limit}，整份拒收。", "limits.quarantined_rows", "多半是约定与文件不一致，请核对约定。",
    ),
    "FILE-WAITING": Fault(
        "warning", "文件 {file} 还没有收：{reason}。", "数据文件与标志文件、摘要文件到齐并写完才收",
        "请对方补齐；到齐后下一夜自动接收。",
    ),
    "FILE-EARLY": Fault(
        "note", "{count} 份文件的业务日期还没有到，留在收件目录：{files}。", "业务日期到了才收",
        "不用处理：各到自己业务日期的那一夜自动接收；日期写错的，请对方改正后重送，并移走原件。",
    ),
    "FILE-CHANGED": Fault("error", "文件{file}在读取时仍在变化。", "只读已写完的文件", "等对方写完，下一次自动再读。"),
    "FILE-TABLE-TWICE": Fault("error", "同一份文件里 {table} 出现两次。", "一份文件每张表一次", _RESEND),
    "FILE-WITHDRAWALS": Fault(
        "error", "{table} 这一全量将撤销 {count} 行（现有 {live} 行），超过 {percent}%。", "withdrawal_limit_percent",
        "请对方确认这些行确已作废，再由人员放行；否则请对方重送完整文件。", soft=True,
    ),
    "FILE-OLDER": Fault(
        "error", "{table} 是整表快照，但已有业务日期更晚的快照。", "整表快照按业务日期先后生效",
        "确认这份旧快照是否仍要生效，再由人员放行。", soft=True,
    ),
    "FILE-DUPLICATE": Fault(
        "note", "与第 {version} 版内容完全相同，不再处理。", "相同字节不重复生效", "不用处理；若要恢复旧内容，请以新批次号送。",
    ),
    "WITHDRAWAL-UNSURE": Fault(
        "warning", "{table} 有 {count} 行主键读不出，本次不撤销缺席的 {absent} 行。", "撤销要有把握", "更正到达后自动按完整内容撤销。"
    ),
    # archives, XML, workbooks
    "ARCHIVE-BROKEN": Fault("error", "压缩包损坏或不是约定的压缩格式。", "校验和须正确", _RESEND),
    "ARCHIVE-ENCRYPTED": Fault("error", "压缩包有密码。", "不收加密压缩包", _RESEND),
    "ARCHIVE-ENTRY": Fault(
        "error", "压缩包内有不允许的条目（路径、链接、文件夹，或超过 {limit} 层的压缩包）。",
        "条目只能是约定的文件名；limits.archive_depth", _RESEND,
    ),
    "ARCHIVE-BOMB": Fault("error", "压缩包展开后过大（上限 {limit}）。", "limits.archive_ratio、archive_bytes", _RESEND),
    "ARCHIVE-COUNT": Fault("error", "压缩包内有 {got} 个条目，超过上限 {limit}。", "limits.archive_entries", _RESEND),
    "ARCHIVE-EXTRA": Fault("error", "压缩包与清单不一致：{where}。", "清单与条目一一对应", _RESEND),
    "XML-UNSAFE": Fault("error", "XML 含 DOCTYPE、实体、处理指令或注释。", "只收纯数据的 XML", _RESEND),
    "XML-BROKEN": Fault("error", "XML 不完整或不合语法。", "XML 1.0", _RESEND),
    "XML-GRAMMAR": Fault("error", "XML 的元素不合约定：{where}。", "xml", _RESEND),
    "XLSX-BROKEN": Fault("error", "打不开这份 .xlsx。", "Office Open XML 工作簿", _RESEND),
    "XLSX-UNSAFE": Fault("error", "工作簿含宏、外部链接、嵌入对象或不安全的 XML。", "只收纯数据的 .xlsx", _RESEND),
    "XLSX-FORMULA": Fault("error", "工作簿的单元格里有公式。", "单元格只放值", "请对方粘贴为文本后重送。"),
    "XLSX-HIDDEN": Fault("error", "工作簿有隐藏的工作表。", "不收隐藏内容", _RESEND),
    "XLSX-SHEET": Fault("error", "工作表与封面不一致：{where}。", "封面与工作表一一对应", _RESEND),
    "XLSX-COVER": Fault("error", "封面缺失或读不懂：{where}。", "cover", _RESEND),
    # a row
    "ROW-FIELDS": Fault("error", "这一行的字段数（或长度）不对。", "每行字段数与约定一致", _FIX_ROW),
    "ROW-CELL": Fault("error", "单元格不是文本。", "cells: text", "请对方把单元格设为文本后重送。"),
    "TEXT-CONTROL": Fault("error", "文本里有换行、制表、NUL 或其他控制字符。", "文本不得含控制字符", _FIX_ROW),
    "TEXT-LONG": Fault("error", "文本超过 {limit} 个字符。", "字典长度 C(n)", _FIX_ROW),
    "TEXT-MOJIBAKE": Fault("error", "文本像是乱码（编码转换错误）。", "姓名只含文字、字母、数字和间隔号", _FIX_ROW),
    "TEXT-PRIVATE": Fault("error", "文本含私用区字符，无法准确显示和付款。", "不收 Unicode 私用区字符", _FIX_ROW),
    "TEXT-RADICAL": Fault("warning", "文本含部首形近字，看似相同的字并不相同。", "形近字只提示", "核对证件上的姓名，必要时请对方更正。"),
    "FIELD-EMPTY": Fault("error", "必填字段为空。", "标准必填", _FIX_ROW),
    "FIELD-AMOUNT": Fault("error", "不是合法金额。", "元：至多两位小数，无千分位、正号、指数、全角；分：整数；不写负零", _FIX_ROW),
    "FIELD-RATE": Fault("error", "不是合法利率，或比百万分之一更细。", "利率须能准确换成百万分之一", _FIX_ROW),
    "FIELD-INTEGER": Fault("error", "不是合法整数。", "不带符号的整数", _FIX_ROW),
    "FIELD-DATE": Fault("error", "不是合法日期。", "声明的日期形式，且日历上存在", _FIX_ROW),
    "FIELD-CODE": Fault(
        "error", "代码不在代码表里，也没有映射。", "代码表和本中心映射；从不补零",
        "核对代码；若是中心新增的 70–89 代码，在 files.yaml 里加映射。",
    ),
    "FIELD-BAND": Fault("error", "数值超出合理范围（{band}），多半是单位或列次序错了。", "合理范围", _FIX_ROW),
    "CHECK-BANKNO": Fault("error", "联行号校验不通过。", "12 位数字，ISO 7064 MOD 11,10", _FIX_ROW),
    "CHECK-ID": Fault("error", "身份证号校验不通过。", "GB 11643：17 位数字加校验码，日期存在", _FIX_ROW),
    "CHECK-ID-OLD": Fault("warning", "15 位旧身份证号。", "GB 11643", "核对并请对方更新为 18 位。"),
    "CHECK-ID-REGION": Fault("warning", "身份证号的地区码不认识。", "GB/T 2260；旧县码和港澳台码只提示", "核对证件。"),
    "CHECK-CARD": Fault("warning", "账号不满足银行卡校验（存折和对公账户可不满足）。", "Luhn，只提示", "付款前核对账号。"),
    "ROW-SUM": Fault("error", "发生额不等于本金、利息、罚息之和。", "FSE = BJJE + LXJE + FXJE（类型 02–06）", _DECIDE, soft=True),
    "ROW-ACCRUAL": Fault("error", "有利息，但计息天数、计息本金或利率不是正数。", "利息不为零时三者都须为正", _FIX_ROW),
    "ROW-NEGATIVE": Fault("error", "利息为负，但没有指明冲正的原流水。", "负利息只能是冲正", _FIX_ROW),
    "ROW-INTEREST": Fault("error", "利息与 本金×利率×天数/360 相差过大（应约为 {expect} 元）。", "interest_tolerance", _DECIDE, soft=True),
    "ROW-DATES": Fault("error", "日期先后不合理：{where}。", "日期次序", _FIX_ROW),
    "ROW-FUTURE": Fault("error", "日期晚于文件的业务日期。", "已发生的事不晚于业务日期", _FIX_ROW),
    "ROW-RANGE": Fault("error", "追回要有起止日期，且起不晚于止。", "QSRQ ≤ ZZRQ", _FIX_ROW),
    "ROW-CHANGE": Fault("error", "变更缺少新值：{where}。", "变更类型要求的字段必填", _FIX_ROW),
    "ROW-BALANCE": Fault(
        "warning", "剩余本金与前一行不衔接。", "本行剩余 = 前行剩余 − 本行本金", "核对是否缺行；影响金额时由计算环节另行指出。",
    ),
    "ROW-CONTRACT": Fault("warning", "贴息本金大于合同贷款金额。", "协议与合同核对", "核定环节会暂停该协议；请核对协议和合同。"),
    "ROW-NAME": Fault("warning", "收款户名与借款人姓名不同。", "先按证件号认人，姓名不同只提示", "核对收款账户是否属于借款人。"),
    "ROW-CENTRE": Fault("warning", "协议写明的中心编号不是本中心。", "协议与中心核对", "核定环节会暂停该协议；请核对协议。"),
    "ROW-OLDER": Fault("note", "这一行改写了业务日期更晚的文件送来的内容。", "后知道的为准", "若不是有意更正，请对方重送最新内容。"),
    "KEY-DIFFERS": Fault("error", "同一份文件里主键相同而内容不同。", "两行都隔离，不猜哪一行对", _FIX_ROW),
    "KEY-DUPLICATE": Fault("note", "与前面的行完全相同，只记一次。", "有主键的表，相同的行为重复", "不用处理。"),
    "PARENT-UNKNOWN": Fault(
        "error", "所属的{parent}没有资料。", "先有 {parent}，再有本行", "等所属数据到达后自动解除；久等不到请查漏送。",
    ),
    "PARENT-CHANGED": Fault("error", "已登记的行改挂到另一份借款合同。", "归属合同不得直接改写", "请人员核实；先撤销原行，再以新编号送。"),
}


def finding(
    code: str, *, file_no: int = 0, file_name: str = "", table: str = "", line_no: int = 0, field: str = "", value: str = "",
    **words: object,
) -> Finding:
    """The finding `code` with its sentences from `FAULTS`; `words` fill the placeholders, `value` is already masked."""
    fault = FAULTS[code]
    words = {"table": table, "value": value, "field": field, **words}
    return Finding(
        code, fault.severity, fault.what.format_map(_Words(words)), fault.todo, file_no=file_no, file_name=file_name, table=table,
        line_no=line_no, field=field, value=value, rule=fault.rule.format_map(_Words(words)),
    )


def owner_of(code: str) -> str:
    """Who must act on a row that lies in quarantine for `code`: Chinese, "" for a code that is none of `FAULTS`."""
    if code not in FAULTS:
        return ""
    if code == "PARENT-UNKNOWN":
        return "送文件方（补送所属数据）"
    return "中心经办（核对原件）" if FAULTS[code].soft else "送文件方（更正后重送）"


class _Words(dict[str, object]):
    def __missing__(self, key: str) -> str:
        return ""


class FileRefused(Exception):
    """A file-level fault: the file is refused whole. Never leaves `subsidy.intake`."""

    def __init__(self, *findings: Finding) -> None:
        super().__init__(", ".join(f.code for f in findings))
        self.findings = findings


def refuse(code: str, **words: object) -> FileRefused:
    """`FileRefused` with one finding; keywords as for `finding`."""
    return FileRefused(finding(code, **words))  # type: ignore[arg-type]
