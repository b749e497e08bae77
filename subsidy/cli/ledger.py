"""``subsidy ledger …``, ``backup``, ``restore``: prove the ledger, copy it, bring it back, and let publication go after that."""

from __future__ import annotations

import argparse
import getpass
import json
import sys
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import Any

from subsidy.clearing import publish
from subsidy.cli import arguments
from subsidy.cli.named import settings_of
from subsidy.errors import Finding
from subsidy.ledger import chain, restore, write_off_desk
from subsidy.ledger.backup import backup, centres
from subsidy.ledger.database import Database, open_database
from subsidy.ledger.verify import verify, verify_audit
from subsidy.money.amounts import format_yuan, parse_yuan
from subsidy.night import context, recovering
from subsidy.night.clock import stamp
from subsidy.policy import centre_names
from subsidy.settings import load_settings

DONE, FOUND, WAITING = 0, 1, 5
AUDIT = ""


def register(subparsers: Any) -> None:
    """Add the commands of this module."""
    ledger = subparsers.add_parser("ledger", help="账簿：核验、恢复后的核对与解锁")
    commands = ledger.add_subparsers(title="命令", metavar="命令", required=True)

    check = _command(commands, "verify", "核验账簿：手册第 8 节的各项不变量，指出不符之处", _verify)
    check.add_argument("--centre", help="中心目录名；不写则核验全部中心")
    check.add_argument("--full", action="store_true", help="核验全部历史（默认）；与 --run 相对")
    check.add_argument("--run", type=arguments.number, dest="run_no", help="只核验该运行涉及的部分和一部分历史")

    pending = _command(commands, "pending", "恢复之后：列出尚未核对的批次号，并按已有记录自动核对", _pending)
    pending.add_argument("--centre", required=True, help="中心目录名")
    _person(pending)

    match = _command(commands, "match", "恢复之后：写明一个批次号的去向", _match)
    match.add_argument("--centre", required=True, help="中心目录名")
    match.add_argument("--batch", type=arguments.number, required=True, help="批次号")
    match.add_argument(
        "--how", choices=restore.HOW, required=True, help="outbox 已发布 result 有回盘 statement 对账单 asked 已查询 unused 未发送"
    )
    match.add_argument("--evidence", required=True, help="依据：文件名、流水号或查询答复")
    _person(match)

    release = _command(commands, "unlock", "恢复之后：全部核对完，解除发布锁定", _release)
    release.add_argument("--centre", required=True, help="中心目录名")
    release.add_argument("--through", type=arguments.day, required=True, help="出事前最后运行过的营业日期，YYYY-MM-DD")
    release.add_argument("--reason", required=True, help="核对的依据")
    _person(release)

    ask = _command(commands, "write-off", "申请核销一笔应收；由另一人在页面上批准", _write_off)
    ask.add_argument("--centre", required=True, help="中心目录名")
    ask.add_argument("--agreement", required=True, help="协议编号")
    ask.add_argument("--amount", required=True, help="金额，元，如 1234.56")
    ask.add_argument("--reason", required=True, help="核销原因")
    _person(ask)

    asked = _command(commands, "write-offs", "列出等待批准的核销申请", _write_offs)
    asked.add_argument("--centre", required=True, help="中心目录名")

    out = _command(subparsers, "backup", "备份账簿，并登记存储的清单", _backup)
    out.add_argument("to", type=Path, metavar="TO", help="备份目录，不得已存在")

    back = _command(subparsers, "restore", "把备份恢复到空的数据库，并锁定全部中心的发布", _restore)
    back.add_argument("source", type=Path, metavar="FROM", help="备份目录")
    _person(back)


def _command(subparsers: Any, name: str, text: str, run: Callable[[argparse.Namespace], int]) -> argparse.ArgumentParser:
    parser: argparse.ArgumentParser = subparsers.add_parser(name, help=text, description=text)
    parser.add_argument("--json", action="store_true", help="输出 JSON")
    parser.set_defaults(run=run)
    return parser


