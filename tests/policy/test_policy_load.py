"""What a good folder becomes, and what is said of a bad one: one broken folder per error."""

from __future__ import annotations

import pickle
from datetime import date
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from policy_house import FILES, POLICY, faults, files, load

from subsidy.policy import PolicyError, centre_names, load_centre, load_files, load_packed, pack, policy_as_data
from subsidy.policy.model import RateCapPiece

RULES = Path(__file__).parents[2] / "rules"


def line_of(text: str, file: str = "test/policy.yaml") -> int:
    return FILES[file][: FILES[file].index(text)].count("\n") + 1


# --- a good folder -----------------------------------------------------------------------------------------------------------------


def test_everything_of_a_good_folder_is_loaded() -> None:
    policy = load()
    old, new = policy.rules
    assert (policy.centre, policy.code, policy.short_name, policy.go_live) == ("test", "330100000000000", "测试", date(2026, 9, 1))
    assert (old.method, old.rate_cap) == (
        "ratio", (RateCapPiece(date(2015, 1, 1), series="BENCHMARK_GT5Y"), RateCapPiece(date(2020, 1, 1), series="LPR_5Y")),
    )  # fmt: skip
    assert (old.lifetime_limit_fen, old.months_limit, old.monthly_limit_fen, old.back_pay_months) == (6_000_000, 240, None, None)
    assert (new.method, new.points_ppm, new.day_count, new.principal_cap) == ("points", 8000, "actual/365", "on_balance")
    assert new.suspension is None
    assert [g.reason for g in old.gates] == ["GATE-DUPLICATE", "GATE-UNVERIFIED", "GATE-OPENING", "GATE-SUSPENDED", ""]
    assert old.suspension is not None
    assert old.suspension.condition == ("compare", ">=", "overdue_run", 3)
    assert (old.verification.rate_tolerance_ppm, old.verification.maximum_amount_fen) == (100, 100_000_000)
    terms = policy.settlement[0]
    assert (terms.day, terms.minimum_fen, terms.approval.auto_below_fen, terms.accounts.write_off) == (20, 100, 100_000, "41199")
    assert policy.rules_on(date(2025, 12, 31)) is old
    assert policy.rules_on(date(2026, 1, 1)) is new
    assert policy.parameters.series["FIRST_GT5"].on(date(2025, 5, 8)) == 26000
    assert policy.parameters.series["FIRST_GT5"].announced_on[1] == date(2025, 5, 7)
    assert policy.parameters.confirmed_through == date(2026, 10, 9)
    assert len(policy.parameters.calendars[2027].holidays) == 8


def test_every_value_has_its_own_source() -> None:
    policy = load()
    points = policy.rules[1].sources["points"]
    assert (points.basis, points.document, points.article, points.link) == ("document", "测公积金〔2026〕1号", "第三条", "https://example.org/1")
    assert (points.file, points.line) == ("test/policy.yaml", line_of("points: {value"))
    method = policy.rules[1].sources["method"]
    assert (method.basis, method.line) == ("assumed", line_of("method: points"))
    assert policy.rules[0].gates[0].source.file == "parameters/gates.yaml"
    assert policy.settlement[0].sources["paying_account.bank_no"].basis == "assumed"
    for rule in policy.rules:
        assert {"method", "principal_cap", "rate_cap", "monthly_limit", "suspension", "verification.loan_kinds"} <= set(rule.sources) | (
            {"suspension"} if rule.suspension else set()
        )


# --- a bad one ----------------------------------------------------------------------------------------------------------------------

