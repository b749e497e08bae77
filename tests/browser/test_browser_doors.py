"""Every route of our pages, walked from the application's own route table: who may not, gets nothing."""

from __future__ import annotations

import hashlib
import io
import re
import zipfile
from typing import Any

import pytest
import sqlalchemy as sa

from subsidy.errors import Finding
from subsidy.ledger import tables
from subsidy.ledger.database import open_database
from subsidy.night import context, desk, recovering, register

pytestmark = pytest.mark.browser
OPEN_TO_ALL_SIGNED_IN = {"/frame.js", "/board", "/months/{month}/archive"}


def _routes() -> list[tuple[str, str]]:
    from subsidy.portal.pages import app

    return sorted((method, route.path) for route in app.routes for method in route.methods if method not in ("HEAD", "OPTIONS"))


def _filled(path: str, centre: str, sha256: str = "0" * 64) -> str:
    values = {
        "centre": centre, "business_date": "2026-09-01", "number": "1", "month": "2026-09", "sha256": sha256, "contract_no": "HT1",
        "dag": f"subsidy_{centre}",
    }  # fmt: skip
    return "/subsidy" + re.sub(r"\{(\w+)\}", lambda found: values[found[1]], path)


def _sent(client: Any, method: str, path: str) -> Any:
    form = {"reason": "x", "agreement_no": "TX1", "amount": "1.00", "answer": "approve", "content_hash": "x"}
    return client.request(method, path, data=form if method == "POST" else None)


def _published(world: Any, kind: str, centre: str = "hangzhou") -> str:
    p = tables.published_file
    query = sa.select(p.c.sha256).where(p.c.centre == centre, p.c.kind == kind).order_by(p.c.path).limit(1)
    with open_database(world.settings).read() as conn:
        return str(conn.execute(query).scalar_one())


def _audited(world: Any) -> list[tuple[str, ...]]:
    a = tables.audit
    with open_database(world.settings).read() as conn:
        return [tuple(r) for r in conn.execute(sa.select(a.c.centre, a.c.person, a.c.act, a.c.subject).order_by(a.c.audit_no))]


def test_the_route_table_is_what_this_walk_knows() -> None:
    assert {path for _, path in _routes()} == {
        "/frame.js", "/board", "/dags/{dag}", "/centres/{centre}/nights/{business_date}", "/centres/{centre}/quarantine",
        "/centres/{centre}/quarantine/{number}/release", "/centres/{centre}/periods/{month}", "/centres/{centre}/periods/{month}/full",
        "/centres/{centre}/periods/{month}/vouchers", "/centres/{centre}/files/{sha256}", "/months/{month}/archive", "/clearing/{month}",
        "/centres/{centre}/why/{contract_no}/{month}", "/centres/{centre}/why", "/centres/{centre}/receivables",
        "/centres/{centre}/receivables/write-off", "/centres/{centre}/receivables/write-off/{number}/answer",
    }  # fmt: skip


def test_an_anonymous_visitor_gets_nothing(world: Any) -> None:
    with world.http() as client:
        for method, path in _routes():
            reply = _sent(client, method, _filled(path, "hangzhou", _published(world, "workbook")))
            assert reply.status_code == 401, (method, path)
            assert "杭州" not in reply.text and "贴息看板" not in reply.text


def test_an_operator_of_another_centre_gets_nothing(world: Any) -> None:
    before = _audited(world)
    with world.http("op_wen") as client:
        for method, path in _routes():
            if path in OPEN_TO_ALL_SIGNED_IN:
                continue
            reply = _sent(client, method, _filled(path, "hangzhou", _published(world, "workbook")))
            assert reply.status_code == 403, (method, path)
            assert "杭州" not in reply.text and "hangzhou" not in reply.text
        board = client.get("/subsidy/board").text
        assert "温州" in board and "杭州" not in board and "hangzhou" not in board
        assert client.get("/subsidy/months/2026-09/archive").status_code == 404  # the own centre has no workbook yet
    assert _audited(world) == before


@pytest.mark.parametrize("centre", ["nowhere", "..", "%2e%2e", "parameters", "*", "hangzhou%00", "HANGZHOU", "hangzhou%2f..%2fwenzhou"])
def test_a_forged_path_gets_nothing(world: Any, centre: str) -> None:
    with world.http("caiwu") as client:
        for method, path in _routes():
            if "{centre}" in path or "{dag}" in path:
                reply = _sent(client, method, _filled(path, centre))
                assert reply.status_code in (403, 404, 405), (method, path, centre)
                assert "元" not in reply.text


