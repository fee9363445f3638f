"""Read and write an INI file that people edit: comments, order, owner and mode survive.

cm = ConfigManager("client.cfg")
cm.sensor.path                      the value of `path` in `[sensor]`, as text
cm.monitor.url = "https://..."      sets it, and makes what is missing
cm.save_config()                    writes the same file, atomically
"""

from __future__ import annotations

import configparser
import os
import re
from pathlib import Path
from typing import Any

from configupdater import ConfigUpdater
from configupdater.block import AssignMultilineValueError
from configupdater.parser import Parser as ConfigUpdaterParser

from monagent.config.interpolation import PercentInterpolation, escape
from monagent.durable import sync_directory
from monagent.errors import ConfigError, Problem

_BOM = "\ufeff"
_COMMENT = re.compile(r"\s+;.*$")
_LINE_END = re.compile(r"(\r\n|\n|\r)")
_OPTION_LINE = re.compile(r"(\s*[^\s=:][^=:]*[=:][ \t]*)(?:[^\s;]\S*(?:[ \t]+[^\s;]\S*)*)?((?:\s+;.*)?\s*)")


class _Updater(ConfigUpdater):
    """Reads section headers as configparser does here: what follows `] ;` is a comment, whatever it holds."""

    class _Parser(ConfigUpdaterParser):
        SECTCRE = re.compile(r"\[(?P<header>(?:(?!\s;).)+)\](?P<raw_comment>.*)")

    def _parser(self, **arguments: Any) -> ConfigUpdaterParser:
        return self._Parser(**{**self._parser_opts, **arguments})