def _person(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("--person", help="操作人，记入操作记录（默认：登录用户）")


def _who(args: argparse.Namespace) -> str:
    return args.person or f"shell:{getpass.getuser()}"


def _say(args: argparse.Namespace, data: dict[str, Any], *sentences: str) -> None:
    print(json.dumps(data, ensure_ascii=False, default=str) if args.json else "\n".join(sentences))


def _verify(args: argparse.Namespace) -> int:
    db = open_database(settings_of(args))
    with db.read() as conn:
        names = [args.centre] if args.centre else centres(conn)
        if args.run_no is not None:
            names = context.with_run(conn, names, args.run_no)
    found: dict[str, list[Finding]] = {}
    for number, centre in enumerate(names, 1):
        if not args.json:
            print(f"[{number}/{len(names)}] 核验 {centre} …", file=sys.stderr)
        found[centre] = verify(db, centre, run_no=None if args.full else args.run_no)
    found[AUDIT] = verify_audit(db)
    with db.read() as conn:
        heads = {centre: chain.journal_head(conn, centre) for centre in names}
    total = sum(map(len, found.values()))
    lines = [f"{centre}：{'通过' if not found[centre] else f'{len(found[centre])} 项不符'}，凭证链头 {heads[centre]}" for centre in names]
    lines.append(f"操作记录：{'通过' if not found[AUDIT] else f'{len(found[AUDIT])} 项不符'}")
    lines += [f"[{f.code}] {centre} {f.agreement_no} {f.serial_no} {f.what} {f.todo}" for centre, of in found.items() for f in of]
    _say(args, {"findings": {c: [asdict(f) for f in of] for c, of in found.items()}, "heads": heads}, *lines)
    return FOUND if total else DONE


def _backup(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    made = backup(open_database(settings), settings.store_url, args.to, stamp())
    rows = sum(made.rows.values())
    _say(
        args,
        {"folder": str(args.to), "content_hash": made.content_hash, "rows": rows, "store_objects": made.store_objects},
        f"已备份到 {args.to}：{len(made.rows)} 张表 {rows} 行，存储清单 {made.store_objects} 个对象。",
        f"内容哈希 {made.content_hash}",
        "不含存储中的文件：存储（SUBSIDY_STORE_URL）、收件、发件、回盘、报表、规则和密钥要另外复制，之后这份备份才可用。",
    )
    return DONE


def _restore(args: argparse.Namespace) -> int:
    settings = load_settings()
    db = Database(settings.database_url)
    done = restore.restore(db, settings.store_url, args.source, person=_who(args), at=stamp(), known_centres=centre_names(settings.rules))
    with db.read() as conn:
        names = centres(conn)
    broken = [finding for centre in names for finding in verify(db, centre)] + verify_audit(db)
    _say(
        args,
        {"content_hash": done.content_hash, "rows": sum(done.rows.values()), "locked": names, "broken": [asdict(f) for f in broken]},
        f"已恢复 {sum(done.rows.values())} 行，内容哈希 {done.content_hash}。",
        f"已锁定发布：{'、'.join(names)}。",
        "下一步：核对备份时没有发布的批次（subsidy ledger pending、match）；从原始文件重跑备份之后的各夜，核对其余批次号；"
        "再由负责人解锁（subsidy ledger unlock）。",
        *(f"[{f.code}] {f.what} {f.todo}" for f in broken),
    )
    return FOUND if broken else DONE


def _pending(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    with open_database(settings).transaction_system() as conn:
        matched = restore.match_known(conn, args.centre, settings.store_url, settings.outbox(args.centre), person=_who(args), at=stamp())
        waiting = restore.pending(conn, args.centre)
        why = restore.locked(conn, args.centre)
    _say(
        args,
        {"locked": why, "matched": matched, "pending": waiting},
        why or f"{args.centre} 的发布没有锁定。",
        f"已按记录核对：{'、'.join(f'{n}（{how}）' for n, how in matched.items()) or '无'}",
        f"尚未核对：{'、'.join(map(str, waiting)) or '无'}",
    )
    return FOUND if waiting else DONE


def _match(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    where: dict[str, Any] = {"store_url": settings.store_url, "outbox": settings.outbox(args.centre), "person": _who(args), "at": stamp()}
    with open_database(settings).transaction_system() as conn:
        restore.match(conn, args.centre, args.batch, args.how, args.evidence, **where)
        waiting = restore.pending(conn, args.centre)
    _say(args, {"pending": waiting}, f"批次 {args.batch} 已核对。尚未核对：{'、'.join(map(str, waiting)) or '无'}")
    return DONE


def _release(args: argparse.Namespace) -> int:
    settings = settings_of(args)
    with open_database(settings).transaction_system() as conn:
        strangers = publish.unknown_files(conn, settings, args.centre)
        restore.release(
            conn, args.centre, person=_who(args), reason=args.reason, at=stamp(), replayed_through=args.through, strangers=strangers
        )
    _say(args, {"centre": args.centre, "locked": ""}, f"{args.centre} 可以发布了。")
    return DONE


def _write_off(args: argparse.Namespace) -> int:
    number = recovering.ask(settings_of(args), args.centre, args.agreement, args.amount, _who(args), args.reason)
    _say(args, {"request_no": number, "amount_fen": parse_yuan(args.amount)}, f"核销申请 {number} 已提交，等待另一人批准。")
    return WAITING


def _write_offs(args: argparse.Namespace) -> int:
    with open_database(settings_of(args)).read() as conn:
        rows = write_off_desk.waiting(conn, args.centre)
    lines = [f"{r['request_no']}  {r['agreement_no']}  {format_yuan(r['amount_fen'])} 元  {r['person']}  {r['reason']}" for r in rows]
    _say(args, {"waiting": rows}, *(lines or ["没有等待批准的核销申请。"]))
    return WAITING if rows else DONE
