"""Tells people by webhook and mail that a night is not finished by its deadline. Runs in Airflow's triggerer."""

from __future__ import annotations

import asyncio
import smtplib
from dataclasses import asdict
from email.message import EmailMessage
from typing import Any

import httpx
from airflow.sdk import BaseNotifier

from subsidy.errors import Message
from subsidy.portal import config
from subsidy.settings import load_settings


class NightIsLate(BaseNotifier):  # type: ignore[misc]
    """Posts one JSON message to ``SUBSIDY_WEBHOOK_URL`` and sends one mail to ``SUBSIDY_MAIL_TO``; without both it only writes the log.

    `centre` and `name` say whose night, `deadline` is the Chinese text of the deadline. Fails, and is shown by Airflow as failed,
    when a receiver cannot be reached or does not take the message within ten seconds.
    """

    template_fields = ("centre", "name", "deadline")

    def __init__(self, centre: str, name: str, deadline: str, context: Any = None) -> None:
        super().__init__(context=context)
        self.centre = centre
        self.name = name
        self.deadline = deadline

    def message(self, context: Any) -> Message:
        """What people read."""
        run_id = ((context or {}).get("dag_run") or {}).get("run_id", "")
        return Message(
            "NIGHT-LATE", f"{self.name}的夜间批处理到{self.deadline}仍未完成（运行 {run_id or '未知'}）。",
            "已入账的数据不受影响；没有自动付款。", "在 Airflow 打开该流程，查看失败或等待的任务及其提示。",
        )

    async def async_notify(self, context: Any) -> None:
        message = self.message(context)
        self.log.warning("%s", message)
        post = config.mail()
        if post is not None:
            await asyncio.to_thread(_send, mail(message, post), post)
        address = load_settings().webhook_url
        if not address:
            return
        body = {"centre": self.centre, "text": str(message), **asdict(message)}
        transport = httpx.AsyncHTTPTransport(retries=2)
        async with httpx.AsyncClient(transport=transport, timeout=10) as client:
            (await client.post(address, json=body)).raise_for_status()


def mail(message: Message, post: config.Mail) -> EmailMessage:
    """A message as a mail: code and what happened in the subject, the four parts in the text."""
    letter = EmailMessage()
    letter["Subject"] = f"[{message.code}] {message.what}"
    letter["From"], letter["To"] = post.sender, ", ".join(post.receivers)
    letter.set_content(f"代码：{message.code}\n发生了什么：{message.what}\n安全情况：{message.safe}\n处理办法：{message.todo}\n")
    return letter


def _send(letter: EmailMessage, post: config.Mail) -> None:
    with smtplib.SMTP(post.host, post.port, timeout=10) as server:
        server.send_message(letter)