BROKEN: list[tuple[str, str, str, list[str]]] = [
    # old text, new text, code, words of the message
    ("method: ratio", "method: ratios", "POL-CHOICE", ["rules[1].method", "ratios", "payment_difference", "是否想写“ratio”"]),
    ("method: ratio", "metod: ratio", "POL-KEY-UNKNOWN", ["metod", "是否想写“method”"]),
    ("    method: ratio\n", "", "POL-KEY-MISSING", ["rules[1].method", "缺少"]),
    ("method: ratio", "method: 待填", "POL-BLANK", ["rules[1].method", "尚未填写"]),
    ("method: ratio", "method: [ratio]", "POL-TYPE", ["单个值"]),
    ("method: ratio", "method: {valeu: ratio, basis: assumed}", "POL-KEY-UNKNOWN", ["valeu", "value"]),
    ("method: ratio", "method: {basis: assumed}", "POL-KEY-MISSING", ["rules[1].method.value"]),
    ("method: ratio", "method: {value: ratio, basis: asumed}", "POL-BASIS", ["asumed", "assumed"]),
    ("method: ratio", "method: {value: ratio, source: {article: 第三条}}", "POL-BASIS", ["document"]),
    ("method: ratio", "method: {value: ratio, source: 某文件}", "POL-BASIS", ["document、article、link"]),
    ("method: ratio", "method: {value: ratio, source: {documnt: 文}}", "POL-KEY-UNKNOWN", ["documnt", "document"]),
    ("  - version_id: A\n    basis: assumed\n", "  - version_id: A\n", "POL-BASIS", ["rules[1].method", "没有写明来源", "basis: assumed"]),
    ("day: 20", "day: 二十", "POL-TYPE", ["settlement[1].day", "二十", "1 到 31 的整数"]),
    ("day: 20", "day: 20.0", "POL-TYPE", ["20.0"]),
    ("day: 20", "day: 32", "POL-TYPE", ["32"]),
    ("day: 20", "day: 30", "POL-SETTLEMENT", ["二月没有 30 日", "1 到 28"]),
    ("frequency: monthly\n    day: 20", "frequency: quarterly\n    day: 31", "POL-SETTLEMENT", ["六月", "1 到 30"]),
    ("roll: next", "roll: nxt", "POL-CHOICE", ["next、previous", "是否想写“next”"]),
    ("minimum: 1.00元", "minimum: 1.00", "POL-TYPE", ["minimum", "500.00元"]),
    ("minimum: 1.00元", "minimum: 1,000.00元", "POL-TYPE", ["1,000.00元"]),
    ("minimum: 1.00元", "minimum: -1.00元", "POL-TYPE", ["-1.00元"]),
    ("rate_tolerance: 0.01%", "rate_tolerance: 0.01", "POL-TYPE", ["百分数"]),
    ("rate_tolerance: 0.01%", "rate_tolerance: 0.00001%", "POL-TYPE", ["四位小数"]),
    ("go_live: 2026-09-01", "go_live: 2026-02-30", "POL-TYPE", ["centre.go_live", "2026-02-30", "存在的日期"]),
    ("go_live: 2026-09-01", "go_live: 0026-09-01", "POL-TYPE", ["0026-09-01"]),
    ('code: "330100000000000"', "code: 3301", "POL-TYPE", ["15 位"]),
    ('loan_kinds: ["02", "03"]', 'loan_kinds: ["02", "2"]', "POL-CHOICE", ["verification.loan_kinds", "“2”", "是否想写"]),
    ('loan_kinds: ["02", "03"]', 'loan_kinds: ["02", "02"]', "POL-CHOICE", ["重复"]),
    ('loan_kinds: ["02", "03"]', "loan_kinds: []", "POL-TYPE", ["至少一项"]),
    # versions
    ("effective_to: 2026-01-01", "effective_to: 2025-12-01", "POL-GAP", ["空档", "2025-12-01 到 2026-01-01"]),
    ("effective_to: 2026-01-01", "effective_to: 2026-02-01", "POL-OVERLAP", ["重叠", "2026-02-01"]),
    ("effective_to: 2026-01-01", "effective_to: none", "POL-OVERLAP", ["没有截止日", "rules[2]"]),
    ("effective_to: 2026-01-01", "effective_to: 2014-01-01", "POL-ORDER", ["晚于 effective_from"]),
    ("effective_to: none\n    method: points", "effective_to: 2030-01-01\n    method: points", "POL-GAP", ["2030-01-01 起没有版本"]),
    ("version_id: B", "version_id: A", "POL-OVERLAP", ["版本名重复"]),
    ("go_live: 2026-09-01", "go_live: 2014-09-01", "POL-GAP", ["没有清算约定"]),
    ("effective_from: 2015-01-01\n    effective_to: 2026", "effective_from: 2010-01-01\n    effective_to: 2026", "POL-RATE-GAP",
     ["FIRST_GT5", "2010-12-26 才有值"]),
    # methods
    ("    points: {value: 0.80%, source: {document: 测公积金〔2026〕1号, article: 第三条, link: \"https://example.org/1\"}}\n", "",
     "POL-KEY-MISSING", ["rules[2].points"]),
    ("method: ratio\n", "method: share\n", "POL-KEY-MISSING", ["rules[1].share"]),
    ("method: ratio\n", "method: spread\n", "POL-KEY-MISSING", ["rules[1].day_count"]),
    ("method: ratio\n    fund_rate_reset: next_january\n", "method: ratio\n", "POL-KEY-MISSING", ["fund_rate_reset"]),
    ("method: ratio\n", "method: ratio\n    share: 25%\n", "POL-METHOD", ["ratio", "不使用 share"]),
    ("    day_count: actual/365\n", "", "POL-KEY-MISSING", ["day_count"]),
    ("day_count: actual/365", "day_count: actual/364", "POL-CHOICE", ["actual/364", "是否想写“actual/36"]),
    ("method: ratio\n", "method: shadow_interest\n", "POL-CAP", ["只能用于 ratio、spread", "shadow_interest"]),
    ("method: ratio\n", "method: payment_difference\n", "POL-CAP", ["payment_difference"]),
    ("rate_cap: none", "rate_cap:\n      - {effective_from: 2026-01-01, fixed: 4.90%}", "POL-CAP", ["points", "不能设上限"]),
    ("series: LPR_5Y", "series: LPR5Y", "POL-CAP", ["LPR5Y", "是否想写“LPR_5Y”"]),
    ("series: LPR_5Y", "series: LPR_5Y, fixed: 4.90%", "POL-CAP", ["必须且只能写一个"]),
    (", series: LPR_5Y", "", "POL-CAP", ["必须且只能写一个"]),
    ("2020-01-01, series: LPR_5Y", "2019-01-01, series: LPR_5Y", "POL-RATE-GAP", ["2019-08-20 才有值", "另一个上限"]),
    ("{effective_from: 2015-01-01, series", "{effective_from: 2016-01-01, series", "POL-GAP", ["2015-01-01 到 2016-01-01 没有利率上限"]),
    ("{effective_from: 2020-01-01, series", "{effective_from: 2015-01-01, series", "POL-OVERLAP", ["先后排列"]),
    ("{effective_from: 2020-01-01, series", "{effective_from: 2027-01-01, series", "POL-GATE-NEVER", ["永远用不到"]),
    ("rate_cap: none", "rate_cap: nothing", "POL-TYPE", ["应为列表"]),
    # gates
    ("      - not_verified\n", "      - not_verifed\n", "POL-GATE-UNKNOWN", ["rules[1].gates[2]", "not_verifed", "是否想写“not_verified”"]),
    ("when: opening_missing", "when: opening_mising", "POL-FACT-UNKNOWN", ["opening_mising", "是否想写“opening_missing”"]),
    ("when: opening_missing", "when: overdue_run", "POL-FACT-TYPE", ["不是“是/否”事实"]),
    ("when: opening_missing", "when: opening_missing and", "POL-CONDITION", ["末尾", "opening_missing and"]),
    ("when: opening_missing", "when: overdue_total < 0", "POL-GATE-NEVER", ["rules[1].gates[3]", "永远不会成立", "overdue_total < 0"]),
    ("when: opening_missing", "when: overdue_run > 3 and duplicate_claim", "POL-GATE-SHADOWED", ["rules[1].gates[1]", "先行匹配"]),
    ("when: opening_missing", "when: verified and not duplicate_claim", "POL-GATE-SHADOWED", ["永远轮不到"]),
    ("      - otherwise\n", "", "POL-GATE-LAST", ["when: true"]),
    ("outcome: hold, reason: GATE-OPENING", "outcome: wait, reason: GATE-OPENING", "POL-CHOICE", ["pay、hold、forfeit、stop"]),
    (", reason: GATE-OPENING", "", "POL-KEY-MISSING", ["reason"]),
    ("reason: GATE-OPENING", "reason: 缺期初", "POL-TYPE", ["GATE-LATE"]),
    ("text: 缺少期初", "txt: 缺少期初", "POL-KEY-UNKNOWN", ["txt", "是否想写“text”"]),
    ("when: overdue_run >= 3", "when: suspended", "POL-SUSPENSION", ["不能引用暂停本身的事实"]),
    ("when: overdue_run >= 3", "when: overdue_run < 0", "POL-GATE-NEVER", ["suspension.when"]),
    ("suspension: none", "suspension: {when: overdue_run >= 3, after_cure: pay}", "POL-SUSPENSION", ["没有一行判断 suspended"]),
    ("after_cure: pay", "after_cure: wait", "POL-CHOICE", ["pay、forfeit"]),
    # settlement
    ('bank_no: "105331000018"', 'bank_no: "105331000019"', "POL-BANK-NO", ["校验位", "105331000019"]),
    ('bank_code: "105"', 'bank_code: "104"', "POL-BANK-NO", ["前三位"]),
    ("payment_profile: bdc103", "payment_profile: bdc13", "POL-SETTLEMENT", ["bdc13", "bdc103、po_fen", "是否想写“bdc103”"]),
    ("payment_profile: bdc103", "payment_profile: bdc104", "POL-SETTLEMENT", ["bdc104"]),
    ("auto_below: 1000.00元", "auto_below: 6000.00元", "POL-SETTLEMENT", ["自动放行", "5000元"]),
    ('cash: "102"', 'cash: "411"', "POL-SETTLEMENT", ["同一科目"]),
    ("day: 20\n    roll: next\n    cutoff: day_before", "day: 1\n    roll: previous\n    cutoff: previous_month_end", "POL-SETTLEMENT",
     ["期间 2026-11 会清算两次", "2026-12-01", "2026-12-31"]),
    # the file
    ("  go_live: 2026-09-01", "  go_live: 2026-09-01\n  go_live: 2026-10-01", "POL-DUPLICATE-KEY", ["centre.go_live", "第 7 行"]),
    ("centre:\n", "centre: &a\n", "POL-YAML", ["锚点"]),
    ("name: 测试住房公积金管理中心", "name: !!python/name:os.system 测试", "POL-YAML", ["标签"]),
    ("centre:\n", "centre:\n\tbasis: x\n", "POL-YAML", ["YAML 写法有误"]),
    ("centre:\n", "---\n---\ncentre:\n", "POL-YAML", ["多个 YAML 文档"]),
    ("name: 测试住房公积金管理中心", "name: {" * 20, "POL-YAML", ["嵌套"]),
    ("centre:\n", "unknown: 1\ncentre:\n", "POL-KEY-UNKNOWN", ["unknown", "centre、rules、settlement"]),
    (POLICY, "- a\n", "POL-YAML", ["键: 值"]),
    (POLICY, "{}\n", "POL-KEY-MISSING", ["centre"]),
    (POLICY, "x\x01: 1\n", "POL-YAML", ["字符"]),
]  # fmt: skip


