"""Blocks cut by columns against the same blocks read row by row: the quick way gives the same rows, or leaves the block to the slow one."""

from __future__ import annotations

import dataclasses
import hashlib
from pathlib import Path

import pytest
from hypothesis import assume, example, given, settings
from hypothesis import strategies as st
from intake_desk import RULES

from subsidy.intake import load_profiles
from subsidy.intake.delivery import Block, Broken
from subsidy.intake.dialects.cut import column_names, cut
from subsidy.intake.dialects.jsonl import JsonChunk
from subsidy.intake.dialects.lines import is_utf8, occurs
from subsidy.intake.dialects.xmlfile import XmlChunk, _Rows
from subsidy.intake.faults import FileRefused
from subsidy.intake.read import _digests

XML = load_profiles(RULES, "huzhou").profiles["main"]
OTHER_SUBSIDIES = XML.tables["TX05"]
NAMES = [c.name for c in OTHER_SUBSIDIES.columns]


def contents(block: Block) -> tuple[object, ...]:
    """Everything a block says."""
    texts = {code: [spans.text(i) for i in range(block.rows)] for code, spans in block.columns.items()}
    arrays = {code: spans.array().to_pylist() for code, spans in block.columns.items()}
    assert texts == arrays
    return texts, block.line_nos.tolist(), [block.raw(i) for i in range(block.rows)], block.broken


# --- delimited -------------------------------------------------------------------------------------------------------

FIELD = st.text('a@|$"\x1f\x01李𠮷', max_size=4)


@settings(deadline=None)
@given(st.lists(st.lists(FIELD, min_size=1, max_size=4), max_size=6), st.sampled_from(["|", "@|$", "||", "<|>", "，"]), st.booleans())
@example([["a", "@", "$"], ["", "", ""]], "@|$", False)
@example([["|", "a", "b"]], "||", False)
@example([["a", "b", "c"]] * 3, "@|$", True)
@example([["a", "b", "c"], ["a", "b", "c", "d"]], "@|$", True)
def test_lines_are_cut_at_their_separators_and_nowhere_else(lines: list[list[str]], separator: str, after_last: bool) -> None:
    spec = OTHER_SUBSIDIES
    written = [separator.join(line) + (separator if after_last else "") for line in lines]
    assume(all(written))
    data = "".join(line + "\n" for line in written).encode()
    names = column_names(spec, after_last)
    wanted = [c.column.code for c in spec.columns if c.column is not None]
    block = cut(data, data, 5, names, wanted, separator)
    good, broken = [], []
    for number, line in enumerate(written, 5):
        fields = line.split(separator)
        if len(fields) != len(names) or (after_last and fields[-1]):
            broken.append((number, "ROW-FIELDS"))
        elif any(c < " " for c in line):
            broken.append((number, "TEXT-CONTROL"))
        else:
            good.append((number, line.encode(), fields[: len(NAMES)]))
    assert [(b.line_no, b.code, b.raw) for b in block.broken] == [(n, c, written[n - 5].encode()) for n, c in broken]
    texts, numbers, raws, _ = contents(block)
    assert (numbers, raws) == ([n for n, _, _ in good], [raw for _, raw, _ in good])
    assert texts == {code: [fields[i] for _, _, fields in good] for i, code in enumerate(wanted)}


@pytest.mark.parametrize("after_last", [False, True])
def test_an_empty_line_has_no_fields_with_any_separator(after_last: bool) -> None:
    def block(separator: str) -> Block:
        line = separator.join("abcd"[: len(NAMES)]) + (separator if after_last else "")
        data = f"{line}\n\n{line}\n".encode()
        wanted = [c.column.code for c in OTHER_SUBSIDIES.columns if c.column is not None]
        return cut(data, data, 1, column_names(OTHER_SUBSIDIES, after_last), wanted, separator)

    one, more = block("|"), block("@|$")
    assert one.rows == more.rows == 2
    assert contents(one)[:2] == contents(more)[:2]
    assert one.broken == more.broken == [Broken(2, b"", "ROW-FIELDS", True)]


