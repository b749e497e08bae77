"""Facts written in a profile's form: samples for a counterparty, and the way back for read → write → read.

Column by column like reading. What reading accepts of these files is exactly the rows that were written.
"""

from __future__ import annotations

import hashlib
import io
import json
import zipfile
from collections.abc import Mapping, Sequence
from datetime import date
from pathlib import Path
from typing import Any

import numpy as np
import openpyxl
import pyarrow as pa
import pyarrow.compute as pc
from cryptography.hazmat.primitives import hashes
from openpyxl.cell import WriteOnlyCell

from subsidy.facts.schema import Column
from subsidy.intake.dialects.lines import BOM
from subsidy.intake.profile import CODECS, ColumnSpec, FlagFile, Part, Profile, TableSpec
from subsidy.money import format_yuan_column, muldiv_round

_XML = {"&": "&amp;", "<": "&lt;", ">": "&gt;", '"': "&quot;"}


def write(profile: Profile, tables: Mapping[str, pa.Table], day: date, sequence: str, folder: Path, note: str = "") -> list[Path]:
    """Write `tables` (by table code, columns named as in the fact table) as a delivery of `day` into `folder`.

    Returns the data files; companions stand beside them. ValueError when a text does not fit (an unknown code, too wide for a fixed
    field, a character that the form cannot hold).
    """
    folder.mkdir(parents=True, exist_ok=True)
    named = {"date": f"{day:%Y%m%d}", "sequence": sequence, "centre": profile.centre_code}
    if profile.carries == "many":
        path = folder / profile.file_name("", named["date"], sequence).replace(".", f"{note}.", 1)
        texts = {code: _texts(profile, profile.tables[code], rows) for code, rows in tables.items()}
        if profile.form == "xlsx":
            path.write_bytes(_workbook(profile, texts, named))
        else:
            path.write_bytes(_zip(profile, texts, named))
        _digest(profile, path)
        return [path]
    paths = []
    for code, rows in tables.items():
        spec = profile.tables[code]
        path = folder / profile.file_name(code, named["date"], sequence).replace(".", f"{note}.", 1)
        said = {**named, "table": code, "mode": profile.mode_words[spec.mode], "rows": str(rows.num_rows)}
        columns = _texts(profile, spec, rows)
        data = _xml(profile, spec, columns, said) if profile.form == "xml" else _text(profile, spec, columns, said)
        path.write_bytes(_packed(profile, data, code))
        if profile.flag is not None:
            _flag(profile, profile.flag, spec, columns, said, path)
        _digest(profile, path)
        paths.append(path)
    return paths


Texts = dict[str, pa.Array]  # by column name in the file; "" is empty


def _texts(profile: Profile, spec: TableSpec, rows: pa.Table) -> Texts:
    found: Texts = {}
    for c in spec.columns:
        if c.column is None or c.column.name not in rows.column_names:
            found[c.name] = pa.array([""] * rows.num_rows, pa.string())
        else:
            column = rows[c.column.name]
            found[c.name] = _column(column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column, c.column, profile)
    return found


def _column(values: pa.Array, column: Column, profile: Profile) -> pa.Array:
    if column.kind == "fen":
        text = values.cast(pa.string()) if profile.units.amount == "fen" else format_yuan_column(values)
    elif column.kind == "ppm":
        text = _rates(values, profile)
    elif column.kind == "date":
        text = pc.strftime(values, format="%Y%m%d" if profile.units.date == "YYYYMMDD" else "%Y-%m-%d")
    elif column.kind == "int":
        text = values.cast(pa.string())
        if column.code == "YDHKR":
            text = pc.ascii_lpad(text, 2, "0")
    elif column.kind == "code" and column.code in profile.codes:
        back = {canonical: code for code, canonical in reversed(profile.codes[column.code].items())}
        encoded = values.dictionary_encode()
        words = [back[v] if v in back else _no_code(column, v) for v in encoded.dictionary.to_pylist()]
        text = pa.array(words, pa.string()).take(encoded.indices)
    else:
        text = values
    return text.fill_null("")


def _no_code(column: Column, value: str) -> str:
    raise ValueError(f"{column.code}: no code for {value}")