@pytest.mark.parametrize(
    ("line", "may_be_none"),
    [("  go_live: 2026-09-01\n", False), ("    method: points\n", False), ("    rate_cap: none\n", True), ("    suspension: none\n", True),
     ("    monthly_limit: none\n", True), ("    months_limit: none\n", True), ("    effective_to: none\n    method", True)],
)  # fmt: skip
def test_a_missing_key_may_be_none_only_where_none_is_read(line: str, may_be_none: bool) -> None:
    [found] = [f for f in faults(files((line, line.split("\n")[1]))) if f.code == "POL-KEY-MISSING" and f.field.count(".") == 1]
    assert found.todo == ("补上；不适用时写 none。" if may_be_none else "补上；这一项不能省略。")


@pytest.mark.parametrize(("old", "new", "code", "words"), BROKEN, ids=[f"{c}-{n.strip()[:30]!r}" for _, n, c, _ in BROKEN])
def test_a_broken_folder_says_what_is_wrong(old: str, new: str, code: str, words: list[str]) -> None:
    found = [f for f in faults(files((old, new))) if f.code == code]
    assert found, [f"{f.code} {f.what}" for f in faults(files((old, new)))]
    assert any(all(word in f.what for word in words) for f in found), [f.what for f in found]
    for finding in found:
        assert finding.file_name == "test/policy.yaml"
        assert finding.todo