@settings(deadline=None)
@given(st.one_of(st.binary(max_size=12), st.text(max_size=8).map(str.encode)))
@example(b"\xed\xa0\x80")
@example(b"\xc0\xaf")
@example(b"\xf4\x90\x80\x80")
def test_arrow_and_python_agree_what_utf_8_is(data: bytes) -> None:
    try:
        data.decode("utf-8")
        expected = True
    except UnicodeDecodeError:
        expected = False
    assert is_utf8(data) == expected


@settings(deadline=None)
@given(st.text("ab\n", max_size=12).map(str.encode), st.text("ab\n", min_size=1, max_size=7).map(str.encode))
def test_what_occurs_in_a_block(data: bytes, part: bytes) -> None:
    assert occurs(data, part) == (part in data)


# --- XML -------------------------------------------------------------------------------------------------------------

#: Texts of a field as they may be written, right and wrong.
WRITTEN = st.one_of(
    st.text("0123456789.- 消补\x7f\u0085\uffff", max_size=6),
    st.sampled_from(
        ["a&amp;b", "&lt;&gt;", "&quot;&apos;", "&#65;", "&#x41;", "&foo;", "&", "&amp", "&amp;lt;", ">", "]]>", "]]", "<!-- x -->", "<x/>",
         "<![CDATA[x]]>", "<?x y?>", "<!DOCTYPE x>", "\n", "\t", "\r\n", "\x01", "\x00", " a ", "</a>", "<a>", "<"]
    ),
)
ROW = st.lists(st.sampled_from(["消费补贴", "100.00", "LS001", ""]), min_size=len(NAMES), max_size=len(NAMES))


def row_of(values: list[str]) -> str:
    fields = "".join(f"<{name}>{value}</{name}>" for name, value in zip(NAMES, values, strict=True))
    return f"<{XML.xml.row}>{fields}</{XML.xml.row}>"  # type: ignore[union-attr]


#: What may be done to a row as it is written: replace the first of one by the other.
TURNED = st.sampled_from(
    [("", ""), (f"<{NAMES[1]}>", f"<{NAMES[1]} >"), (f"</{NAMES[1]}>", f"</{NAMES[1]} >"), (f"<{NAMES[0]}>", f"<{NAMES[0]} a='1'>"),
     (f"<{NAMES[0]}>", f"<x:{NAMES[0]}>"), (f"<{NAMES[0]}>", f"<{NAMES[1]}>"), (NAMES[0], NAMES[1]), (f"</{NAMES[0]}>", ""),
     (f"<{NAMES[1]}>", f" <{NAMES[1]}>"), (f"<{NAMES[1]}>", f"\n<{NAMES[1]}>"), (f"<{NAMES[1]}>", f"x<{NAMES[1]}>"),
     (f"<{NAMES[1]}>", f"<!-- --><{NAMES[1]}>"), (f"<{XML.xml.row}>", f"<{XML.xml.row} b='2'>"), (f"<{XML.xml.row}>", "<Row>"),  # type: ignore[union-attr]
     (f"<{XML.xml.row}>", f"<{XML.xml.row}><{NAMES[0]}/>")]  # type: ignore[union-attr]
)
BETWEEN = st.sampled_from(["\n", "\n", "\n", "", "\n\n", " \n", "\r\n", "x\n", "<!-- -->\n"])


@st.composite
def chunks(draw: st.DrawFn) -> bytes:
    """Rows, most of them in the usual form, some changed in one place."""
    parts = []
    for values in draw(st.lists(ROW, min_size=1, max_size=5)):
        if draw(st.booleans()):
            values = [draw(WRITTEN), *values[1:]]
        parts.append(row_of(values).replace(*draw(st.one_of(st.just(("", "")), TURNED)), 1) + draw(BETWEEN))
    return (draw(st.sampled_from(["", "\n", " \n", "\x0b"])) + "".join(parts).rstrip("\n")).encode()


@settings(deadline=None)
@given(chunks())
@example((row_of(["a", "b", "c", "1.00"]) + "\n" + row_of(["李", "b", "c&amp;d", "2.00"])).encode())
def test_xml_by_columns_is_xml_by_its_grammar(data: bytes) -> None:
    chunk = XmlChunk(XML, OTHER_SUBSIDIES, 7, data)
    quick = chunk._usual(data)
    try:
        slow = _Rows(XML, OTHER_SUBSIDIES, 7).read(data)
    except FileRefused:
        assert quick is None
        return
    if quick is not None:
        assert contents(quick) == contents(slow)
        assert not quick.broken