def _rates(values: pa.Array, profile: Profile) -> pa.Array:
    ppm = np.ascontiguousarray(values.fill_null(0).to_numpy(zero_copy_only=False), np.int64)
    unit = profile.units.rate
    places = {"fraction": 7, "percent": 4, "permille_month": 6}[unit]
    unscaled = {"fraction": ppm * 10, "percent": ppm, "permille_month": muldiv_round((ppm, 1_000), (12,))}[unit]
    whole = pa.array(unscaled // 10**places).cast(pa.string())
    part = pc.ascii_lpad(pa.array(unscaled % 10**places).cast(pa.string()), places, "0")
    text = pc.binary_join_element_wise(whole, part, ".")
    return pc.if_else(values.is_valid(), text, pa.scalar(None, pa.string())) if values.null_count else text


def _total(profile: Profile, spec: ColumnSpec, texts: Texts) -> str:
    written = [t for t in texts[spec.name].to_pylist() if t]
    if profile.units.amount == "fen":
        return str(sum(int(t) for t in written))
    fen = sum(int(t.replace(".", "")) for t in written)
    sign, fen = ("-" if fen < 0 else ""), abs(fen)
    return f"{sign}{fen // 100}.{fen % 100:02d}"


def _text(profile: Profile, spec: TableSpec, texts: Texts, said: Mapping[str, str]) -> bytes:
    """Header, rows, trailer, encoded."""
    head = _frame(profile, spec, texts, profile.header, said)
    tail = _frame(profile, spec, texts, profile.trailer, said)
    if profile.form == "fixed":
        return head + _fixed(profile, spec, texts) + tail
    if profile.form == "csv":
        names = profile.separator.join(c.name for c in spec.columns) + "\n"
        quoted = [_quoted(texts[c.name], profile.separator) for c in spec.columns]
        body = names + _lines(quoted, profile.separator, False)
    elif profile.form == "jsonl":
        lists = {name: column.to_pylist() for name, column in texts.items()}
        count = len(next(iter(lists.values()))) if lists else 0
        body = "".join(json.dumps({n: v[i] for n, v in lists.items()}, ensure_ascii=False) + "\n" for i in range(count))
    else:
        for c in spec.columns:
            text = texts[c.name]
            if pc.any(pc.or_(pc.match_substring(text, profile.separator), pc.match_substring_regex(text, "[\r\n]"))).as_py():
                raise ValueError(f"{c.name} holds the separator or a line end")
        body = _lines([texts[c.name] for c in spec.columns], profile.separator, profile.separator_after_last)
    data = head + body.encode(CODECS[profile.encoding]) + tail
    return BOM + data if profile.encoding == "utf-8-bom" else data


def _lines(columns: Sequence[pa.Array], separator: str, after_last: bool) -> str:
    if not len(columns[0]):
        return ""
    lines = pc.binary_join_element_wise(*columns, separator)
    end = (separator if after_last else "") + "\n"
    return str(pc.binary_join(pa.ListArray.from_arrays([0, len(lines)], lines), end)[0].as_py()) + end


def _quoted(column: pa.Array, separator: str) -> pa.Array:
    odd = pc.match_substring_regex(column, "[\"\r\n" + ("\\" + separator) + "]")
    if not pc.any(odd).as_py():
        return column
    quoted = pc.binary_join_element_wise('"', pc.replace_substring(column, '"', '""'), '"', "")
    return pc.if_else(odd, quoted, column)


def _fixed(profile: Profile, spec: TableSpec, texts: Texts) -> bytes:
    codec = CODECS[profile.encoding]
    cells = []
    for c in spec.columns:
        number = c.column is not None and c.column.kind in ("fen", "int")
        cells.append([_padded(text, c.width, number, codec) for text in texts[c.name].to_pylist()])
    return b"".join(b"".join(row) + b"\n" for row in zip(*cells, strict=True))


def _padded(text: str, width: int, number: bool, codec: str) -> bytes:
    data = text.encode(codec)
    if len(data) > width:
        raise ValueError(f"{len(data)} bytes do not fit {width}")
    if number and data:
        sign = data[:1] if data[:1] == b"-" else b""
        return sign + data[len(sign) :].rjust(width - len(sign), b"0")
    return data.ljust(width)


def _frame(profile: Profile, spec: TableSpec, texts: Texts, parts: tuple[Part, ...], said: Mapping[str, str]) -> bytes:
    """A header or trailer line; nothing where none is declared."""
    if not parts:
        return b""
    fields: list[tuple[str, int]] = []
    for part in parts:
        if part.text == "{sums}":
            fields += [(_total(profile, c, texts), part.width) for c in spec.amounts]
        else:
            fields.append((said[part.text.strip("{}")] if part.text.startswith("{") else part.text, part.width))
    codec = CODECS[profile.encoding]
    if profile.form == "fixed":
        number = [p.text in ("{rows}", "{sums}") for p in parts for _ in (spec.amounts if p.text == "{sums}" else "x")]
        return b"".join(_padded(t, w, n, codec) for (t, w), n in zip(fields, number, strict=True)) + b"\n"
    end = profile.separator if profile.separator_after_last else ""
    return (profile.separator.join(t for t, _ in fields) + end + "\n").encode(codec)


def _escaped(column: pa.Array) -> pa.Array:
    for char, entity in _XML.items():
        column = pc.replace_substring(column, char, entity)
    return column


def _xml(profile: Profile, spec: TableSpec, texts: Texts, said: Mapping[str, str]) -> bytes:
    form = profile.xml
    assert form is not None
    attributes = " ".join(f'{key}="{said[part]}"' for part, key in form.identity.items())
    pieces: list[Any] = []
    for i, c in enumerate(spec.columns):
        before = f"<{form.row}>" if i == 0 else ""
        pieces += [f"{before}<{c.name}>", _escaped(texts[c.name]), f"</{c.name}>"]
    rows = pc.binary_join_element_wise(*pieces, f"</{form.row}>\n", "").to_pylist() if int(said["rows"]) else []
    sums = "".join(f' {c.name}="{_total(profile, c, texts)}"' for c in spec.amounts)
    totals = f'<{form.totals} {form.rows}="{said["rows"]}"{sums}/>'
    head = f'<?xml version="1.0" encoding="UTF-8"?>\n<{form.root} {attributes}>\n'
    return (head + "".join(rows) + f"{totals}\n</{form.root}>\n").encode()


def _packed(profile: Profile, data: bytes, code: str) -> bytes:
    if profile.container == "gz":
        import gzip

        return gzip.compress(data, mtime=0)
    if profile.container == "zip":
        return _archive({profile.entry.replace("{table}", code): data})
    return data


def _archive(entries: Mapping[str, bytes]) -> bytes:
    out = io.BytesIO()
    with zipfile.ZipFile(out, "w") as archive:
        for name, data in entries.items():
            info = zipfile.ZipInfo(name, (1980, 1, 1, 0, 0, 0))
            info.compress_type = zipfile.ZIP_DEFLATED
            info.external_attr = 0o644 << 16
            archive.writestr(info, data)
    return out.getvalue()


def _zip(profile: Profile, tables: Mapping[str, Texts], said: Mapping[str, str]) -> bytes:
    manifest = profile.manifest
    assert manifest is not None
    lines = [f"{key}={said[part]}" for part, key in manifest.identity.items()]
    entries: dict[str, bytes] = {}
    for code, texts in tables.items():
        spec = profile.tables[code]
        rows = len(texts[spec.columns[0].name])
        lines.append(f"{manifest.mode.replace('{table}', code)}={profile.mode_words[spec.mode]}")
        lines.append(f"{manifest.rows.replace('{table}', code)}={rows}")
        if manifest.sums:
            for c in spec.amounts:
                key = manifest.sums.replace("{table}", code).replace("{column}", c.name)
                lines.append(f"{key}={_total(profile, c, texts)}")
        entries[profile.entry.replace("{table}", code)] = _text(profile, spec, texts, {**said, "table": code})
    return _archive({**entries, manifest.entry: ("\n".join(lines) + "\n").encode(CODECS[manifest.encoding])})


def _workbook(profile: Profile, tables: Mapping[str, Texts], said: Mapping[str, str]) -> bytes:
    book = openpyxl.Workbook(write_only=True)
    cover = book.create_sheet(profile.cover)
    for row in (("中心编号", said["centre"]), ("业务日期", said["date"]), ("批次号", said["sequence"])):
        cover.append(_cells(cover, row))
    for code, texts in tables.items():
        spec = profile.tables[code]
        count = str(len(texts[spec.columns[0].name]))
        sums = [f"{c.name}={_total(profile, c, texts)}" for c in spec.amounts]
        cover.append(_cells(cover, ("表", code, profile.mode_words[spec.mode], count, *sums)))
    for code, texts in tables.items():
        sheet = book.create_sheet(code)
        names = [c.name for c in profile.tables[code].columns]
        sheet.append(_cells(sheet, names))
        for values in zip(*(texts[n].to_pylist() for n in names), strict=True):
            sheet.append(_cells(sheet, values))
    out = io.BytesIO()
    book.save(out)
    return out.getvalue()


def _cells(sheet: Any, values: Sequence[str]) -> list[Any]:
    cells = []
    for value in values:
        cell = WriteOnlyCell(sheet, value or None)
        if value:
            cell.data_type = "s"  # a text that begins with "=" stays a text
        cells.append(cell)
    return cells


def _flag(profile: Profile, flag: FlagFile, spec: TableSpec, texts: Texts, said: Mapping[str, str], path: Path) -> None:
    digest = file_digest(path, flag.algorithm) if flag.digest_key else ""
    data = _flag_text(profile, flag, spec, texts, said, digest).encode(CODECS[flag.encoding])
    path.with_name(path.name + flag.suffix).write_bytes(BOM + data if flag.encoding == "utf-8-bom" else data)


def _flag_text(profile: Profile, flag: FlagFile, spec: TableSpec, texts: Texts, said: Mapping[str, str], digest: str) -> str:
    if flag.form == "pairs":
        lines = [f"{key}={said[part]}" for part, key in flag.identity.items()]
        if flag.sums:
            lines += [f"{flag.sums.replace('{column}', c.name)}={_total(profile, c, texts)}" for c in spec.amounts]
        if flag.digest_key:
            lines.append(f"{flag.digest_key}={digest}")
        return "\n".join(lines) + "\n"
    end = profile.separator if profile.separator_after_last else ""
    rows = [[said[p.text.strip("{}")] if p.text.startswith("{") else p.text for p in flag.first]]
    rows += [[c.name, _total(profile, c, texts)] for c in spec.amounts]
    return "".join(profile.separator.join(row) + end + "\n" for row in rows)


#: The day and the amount in fen of each amount column that samples show.
SAMPLE_DAY, SAMPLE_FEN = date(2026, 9, 14), 50_000_000


def sample(profile: Profile, code: str, digest: str) -> tuple[str, dict[str, str]]:
    """Name of a file of table `code` with one row whose amounts are `SAMPLE_FEN`, and by what they are (``header``, ``trailer``, ``flag``,
    ``digest``) the lines around the row and the companions, as `write` writes them; `digest` stands for the digest."""
    spec = profile.tables[code]
    named = {"date": f"{SAMPLE_DAY:%Y%m%d}", "sequence": "001", "centre": profile.centre_code}
    said = {**named, "table": code, "mode": profile.mode_words[spec.mode], "rows": "1"}
    amount = pa.array([SAMPLE_FEN], pa.int64())
    texts = {c.name: _column(amount, c.column, profile) for c in spec.amounts if c.column is not None}
    name = profile.file_name(code, named["date"], named["sequence"])
    shown = {}
    for part, parts in (("header", profile.header), ("trailer", profile.trailer)):
        if parts:
            shown[part] = _frame(profile, spec, texts, parts, said).decode(CODECS[profile.encoding])
    if profile.flag is not None:
        shown["flag"] = _flag_text(profile, profile.flag, spec, texts, said, digest)
    if profile.digest is not None:
        shown["digest"] = f"{digest}  {name}\n"
    return name, shown


def _digest(profile: Profile, path: Path) -> None:
    if profile.digest is not None:
        text = f"{file_digest(path, profile.digest.algorithm)}  {path.name}\n"
        path.with_name(path.name + profile.digest.suffix).write_text(text, encoding="utf-8")


def file_digest(path: Path, algorithm: str) -> str:
    """SM3 or SHA-256 of a file's bytes, lower-case hexadecimal."""
    data = path.read_bytes()
    if algorithm == "sm3":
        digest = hashes.Hash(hashes.SM3())
        digest.update(data)
        return digest.finalize().hex()
    return hashlib.sha256(data).hexdigest()