BROKEN_SHARED: list[tuple[str, str, str, str, list[str]]] = [
    ("rates.csv", "FIRST_GT5,2025-05-08,2.6", "FIRST_GT5,2010-12-26,2.6", "POL-OVERLAP", ["2010-12-26 有两个利率", "第 4 行"]),
    ("rates.csv", "2.6,published", "2.60001,published", "POL-TYPE", ["rate_percent", "2.60001"]),
    ("rates.csv", "2.6,published", "2.6%,published", "POL-TYPE", ["2.6%"]),
    ("rates.csv", "2.6,published", "2.6,pubished", "POL-TYPE", ["pubished", "published"]),
    ("rates.csv", "FIRST_LE5,", "FRIST_LE5,", "POL-RATE-GAP", ["FIRST_LE5", "是否想写“FRIST_LE5”"]),
    ("rates.csv", "2010-12-26,3.75", "2010-13-26,3.75", "POL-TYPE", ["2010-13-26"]),
    ("rates.csv", ",2025-05-07", "", "POL-TYPE", ["应有 5 栏，实有 4 栏"]),
    ("rates.csv", "series,", "serie,", "POL-FILE", ["列名"]),
    ("rates.csv", "FIRST_GT5,2025-05-08", 'FIRST_GT5,"2025-05-08', "POL-FILE", ["CSV"]),
    ("parameters.yaml", "2026-10-09", "2025-01-01", "POL-RATE-HORIZON", ["FIRST_GT5", "2025-05-07"]),
    ("parameters.yaml", "confirmed_through", "confirmed_trough", "POL-KEY-UNKNOWN", ["confirmed_trough"]),
    ("gates.yaml", "not verified", "not verifid", "POL-FACT-UNKNOWN", ["verifid", "verified"]),
    ("calendar-2027.yaml", "year: 2027", "year: 2028", "POL-CALENDAR", ["calendar-2027.yaml", "2028"]),
    ("calendar-2027.yaml", "2027-01-01,", "2026-01-01,", "POL-CALENDAR", ["2026-01-01", "2027 年"]),
    ("calendar-2027.yaml", "2027-01-01,", "2027-02-05,", "POL-CALENDAR", ["写了两次"]),
    ("calendar-2027.yaml", "2027-02-05..2027-02-11", "2027-02-11..2027-02-05", "POL-CALENDAR", ["2027-02-11..2027-02-05"]),
    ("calendar-2027.yaml", "[2027-02-14]", "[2027-02-15]", "POL-CALENDAR", ["本来就是工作日"]),
    ("calendar-2027.yaml", "[2027-02-14]", "[2027-02-07]", "POL-CALENDAR", ["既是放假日又是上班日"]),
    ("calendar-2027.yaml", "[2027-01-01, 2027-02-05..2027-02-11]", "[]", "POL-CALENDAR", ["不完整"]),
    ("calendar-2027.yaml", "source: {document: 国办发明电〔2026〕0号}\n", "", "POL-BASIS", ["没有写明来源"]),
]


