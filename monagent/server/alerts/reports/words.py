"""The words of quality reports, beside those of the mail templates."""
# ruff: noqa: RUF001 - that is how Chinese is written

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache

from monagent.mail import words as of_mails

_TABLE: dict[str, tuple[str, str]] = {
    # word: English, Chinese
    "daily": ("Daily quality report", "每日质量报告"),
    "weekly": ("Weekly quality report", "每周质量报告"),
    "monthly": ("Monthly quality report", "每月质量报告"),
    "went well": ("all {count} checks went well, availability {availability}", "{count} 项检查全部正常，可用率 {availability}"),
    "went not well": ("{bad} of {count} checks had trouble, availability {availability}", "{count} 项检查中有 {bad} 项出现问题，可用率 {availability}"),
    "nothing": ("no readings in this period", "本时段没有读数"),
    "hosts": ("hosts", "主机"),
    "checks": ("checks", "检查项"),
    "readings": ("readings", "读数"),
    "without trust": ("{count}, of which {bad} were missing or critical", "{count}，其中 {bad} 个缺失或严重"),
    "incidents": ("incidents", "事件"),
    "in all": ("{count}, {length} in all", "{count}，共计 {length}"),
    "open": ("not over at the end", "期末仍未结束"),
    "silent hosts": ("silent hosts", "静默主机"),
    "were silent": ("Hosts that handed in nothing", "未上报数据的主机"),
    "silent": ("silent", "静默"),
    "stale": ("overdue", "逾期"),
    "times": ("times", "次数"),
    "lasted": ("lasted", "持续"),
    "incidents longest": ("Incidents, by how long they lasted within the period", "事件（按本时段内持续时间排列）"),
    "mute": ("Checks without a single reading", "没有任何读数的检查项"),
    "check": ("check", "检查项"),
    "whole host": ("whole host", "整台主机"),
    "worst": ("worst", "最差"),
    "plot": ("means of {length}; lowest reading {low}, highest {high}", "每 {length} 平均值；最低读数 {low}，最高 {high}"),
    "no plot": ("no number in this period", "本时段没有数值"),
    "all in file": ("The figures of all checks are in the attached {file}.", "全部检查项的数据见附件 {file}。"),
}  # fmt: skip


@lru_cache(maxsize=4)
def words(language: str) -> Mapping[str, str]:
    """Every word of the templates, and ours, in a language of `mail.words.LANGUAGES`."""
    column = of_mails.LANGUAGES.index(language)
    return {**of_mails.words(language), **{word: row[column] for word, row in _TABLE.items()}}