def test_ids_that_are_none_get_nothing(world: Any) -> None:
    with world.http("caiwu") as client:
        for path in (
            "files/" + "f" * 64, "files/..%2f..%2fsecrets%2fkeys.json", "files/keys.json", "periods/2026-13", "periods/0000-01",
            "nights/2026-02-30", "nights/1999-01-01", "why/HT-unknown/2026-09", "periods/2020-01/full", "quarantine/999/release",
        ):  # fmt: skip
            reply = client.get(f"/subsidy/centres/hangzhou/{path}")
            assert reply.status_code in (403, 404, 405, 409), path
        assert client.get("/subsidy/dags/~").status_code == 403
        assert client.get("/subsidy/months/2020-01/archive").status_code == 404
        assert client.get("/subsidy/docs").status_code == client.get("/subsidy/openapi.json").status_code == 404


def test_payment_files_and_full_names_need_the_right_personal(world: Any) -> None:
    sha256 = _published(world, "payment")
    with world.http("op_hang") as client:
        page = client.get("/subsidy/centres/hangzhou/periods/2026-09").text
        assert client.get(f"/subsidy/centres/hangzhou/files/{sha256}").status_code == 403
        assert client.get("/subsidy/centres/hangzhou/periods/2026-09/full").status_code == 403
        assert sha256 not in page and "付款文件副本" not in page
        assert client.get("/subsidy/clearing/2026-09").status_code == 403
    with world.http("caiwu") as client:
        reply = client.get(f"/subsidy/centres/hangzhou/files/{sha256}")
        assert hashlib.sha256(reply.content).hexdigest() == sha256
        assert ("hangzhou", "caiwu", "download", f"file:{sha256}") in _audited(world)


def test_a_download_is_recorded_and_marked_with_person_and_time(world: Any) -> None:
    from openpyxl import load_workbook

    sha256 = _published(world, "workbook")
    with world.http("op_hang") as client:
        reply = client.get(f"/subsidy/centres/hangzhou/files/{sha256}")
    assert reply.headers["content-disposition"] == 'attachment; filename="hangzhou-2026-09-V001.xlsx"'
    assert reply.headers["cache-control"] == "no-store"
    book = load_workbook(io.BytesIO(reply.content))
    assert re.search(r"下载人 op_hang　时间 20\d\d-", str(book["封面"]["A2"].value))
    for sheet in book:
        assert "op_hang" in "".join(str(part.text) for part in (sheet.oddFooter.left, sheet.oddFooter.center, sheet.oddFooter.right)), sheet
    assert _audited(world)[-1] == ("hangzhou", "op_hang", "download", f"file:{sha256}")


def test_the_full_workbook_shows_names_and_is_kept_nowhere(world: Any) -> None:
    from openpyxl import load_workbook

    before = sorted(world.settings.home.glob("reports/**/*"))
    with world.http("caiwu") as client:
        full = load_workbook(io.BytesIO(client.get("/subsidy/centres/hangzhou/periods/2026-09/full").content), read_only=True)
        stored = client.get(f"/subsidy/centres/hangzhou/files/{_published(world, 'workbook')}")
        masked = load_workbook(io.BytesIO(stored.content), read_only=True)

    def names(book: Any) -> list[str]:
        rows = list(book["贴息明细"].iter_rows(min_row=3, values_only=True))
        at = rows[0].index("收款户名")
        return [str(row[at]) for row in rows[1:-1] if row[at]]

    assert not any("*" in name for name in names(full)) and all("*" in name for name in names(masked))
    assert sorted(world.settings.home.glob("reports/**/*")) == before
    assert _audited(world)[-2][2:] == ("download", "report:2026-09:full")


def test_all_centres_come_as_one_archive(world: Any) -> None:
    with world.http("caiwu") as client:
        reply = client.get("/subsidy/months/2026-09/archive")
    packed = zipfile.ZipFile(io.BytesIO(reply.content))
    p = tables.published_file
    with open_database(world.settings).read() as conn:
        versions = sa.select(p.c.path).where(p.c.centre == "hangzhou", p.c.kind == "workbook", p.c.path.contains("-2026-09-"))
        newest = str(max(conn.execute(versions).scalars())).rpartition("/")[2]
    assert newest != "hangzhou-2026-09-V001.xlsx"  # the payments were sent since
    assert packed.namelist() == [newest] and packed.testzip() is None


def test_vouchers_balance(world: Any) -> None:
    with world.http("op_hang") as client:
        text = client.get("/subsidy/centres/hangzhou/periods/2026-09/vouchers").content.decode("gb18030")
    end = text.splitlines()[-1].split("|")
    assert end[0] == "#END" and end[2] == end[3] and end[2] != "0.00"