@pytest.mark.parametrize(("name", "old", "new", "code", "words"), BROKEN_SHARED, ids=[f"{c}-{n[:30]!r}" for _, _, n, c, _ in BROKEN_SHARED])
def test_broken_parameters_say_what_is_wrong(name: str, old: str, new: str, code: str, words: list[str]) -> None:
    file = f"parameters/{name}"
    found = [f for f in faults(files((old, new), file=file)) if f.code == code and f.file_name == file]
    assert any(all(word in f.what for word in words) for f in found), [
        f"{f.file_name} {f.code} {f.what}" for f in faults(files((old, new), file=file))
    ]


@pytest.mark.parametrize("name", ["test/policy.yaml", "parameters/rates.csv", "parameters/parameters.yaml"])
def test_missing_and_undecodable_files_are_named(name: str) -> None:
    given = files()
    for broken in ({k: v for k, v in given.items() if k != name}, {**given, name: given[name] + b"\xff\xfe"}):
        assert any(f.code == "POL-FILE" and f.file_name == name for f in faults(broken))


def test_a_huge_file_is_refused() -> None:
    given = {**files(), "test/policy.yaml": b"#" * 600_000}
    assert [f.code for f in faults(given)] == ["POL-FILE"]


def test_all_faults_are_told_at_once_with_their_lines() -> None:
    found = faults(files(("method: ratio", "method: ratios"), ("day: 20", "day: 40"), ("when: suspended", "when: suspendd")))
    assert [(f.line_no, f.code) for f in found] == [
        (line_of("method: ratio"), "POL-CHOICE"),
        (line_of("- {when: suspended"), "POL-FACT-UNKNOWN"),
        (line_of("day: 20"), "POL-TYPE"),
    ]
    assert found[0].value == "ratios"
    assert "shadow_interest" in found[0].rule


