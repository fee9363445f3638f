"""The words that only the server's notifications need, beside those of the mail templates."""
# ruff: noqa: RUF001 - that is how Chinese is written

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from monagent.mail import words as of_mails

_TABLE: dict[str, tuple[str, str]] = {
    # word: English, Chinese
    "sent by": ("Sent by the monitoring server {host}, {made}, by its rule “{report}”.", "由监控服务器 {host} 于 {made} 按规则“{report}”发送。"),
    "report sent by": ("Sent by the monitoring server {host}, {made}: report “{report}”.", "由监控服务器 {host} 于 {made} 发送：报告“{report}”。"),
    "settled": ("it does not flap any more", "状态已稳定"),
    "test": ("this is a test: nothing is wrong", "这是一条测试通知：一切正常"),
    "digest": ("{count} notifications", "{count} 条通知"),
    "more": ("and {count} more", "另有 {count} 条"),
    "check": ("check", "检查项"),
    "state": ("state", "状态"),
    "notifications": ("What changed, worst first", "变化（最严重的在前）"),
}  # fmt: skip


@lru_cache(maxsize=4)
def words(language: str) -> Mapping[str, str]:
    """Every word of the templates, and ours, in a language of `mail.words.LANGUAGES`."""
    column = of_mails.LANGUAGES.index(language)
    return {**of_mails.words(language), **{word: row[column] for word, row in _TABLE.items()}}