@settings(deadline=None)
@given(st.lists(ROW, min_size=1, max_size=5), st.sampled_from(["", "\n"]))
def test_xml_in_the_usual_form_takes_the_quick_way(values: list[list[str]], before: str) -> None:
    data = (before + "\n".join(map(row_of, values))).encode()
    assert XmlChunk(XML, OTHER_SUBSIDIES, 1, data)._usual(data) is not None


# --- JSON lines ------------------------------------------------------------------------------------------------------

JSON_TEXT = st.one_of(
    st.text("0123456789.- 消补\x7f\u0085\uffff{}:,'", max_size=6),
    st.sampled_from([r"a\"b", r"\\", r"\u6d88", r"\n", "\t", '"', '","', '":"']),
)
ESCAPED = f'"\\u{ord(NAMES[0][0]):04x}{NAMES[0][1:]}"'
#: What may be done to a line as it is written: replace the first of one by the other.
JSON_TURNED = st.sampled_from(
    [("", ""), (": ", ":"), (", ", ","), ('"100.00"', "100.00"), ('"LS001"', "null"), ("{", " {"), ("}", "} "), ("}", ""),
     (NAMES[0], NAMES[1]), ("}", ', "x": "y"}'), (f'"{NAMES[0]}"', ESCAPED), ("}", "}}"), ("{", '{"a": {'), ('"100.00"', '["1"]')]
)


@st.composite
def json_lines(draw: st.DrawFn) -> bytes:
    """Lines, most of them in one form, some changed in one place."""
    written = []
    turned = draw(JSON_TURNED)
    for values in draw(st.lists(ROW, min_size=1, max_size=5)):
        texts = [f'"{v}"' for v in values]
        if draw(st.booleans()):
            texts[0] = f'"{draw(JSON_TEXT)}"'
        line = "{" + ", ".join(f'"{name}": {text}' for name, text in zip(NAMES, texts, strict=True)) + "}"
        every, one = draw(st.booleans()), draw(st.one_of(st.just(("", "")), JSON_TURNED))
        line = line.replace(*turned) if every else line
        written.append(line.replace(*one, 1) + draw(st.sampled_from(["\n", "\n", "\n", "\r\n", "\n\n"])))
    return "".join(written).removesuffix(draw(st.sampled_from(["", "\n"]))).encode()


def json_chunk(data: bytes) -> JsonChunk:
    return JsonChunk(dataclasses.replace(XML, form="jsonl"), OTHER_SUBSIDIES, 7, data)


@settings(deadline=None)
@given(json_lines())
@example(b'{"a": 1, "b": "x"}\n')
@example("".join(f'{{"{NAMES[0]}":"李","{NAMES[2]}":"","{NAMES[1]}":"b","{NAMES[3]}":"{n}.00"}}\n' for n in range(3)).encode())
def test_json_by_columns_is_json_line_by_line(data: bytes) -> None:
    quick, slow = json_chunk(data)._usual(data), json_chunk(data)._line_by_line(data)
    if quick is not None:
        assert contents(quick) == contents(slow)
        assert not slow.broken


@pytest.mark.parametrize("between", [", ", ","])
@pytest.mark.parametrize("behind", [": ", ":"])
def test_json_of_one_form_takes_the_quick_way(between: str, behind: str) -> None:
    lines = ("{" + between.join(f'"{name}"{behind}"{n}"' for name in reversed(NAMES)) + "}\n" for n in range(5))
    data = "".join(lines).encode()
    assert json_chunk(data)._usual(data) is not None


# --- digests ---------------------------------------------------------------------------------------------------------


def test_sm3_is_the_same_with_and_without_openssl_of_python(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    path.write_bytes(b"abc")
    expected = "66c7f0f462eeedd9d1f2d46bdc10e4e24167c4875cf2f7a2297da02b8f4ba8e0"  # GB/T 32905, annex A.1
    assert _digests(path, {"sm3"})["sm3"] == expected
    new = hashlib.new

    def without_sm3(name: str, *args: bytes) -> object:
        if name == "sm3":
            raise ValueError("unsupported hash type sm3")
        return new(name, *args)

    monkeypatch.setattr(hashlib, "new", without_sm3)
    assert _digests(path, {"sm3"})["sm3"] == expected