def test_the_error_lists_the_faults_for_people_and_survives_a_process_border() -> None:
    with pytest.raises(PolicyError) as caught:
        load_files(files(("method: ratio", "method: ratios")), "test")
    error = pickle.loads(pickle.dumps(caught.value))
    assert error.findings == caught.value.findings
    message = str(error)
    place = f"test/policy.yaml 第 {line_of('method: ratio')} 行"
    for words in ("POL-INVALID", "1 处错误", "ratios", place, "其他中心不受影响", "policy check test"):
        assert words in message


def test_a_fault_in_shared_rows_is_not_repeated_where_they_are_used() -> None:
    found = faults(files(("not verified", "not verifid"), file="parameters/gates.yaml"))
    assert {f.file_name for f in found} == {"parameters/gates.yaml"}


def test_odd_but_lawful_things_are_warned_about() -> None:
    policy = load(("      - duplicate_claim\n", ""))
    assert any("duplicate_claim" in w for w in policy.warnings)
    assert load().warnings == ()


@pytest.mark.parametrize("name", ["..", "parameters", "Hangzhou", "a/b", "", "杭州"])
def test_names_that_cannot_be_centres_are_refused(name: str) -> None:
    with pytest.raises(PolicyError, match="不是可用的中心文件夹名"):
        load_centre(RULES, name)


def test_a_centre_that_is_not_there_is_named_with_the_nearest() -> None:
    with pytest.raises(PolicyError, match="是否想写“hangzhou”"):
        load_centre(RULES, "hangzou")


LINES = POLICY.splitlines()
MANGLED = st.tuples(st.integers(0, len(LINES) - 1), st.sampled_from(["drop", "twice", "swap", "empty", "list"]))


@settings(max_examples=150, deadline=None)
@given(st.lists(MANGLED, min_size=1, max_size=4))
def test_any_mangled_folder_loads_or_is_refused_with_findings(mangle: list[tuple[int, str]]) -> None:
    lines = list(LINES)
    for place, how in mangle:
        key = lines[place].split(":")[0]
        lines[place] = {
            "drop": "", "twice": f"{lines[place]}\n{lines[place]}", "swap": lines[place - 1], "empty": f"{key}:",
            "list": f"{key}: [1, {{a: b}}]",
        }[how]  # fmt: skip
    for finding in faults({**files(), "test/policy.yaml": "\n".join(lines).encode()}):
        assert finding.code.startswith("POL-")
        assert finding.what


