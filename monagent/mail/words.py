"""The words of the built-in templates, in each language that they speak."""

from __future__ import annotations

from collections.abc import Mapping

DEFAULT = "en"

_TABLE: dict[str, tuple[str, str]] = {
    # word: English, Chinese
    "ok": ("OK", "正常"),
    "warning": ("WARNING", "警告"),
    "critical": ("CRITICAL", "严重"),
    "unknown": ("UNKNOWN", "未知"),
    "value": ("value", "当前值"),
    "warning at": ("warning outside", "警告范围"),
    "critical at": ("critical outside", "严重范围"),
    "since": ("since", "起始时间"),
    "host": ("host", "主机"),
    "sensor": ("sensor", "传感器"),
    "message": ("message", "消息"),
    "no number": ("no number", "无数值"),
    "recent readings": ("Recent readings", "近期读数"),
    "readings told": ("{count} readings, {first} to {last}: lowest {low}, highest {high}, last {now}", "{count} 个读数，{first} 至 {last}：最低 {low}，最高 {high}，最新 {now}"),
    "only failures": ("{count} runs, none gave a number", "{count} 次运行，均无数值"),
    "look at": ("What to look at", "建议检查"),
    "verdict": ("{subject} is {state}", "{subject} 状态：{state}"),
    "verdict with value": ("{subject} is {state}: {value}", "{subject} 状态：{state}，{value}"),
    "on": ("on", "@"),
    "alerts on": ("{count} alerts on {host}", "{host} 上有 {count} 条告警"),
    "advice critical": ("Run the check by hand on the host: {command}", "在主机上手动运行检查：{command}"),
    "advice value": ("Compare the value with the plot: a jump points to an event at that time, a slope to something that grows.", "对照曲线查看数值：突变说明当时发生了事件，缓升说明某项在持续增长。"),
    "advice unknown": ("The check gave no number to trust: see its message above and the agent's log.", "检查没有给出可信的数值：请查看上面的消息和代理日志。"),
    "advice ok": ("Nothing needs to be done. The plot shows how long it lasted.", "无需处理。曲线显示了持续时间。"),
    "more alerts": ("{count} more are in the attached table {file}", "其余 {count} 条见附件 {file}"),
    "report": ("Report", "报告"),
    "period": ("period", "时段"),
    "all well": ("All {count} checks were well", "全部 {count} 项检查正常"),
    "not well": ("{bad} of {count} checks had failures", "{count} 项检查中有 {bad} 项出现失败"),
    "no checks": ("No readings in this period", "本时段没有读数"),
    "numbers": ("In numbers", "主要数据"),
    "sensors": ("Checks, worst first", "检查项（最差的在前）"),
    "last": ("last", "最新"),
    "min": ("min", "最小"),
    "mean": ("mean", "平均"),
    "max": ("max", "最大"),
    "median": ("median", "中位数"),
    "p95": ("95 %", "95 %"),
    "p99": ("99 %", "99 %"),
    "availability": ("availability", "可用率"),
    "failures": ("failures", "失败"),
    "of": ("{part} of {all}", "{part} / {all}"),
    "more rows": ("The first {shown} of {count} rows; all are in the attached {file}.", "显示 {count} 行中的前 {shown} 行；全部内容见附件 {file}。"),
    "backup": ("Backup", "备份"),
    "backup good": ("the backup holds what the source holds", "备份与源一致"),
    "backup bad": ("the backup does not hold what the source holds", "备份与源不一致"),
    "result": ("result", "结果"),
    "source": ("source", "源"),
    "target": ("backup", "备份目录"),
    "started": ("started", "开始"),
    "took": ("took", "耗时"),
    "holds": ("holds", "内容"),
    "entries": ("{count} entries, {size}", "{count} 个条目，{size}"),
    "copied": ("copied", "已复制"),
    "last success": ("last success", "上次成功"),
    "last full proof": ("last full proof", "上次完整校验"),
    "days ago": ("{when}, {count} days ago", "{when}，{count} 天前"),
    "hours ago": ("{when}, {count} h ago", "{when}，{count} 小时前"),
    "never": ("never", "从未"),
    "compared": ("Compared", "比较"),
    "done": ("Found and done", "已处理"),
    "left": ("Left", "遗留"),
    "not kept": ("Metadata that could not be kept", "未能保留的元数据"),
    "differences": ("First items", "首批条目"),
    "warnings": ("Warnings", "警告"),
    "sent by": ("Sent by monagent on {host}, {made}. Report \u201c{report}\u201d of its client.cfg.", "由 {host} 上的 monagent 于 {made} 发送。报告\u201c{report}\u201d（client.cfg）。"),
    "left out": ("The attachments were left out: they were too large for the mail server.", "附件过大，邮件服务器不接受，已省略。"),
    "held back": ("{count} mails were held back since the last one: the cap was reached.", "自上一封以来有 {count} 封邮件因达到上限而未发送。"),
    "was": ("it was {state} since {time}", "此前状态：{state}，始于 {time}"),
    "flapping": ("changes its state all the time", "状态反复变化"),
    "seconds": ("{count} s", "{count} 秒"),
}  # fmt: skip

LANGUAGES = (DEFAULT, "zh")


def words(language: str) -> Mapping[str, str]:
    """Every word in a language of `LANGUAGES`."""
    column = LANGUAGES.index(language)
    return {word: row[column] for word, row in _TABLE.items()}