def test_what_people_wrote_is_shown_as_text(world: Any) -> None:
    """A reason, and a name from a file, that try to be HTML or a template."""
    evil = '<script>alert(1)</script>{{7*7}}"onload='
    db, r = open_database(world.settings), tables.run
    with db.read() as conn:
        run_no, day = conn.execute(
            sa.select(r.c.run_no, r.c.business_date).where(r.c.centre == "hangzhou").order_by(r.c.run_no.desc()).limit(1)
        ).one()  # fmt: skip
    run = context.load(world.settings, "hangzhou", run_no).run
    found = Finding("X", "note", evil, evil, field=evil, value=evil, agreement_no=evil)
    with context.working(db, "hangzhou", "test") as token, db.transaction("hangzhou", token) as conn:
        register.add_findings(db, conn, run, "intake", [found])
    with world.http("op_hang") as client:
        page = client.get(f"/subsidy/centres/hangzhou/nights/{day}").text
        assert "<script>alert" not in page and "&lt;script&gt;alert(1)" in page and "{{7*7}}" in page
        assert client.get(f"/subsidy/centres/hangzhou/quarantine?night={evil}").status_code == 404
        assert "<script>alert" not in client.get(f"/subsidy/board?month={evil}").text


def test_release_needs_the_right_a_reason_and_our_own_page(world: Any) -> None:
    waiting = desk.listed(world.settings, "hangzhou")
    number, hard = (next(row["quarantine_no"] for row in waiting if row["soft"] is soft and not row["asked"]) for soft in (True, False))
    path = f"/subsidy/centres/hangzhou/quarantine/{number}/release"
    with world.http("shen_yi") as client:
        assert client.post(path, data={"reason": "x"}).status_code == 403
    with world.http("op_hang") as client:
        assert client.post(path, data={"reason": "x"}, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert client.post(path, data={"reason": "  "}).status_code == 409
        assert client.post(path, data={}).status_code == 404
        assert client.post(path, data={"reason": "与中心核对，无误"}).status_code == 303
        assert client.post(path, data={"reason": "再一次"}).status_code == 409
        refused = client.post(f"/subsidy/centres/hangzhou/quarantine/{hard}/release", data={"reason": "x"})
        assert refused.status_code == 409  # wrong beyond a person's word
        assert "op_hang 已申请" in client.get("/subsidy/centres/hangzhou/quarantine").text
    assert ("hangzhou", "op_hang", "release", f"quarantine:{number}") in _audited(world)


def test_writing_off_takes_two_people_and_both_find_it_inside_airflow(world: Any) -> None:
    def sums(agreement_no: str) -> tuple[int, int]:
        rows = [r for r in recovering.shown(world.settings, "hangzhou")["receivables"] if r["agreement_no"] == agreement_no]
        return rows[0]["receivable_fen"], rows[0]["written_off_fen"]

    page, forms = "/subsidy/centres/hangzhou/receivables", "/subsidy/centres/hangzhou/receivables/write-off"
    agreement_no = recovering.shown(world.settings, "hangzhou")["receivables"][0]["agreement_no"]
    before = sums(agreement_no)
    form = {"agreement_no": agreement_no, "amount": "1.22", "reason": "法院裁定终结执行 <b>"}
    with world.http("op_hang") as asking:
        for wrong, code in (
            ({"amount": "1,22"}, "WRITE-OFF-AMOUNT"), ({"amount": "99999.00"}, "WRITE-OFF-MUCH"), ({"reason": " "}, "WRITE-OFF-REASON"),
        ):  # fmt: skip
            refused = asking.post(forms, data=form | wrong)
            assert refused.status_code == 409 and code in refused.text
        assert asking.post(forms, data=form, headers={"sec-fetch-site": "cross-site"}).status_code == 403
        assert asking.post(forms, data=form).status_code == 303
        text = asking.get(page).text
        assert "没有审批权限" in text and "&lt;b&gt;" in text and "<b>" not in text
        number = re.search(r'data-label="编号">(\d+)</td>', text)
        assert number and sums(agreement_no) == before
        answer = f"{forms}/{number[1]}/answer"
        assert asking.post(answer, data={"answer": "approve", "content_hash": "x"}).status_code == 403
    with world.http("shen_er") as answering:
        assert answering.post(forms, data=form).status_code == 403  # may answer, not ask
        shown = re.search(r'name="content_hash" value="([0-9a-f]+)"', answering.get(page).text)
        assert shown
        stale = answering.post(answer, data={"answer": "approve", "content_hash": "0" * 64})
        assert stale.status_code == 409 and "WRITE-OFF-REFUSED" in stale.text and sums(agreement_no) == before
        done = answering.post(answer, data={"answer": "approve", "content_hash": shown[1]})
        assert done.status_code == 303 and "核销已批准并记账" in answering.get(done.headers["location"]).text
        again = answering.post(answer, data={"answer": "approve", "content_hash": shown[1]})
        assert again.status_code == 409 and "WRITE-OFF-UNKNOWN" in again.text
    assert sums(agreement_no) == (before[0] - 122, before[1] + 122)
    acts = [act[1:] for act in _audited(world) if act[3].startswith("write_off")]
    request = f"write_off_request:{number[1]}"
    assert {("op_hang", "write_off", request), ("shen_er", "refused", request)} <= set(acts)
    assert [who for who, act, _ in acts if act == "approve"] == ["shen_er"]