@settings(max_examples=150, deadline=None)
@given(st.integers(0, len(POLICY.encode()) - 1), st.binary(max_size=3))
def test_any_damaged_byte_loads_or_is_refused_with_findings(place: int, noise: bytes) -> None:
    data = POLICY.encode()
    found = faults({**files(), "test/policy.yaml": data[:place] + noise + data[place + 1 :]})
    assert all(f.code.startswith("POL-") and f.what and f.file_name for f in found)


# --- archives -----------------------------------------------------------------------------------------------------------------------


def on_disk(folder: Path, given: dict[str, bytes]) -> Path:
    for name, data in given.items():
        path = folder / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(data)
    return folder


def test_an_archive_loads_as_the_folder_it_was_packed_from(tmp_path: Path) -> None:
    rules = on_disk(tmp_path, files())
    assert load_packed(pack(rules, "test")) == load_centre(rules, "test")


def test_neither_line_endings_nor_times_nor_other_files_change_the_version(tmp_path: Path) -> None:
    plain = on_disk(tmp_path / "a", files())
    other = on_disk(tmp_path / "b", {name: data.replace(b"\n", b"\r\n") for name, data in files().items()})
    on_disk(other, {"test/cases.yaml": b"x", "test/.policy.yaml.swp": b"x", "parameters/roles.yaml": b"x", "other/policy.yaml": b"x"})
    assert pack(plain, "test") == pack(other, "test")
    assert load_centre(plain, "test").version == load_centre(other, "test").version


@pytest.mark.parametrize("name", ["test/policy.yaml", "test/outbound.yaml", "parameters/rates.csv", "parameters/calendar-2027.yaml"])
def test_any_change_of_content_changes_the_version(name: str) -> None:
    given = files()
    assert load_files(given, "test").version != load_files({**given, name: given[name] + b"\n"}, "test").version