class ConfigManager:
    """One configuration file. Not for use by several threads at once."""

    _path: Path
    _raw: str
    _updater: ConfigUpdater
    _parser: configparser.ConfigParser

    def __init__(self, path: str | os.PathLike[str], *, missing_ok: bool = False) -> None:
        """
        Args:
            path: the file.
            missing_ok: take a file that is not there for an empty one.

        Raises:
            ConfigError: the file cannot be read, or is not INI.
        """
        self.__dict__["_path"] = Path(path)
        try:
            text = "" if missing_ok and not self._path.exists() else self._path.read_bytes().decode("utf-8")
        except OSError as error:
            raise ConfigError([self._problem(None, f"cannot be read: {_reason(error)}")]) from error
        except UnicodeDecodeError as error:
            raise ConfigError([self._problem(None, "is not UTF-8 text")]) from error
        self._load(text)

    @property
    def path(self) -> Path:
        """The file."""
        return self._path

    def sections(self) -> list[str]:
        """The sections, in the order of the file."""
        return [str(name) for name in self._updater.sections() if name != configparser.DEFAULTSECT]

    def section(self, name: str) -> Section:
        """A section by its name, for names that are no Python identifiers. It need not exist yet."""
        return Section(self, name)

    def __getattr__(self, name: str) -> Section:
        if name.startswith("__"):
            raise AttributeError(name)
        return Section(self, name)

    def __setattr__(self, name: str, value: object) -> None:
        raise AttributeError(f"a section cannot be assigned; assign an option: {name}.option = value")

    def options(self, section: str) -> list[str]:
        """The options that stand in that section itself."""
        return [str(name) for name in self._updater[section].options()] if section in self.sections() else []

    def value(self, section: str, option: str) -> str | None:
        """A value with its references resolved, or None when the option is not there.

        Raises:
            ConfigError: a reference leads nowhere, or round in a circle.
        """
        if not self._parser.has_option(section, option):
            return None
        try:
            return self._parser.get(section, option)
        except configparser.InterpolationMissingOptionError as error:
            message = f"refers to %({error.reference})s, which is neither in this section nor in [DEFAULT]"
        except configparser.InterpolationError:
            message = "refers to itself"
        raise ConfigError([self._problem(self.line(section, option), message, section, option)])

    def line(self, section: str, option: str = "") -> int | None:
        """The number of the line where the section or option stands, from 1; None when it is nowhere."""
        line = 1
        for block in self._updater.iter_blocks():
            if getattr(block, "name", None) == section:
                if not option:
                    return line
                line += 1
                for inner in self._updater[section].iter_blocks():
                    if getattr(inner, "key", None) == self._parser.optionxform(option):
                        return line
                    line += str(inner).count("\n")
            else:
                line += str(block).count("\n")
        return None

    def set(self, section: str, option: str, value: object) -> None:
        """Set an option; makes the section and the option when they are missing. An end-of-line comment stays.

        Raises:
            ValueError: an INI file cannot hold that value on one line.
        """
        refused = ValueError(f"[{section}] {option} cannot hold {str(value)!r}")
        if "\r" in f"{section}{option}{value}":  # read back from the file it would be the end of a line
            raise refused
        before = self._raw
        for write in (self._edit, self._write):
            try:
                self._load(write(section, option, escape(str(value))))
                if self.value(section, option) == str(value):
                    return
            except (ConfigError, AssignMultilineValueError, LookupError):
                pass
            self._load(before)
        raise refused

    def save_config(self) -> None:
        """Write the file: beside it first, then in its place, so that a crash leaves the old one or the new one.

        Raises:
            OSError: it cannot be written; the old file is untouched.
        """
        path = self._path.resolve()
        status = path.stat()
        # A fixed name: what a crash leaves is overwritten by the next one, and does not pile up.
        name = path.with_name(f".{path.name}.new")
        name.unlink(missing_ok=True)
        descriptor = os.open(name, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        try:
            with open(descriptor, "w", encoding="utf-8", newline="") as file:
                file.write(self._raw)
                os.fchmod(file.fileno(), status.st_mode & 0o7777)
                if (status.st_uid, status.st_gid) != (os.geteuid(), os.getegid()):
                    os.fchown(file.fileno(), status.st_uid, status.st_gid)
                file.flush()
                os.fsync(file.fileno())
            os.replace(name, path)
        except BaseException:
            name.unlink(missing_ok=True)
            raise
        sync_directory(path.parent)

    def _load(self, raw: str) -> None:
        text = raw.removeprefix(_BOM).replace("\r\n", "\n").replace("\r", "\n")
        parser = configparser.ConfigParser(interpolation=PercentInterpolation(), inline_comment_prefixes=(";",))
        updater = _Updater()
        try:
            parser.read_string(text)
            updater.read_string(text)
        except configparser.DuplicateOptionError as error:
            message = f"stands twice in [{error.section}]"
            raise ConfigError([self._problem(error.lineno, message, str(error.section), error.option)]) from error
        except configparser.DuplicateSectionError as error:
            raise ConfigError([self._problem(error.lineno, "stands twice", str(error.section))]) from error
        except configparser.MissingSectionHeaderError as error:
            message = "a section like [sensor] must come before the first option"
            raise ConfigError([self._problem(error.lineno, message)]) from error
        except configparser.ParsingError as error:
            lines = [
                self._problem(line, "is neither a section, nor an option, nor a comment") for line, _ in error.errors
            ]
            raise ConfigError(lines) from error
        self.__dict__["_raw"] = raw
        self.__dict__["_parser"] = parser
        self.__dict__["_updater"] = updater

    def _edit(self, section: str, option: str, text: str) -> str:
        """The file with another value of an option that stands there on one line; not a byte around it differs.

        Raises:
            LookupError: it does not stand there like that.
        """
        lines = _LINE_END.split(self._raw)  # every second one is the end of a line
        index = 2 * ((self.line(section, option) or len(lines)) - 1)
        match = _OPTION_LINE.fullmatch(lines[index])
        if match is None or "\n" in (self.value(section, option) or ""):
            raise LookupError(option)
        lines[index] = f"{match[1]}{text}{match[2]}"
        return "".join(lines)

    def _write(self, section: str, option: str, text: str) -> str:
        """The file with an option that is new, or had several lines."""
        self._change(section, option, text)
        changed = str(self._updater)
        if "\r\n" in self._raw:
            changed = changed.replace("\n", "\r\n")
        return (_BOM if self._raw.startswith(_BOM) else "") + changed

    def _change(self, section: str, option: str, text: str) -> None:
        updater = self._updater
        if not updater.has_section(section):
            if str(updater) and not str(updater).endswith("\n\n"):
                updater.add_section(section)
                updater[section].add_before.space(1)
            else:
                updater.add_section(section)
        if updater.has_option(section, option):
            first = str(updater[section][option]).split("\n", 1)[0]
            comment = _COMMENT.search(first)
            updater[section][option].value = text + (comment[0] if comment else "")
        else:
            updater.set(section, option, text)

    def _problem(self, line: int | None, message: str, section: str = "", option: str = "") -> Problem:
        return Problem(str(self._path), line, section, option, message)


class Section:
    """The options of one section as attributes. Reading never creates anything; assigning creates what is missing."""

    _manager: ConfigManager
    _name: str

    def __init__(self, manager: ConfigManager, name: str) -> None:
        self.__dict__["_manager"] = manager
        self.__dict__["_name"] = name

    def __getattr__(self, option: str) -> str:
        value = self._manager.value(self._name, option)
        if value is None:
            raise AttributeError(f"{self._manager.path}: there is no option {option!r} in section [{self._name}]")
        return value

    def __setattr__(self, option: str, value: Any) -> None:
        self._manager.set(self._name, option, value)


def _reason(error: OSError) -> str:
    if isinstance(error, FileNotFoundError):
        return "there is no such file; monagent init DIR writes one, -c FILE names another"
    return error.strerror or str(error)


def unwritable(path: Path) -> str:
    """Why `save_config()` could not write a file, as far as can be told without trying; empty when it could."""
    directory = path.resolve().parent
    if os.statvfs(directory).f_flag & os.ST_RDONLY:
        return f"{directory} is on a file system that is mounted read-only"
    if not os.access(directory, os.W_OK | os.X_OK):
        return f"the directory {directory} cannot be written by uid {os.geteuid()}"
    return ""