def test_a_damaged_archive_is_named(tmp_path: Path) -> None:
    data = pack(on_disk(tmp_path, files()), "test")
    with pytest.raises(Exception, match="POL-ARCHIVE"):
        load_packed(data[: len(data) // 2])


def test_plain_data_holds_nothing_of_the_package() -> None:
    plain = policy_as_data(load())

    def walk(value: object) -> None:
        if isinstance(value, dict):
            assert all(isinstance(k, (str, int)) for k in value)
            for item in value.values():
                walk(item)
        elif isinstance(value, list):
            for item in value:
                walk(item)
        else:
            assert value is None or type(value) in (str, int, bool, date)

    walk(plain)
    assert plain["rules"][0]["suspension"]["condition"] == ["compare", ">=", "overdue_run", 3]
    assert plain["parameters"]["series"]["FIRST_GT5"]["ppm"] == [43000, 26000]


# --- the shipped folders ------------------------------------------------------------------------------------------------------------


def test_the_seven_centres() -> None:
    assert set(centre_names(RULES)) >= {"hangzhou", "zhejiang-provincial", "zhoushan", "wenzhou", "shaoxing", "huzhou", "quzhou"}


#: Handbook section 9: method, day count, mid period, principal cap, cap, monthly, lifetime, months, payee, frequency, day, roll, cut-off.
SETTINGS = {
    "hangzhou": ("ratio", None, "split", "pro_rata", True, None, None, None, "borrower", "monthly", 20, "next", "day_before"),
    "zhejiang-provincial": ("spread", "actual/360", "split", "on_balance", False, None, None, None, "borrower", "monthly", 20, "next",
                            "day_before"),
    "zhoushan": ("points", "actual/365", None, "pro_rata", False, 50000, None, None, "bank", "quarterly", 21, "next", "day_before"),
    "wenzhou": ("shadow_interest", None, "split", "pro_rata", False, None, None, None, "borrower", "monthly", 15, "next", "day_before"),
    "shaoxing": ("payment_difference", None, "split", "pro_rata", False, None, None, 240, "bank", "monthly", 25, "previous", "day_before"),
    "huzhou": ("spread", "monthly", "old", "pro_rata", True, None, None, None, "borrower", "monthly", 10, "next", "previous_month_end"),
    "quzhou": ("share", None, None, "pro_rata", False, None, 6_000_000, None, "borrower", "quarterly", 20, "next", "day_before"),
}  # fmt: skip


@pytest.mark.parametrize("centre", SETTINGS)
def test_starting_settings_of_the_handbook(centre: str) -> None:
    policy = load_centre(RULES, centre)
    rule, terms = policy.rules_on(date(2026, 10, 1)), policy.settlement_on(date(2026, 10, 1))
    method, day_count, mid_period, cap, rate_cap, monthly, lifetime, months, *settles = SETTINGS[centre]
    assert (rule.method, rule.principal_cap, bool(rule.rate_cap)) == (method, cap, rate_cap)
    assert day_count in (None, rule.day_count)
    assert mid_period in (None, rule.mid_period)
    assert (rule.monthly_limit_fen, rule.lifetime_limit_fen, rule.months_limit) == (monthly, lifetime, months)
    assert [terms.payee, terms.frequency, terms.day, terms.roll, terms.cutoff] == settles
    assert (policy.go_live, policy.warnings) == (date(2026, 9, 1), ())
    assert rule.points_ppm == (8000 if centre == "zhoushan" else None)
    assert rule.share_ppm == (250_000 if centre == "quzhou" else None)


def test_gates_that_differ_between_the_centres() -> None:
    tables = {centre: load_centre(RULES, centre).rules[-1] for centre in SETTINGS}
    default = ["GATE-DUPLICATE", "GATE-UNVERIFIED", "GATE-OPENING", "GATE-OVERDUE-TOTAL", "GATE-SUSPENDED", "GATE-WRITTEN-OFF", ""]
    own = {
        "wenzhou": (4, "GATE-LATE", "days_late > 15", "forfeit"),
        "huzhou": (4, "GATE-SECOND-SUSPENSION", "suspension_count >= 2", "stop"),
    }
    for centre, rule in tables.items():
        reasons = [g.reason for g in rule.gates]
        if centre in own:
            place, reason, text, outcome = own[centre]
            gate = rule.gates[place]
            assert (gate.reason, gate.text, gate.outcome) == (reason, text, outcome)
            reasons.pop(place)
        assert reasons == default
        assert rule.suspension is not None
        assert rule.suspension.after_cure == ("forfeit" if centre == "zhoushan" else "pay")
    lapsed = tables["zhejiang-provincial"].suspension
    assert lapsed is not None
    assert lapsed.text == "overdue_run >= 3 or contributions_lapsed"


def test_rates_of_the_shipped_folder() -> None:
    parameters = load_centre(RULES, "hangzhou").parameters
    assert parameters.confirmed_through == date(2026, 10, 9)
    # Second-home rates are their own series, not 1.1 times the first-home rate (handbook section 3).
    on = date(2026, 10, 9)
    assert {n: parameters.series[n].on(on) for n in ("FIRST_LE5", "FIRST_GT5", "SECOND_LE5", "SECOND_GT5", "LPR_5Y", "BENCHMARK_GT5Y")} == {
        "FIRST_LE5": 21000, "FIRST_GT5": 26000, "SECOND_LE5": 25250, "SECOND_GT5": 30750, "LPR_5Y": 35000, "BENCHMARK_GT5Y": 49000,
    }  # fmt: skip
    with pytest.raises(KeyError):
        parameters.series["LPR_5Y"].on(date(2019, 8, 19))
    for series in parameters.series.values():
        assert set(series.basis) <= {"published", "derived"}
        assert all(announced <= effective for announced, effective in zip(series.announced_on, series.effective_on, strict=True))
