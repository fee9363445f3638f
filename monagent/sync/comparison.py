"""The entries of one directory: what is to be done with each, and what became of it."""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable, Iterable
from typing import NamedTuple

from monagent.sync import settled
from monagent.sync.crew import Crew, Wanted
from monagent.sync.files import failure
from monagent.sync.links import Links
from monagent.sync.manifest import NO_TAG, YOUNG, Known
from monagent.sync.means import Means
from monagent.sync.metadata import Rights
from monagent.sync.others import Others
from monagent.sync.place import Place
from monagent.sync.scan import Listing, join, look_at, unpacked
from monagent.sync.settled import Settled

BATCH_FILES, BATCH_BYTES = 128, 32 * 1024 * 1024
"""What is handed to a worker at once."""
_UNSETTLED = (settled.FAILED, settled.UNSTABLE, settled.VANISHED, settled.DIFFERS)
_UNCHANGED = (settled.FAILED, settled.UNSTABLE, settled.DIFFERS, settled.METADATA_DIFFERS)
_FORMAT, _DIRECTORY, _REGULAR = 0o170000, stat.S_IFDIR, stat.S_IFREG


class _Entry(NamedTuple):
    """A name in the source, its status, that of its copy, and what is remembered of both."""

    name: str
    seen: os.stat_result
    copy: os.stat_result | None
    known: Known | None

    @property
    def kind(self) -> int:
        """What it is: the type in the source's mode."""
        return self.seen.st_mode & _FORMAT


class Comparison:
    """Compares directories, one after the other, and has their files settled."""

    def __init__(self, means: Means, place_of: Callable[[str], Place], on_done: Callable[[Place, int], None]) -> None:
        """
        Args:
            means: what the run works with.
            place_of: the place of a path, while it is under way.
            on_done: told when so many entries of a place are done.
        """
        self._means = means
        self._manifest = means.manifest
        self._view = means.view
        self._files = means.files
        self._ledger = means.ledger
        self._rules = means.rules
        self._place_of = place_of
        self._on_done = on_done
        change, temporary = means.rules.change, means.files.temporary
        self._others = Others(change=change, kept=means.kept, temporary=temporary)
        self._links = Links(means.roots, change=change, kept=means.kept, temporary=temporary)
        self._rights = Rights.ours()
        self.crew = Crew(means.roots, means.files, means.meter, self.settled)
        self.extras: list[tuple[str, str, int]] = []

    def begin_round(self) -> None:
        """Another look at everything."""
        self._links.begin()
        self.extras = []

    def compare(self, place: Place, there: Listing, here: Listing) -> None:
        """Judge every entry; what is not a file's is done at once, files are handed out."""
        remembered = place.remembered = place.page.entries() if place.page else {}
        place.entries = {}
        copies = here.as_dict()
        wanted: list[Wanted] = []
        unmoved = fresh = found = 0
        marks = dict(zip(here.names, unpacked(here.marks()), strict=True))
        for name, seen, mark in zip(there.names, there.statuses, unpacked(there.marks()), strict=True):
            copy, known = copies.pop(name, None), remembered.get(name)
            kind = seen.st_mode & _FORMAT
            is_known = known is not None and known.source == mark and known.target == marks.get(name)
            if known is not None and is_known and kind != _DIRECTORY and not self._is_read_again(known, kind):
                self._leave(place, name, seen, copy, known)
                unmoved += 1
            elif kind == _DIRECTORY and copy is not None and copy.st_mode & _FORMAT == _DIRECTORY:
                place.directories.append(name)
                found += 1
                if known is None or not is_known or known.flags & self._means.read_again:
                    place.moved.add(name)
            elif copy is None and known is None and kind == _REGULAR and seen.st_nlink == 1 and place.allowed:
                wanted.append(Wanted(name, seen.st_size, fresh=True))
                fresh += 1
            elif one := self._judge(place, _Entry(name, seen, copy, known)):
                wanted.append(one)
        self._ledger.tally.count(settled.SAME, unmoved)
        if self._ledger.is_first_round:
            self._ledger.tally.words["common"] += unmoved + found
            self._ledger.tally.words["left_only"] += fresh
        for name, status in copies.items():
            self._extra(place, name, status)
        for name in remembered.keys() - set(there.names):
            self._manifest.forget(join(place.path, name))
        self._hand_out(place, wanted)

    def _leave(self, place: Place, name: str, seen: os.stat_result, copy: os.stat_result | None, known: Known) -> None:
        """It is as it was; other names of the same file may not be."""
        assert place.entries is not None
        place.entries[name] = known
        if seen.st_nlink > 1 and copy is not None and stat.S_ISREG(seen.st_mode):
            self._links.learn(seen, place.path, name, copy, known.tag)

    def _is_read_again(self, known: Known, kind: int) -> bool:
        return bool(known.flags & self._means.read_again) or (self._rules.full and kind == _REGULAR)

    def _judge(self, place: Place, entry: _Entry) -> Wanted | None:
        """What is to be done with an entry that is not known to be equal; what is not a file's is done at once."""
        assert place.entries is not None
        name, seen, copy, known = entry
        if self._ledger.is_first_round:
            self._ledger.tally.words["left_only" if copy is None else "common"] += 1
        if copy is None and not self._rules.change:
            place.changed = True
            if known is not None:
                place.entries[name] = known  # the source has it as before; it is the copy that is gone
            count = self._view.count_below(place.source, name, seen)
            self._ledger.note(Settled(name, settled.MISSING, f"with {count} below it" if count else ""), place.path)
            return None
        if self._rules.change and not place.allowed:
            self.allow(place)
        if copy is not None and copy.st_mode & _FORMAT != entry.kind:
            if not self._give_room(place, name, seen):
                return None
            entry = entry._replace(copy=None)
        if known is not None:
            place.entries[name] = known  # until more is known
        return self._begin(place, entry)

    def _begin(self, place: Place, entry: _Entry) -> Wanted | None:
        name, seen, copy, known = entry
        if entry.kind == _DIRECTORY:
            self._make_directory(place, name)
        elif entry.kind != _REGULAR:
            self._take(place, self._others.settle(place.source, place.target, place.path, name, seen))
        elif seen.st_nlink > 1:
            self._take(place, self._linked(place, entry))
        elif copy is not None and not self._is_other_content(seen, copy):
            return Wanted(name, seen.st_size if self._rules.contents else 0, known, look=True)
        elif self._rules.change:
            return Wanted(name, seen.st_size, known)
        else:
            self._take(place, Settled(name, settled.DIFFERS, _how(seen, copy)))
        return None

    def _is_other_content(self, seen: os.stat_result, copy: os.stat_result) -> bool:
        """Whether it is plain without a look at the contents that they differ."""
        return seen.st_size != copy.st_size or (not self._rules.contents and seen.st_mtime_ns != copy.st_mtime_ns)

    def _linked(self, place: Place, entry: _Entry) -> Settled:
        """A file with several names: the first one is settled like any other, the others become links to it."""
        name, seen, copy, known = entry
        is_other_name = self._links.knows(seen)
        if is_other_name:
            linked = self._links.settle(place.target, place.path, name, seen, copy)
            if linked is not None:
                return linked
        look = copy is not None and not self._is_other_content(seen, copy)
        if copy is not None and not look and not self._rules.change:
            return Settled(name, settled.DIFFERS, _how(seen, copy))
        done = self._files.settle(place.source, place.target, place.path, name, known, look=look)
        there = look_at(place.target, name)
        if there is not None and done.action not in _UNSETTLED:
            if is_other_name:
                return done._replace(lost=(*done.lost, "hard link"))
            self._links.learn(seen, place.path, name, there, done.known.tag if done.known else NO_TAG)
        if done.action in settled.CHANGES:
            self._ledger.look_at_all_again()  # its other names may have been passed already
        return done

    def _make_directory(self, place: Place, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=place.target)
        except OSError as error:
            self._ledger.note(Settled(name, settled.FAILED, failure(error)), place.path)
            return
        place.changed = True
        place.made.add(name)
        place.moved.add(name)
        place.directories.append(name)
        self._ledger.note(Settled(name, settled.MADE), place.path)

    def _give_room(self, place: Place, name: str, seen: os.stat_result) -> bool:
        """Put what is of another type than the source's out of the way; False when there is nothing more to do."""
        what = f"another type: a {_type(seen)} in the source"
        if not self._rules.change:
            self._ledger.note(Settled(name, settled.DIFFERS, what), place.path)
            return False
        if problem := self._why_it_stays(place, name):
            self._ledger.note(Settled(name, settled.DIFFERS, f"{what}; {problem}"), place.path)
            place.disorder = True
            return False
        try:
            self._means.kept.move(place.target, place.path, name)
        except OSError as error:
            self._ledger.note(Settled(name, settled.FAILED, f"{what}; {failure(error)}"), place.path)
            return False
        place.changed = True
        self._manifest.forget(join(place.path, name))
        self._ledger.note(Settled(name, settled.REPLACED, what), place.path)
        return True

    def _why_it_stays(self, place: Place, name: str) -> str:
        """Why a directory of the target does not give way to something else; empty when it does."""
        status = look_at(place.target, name)
        count = self._view.count_below(place.target, name, status) if status else 0
        if not status or not count:
            return ""
        if not self._means.delete:
            return f"the directory in the backup, with {count} below it, stays: delete = no"
        if self._view.holds_excluded(place.target, place.path, name, status):
            return "the directory in the backup holds what is excluded"
        return self._means.too_many(count)

    def _extra(self, place: Place, name: str, status: os.stat_result) -> None:
        """Something that only the target has."""
        count = 1 + self._view.count_below(place.target, name, status)
        if self._ledger.is_first_round:
            self._ledger.tally.words["right_only"] += 1
            self._ledger.tally.there += count - 1
        place.has_extras = True
        stays = self._means.delete and self._view.holds_excluded(place.target, place.path, name, status)
        if not stays:
            self.extras.append((place.path, name, count))
        place.changed |= not self._rules.change
        if self._ledger.is_first_round and (stays or not self._means.delete):
            detail = f"with {count - 1} below it" if count > 1 else ""
            self._ledger.note(
                Settled(name, settled.EXTRA, "it holds what is excluded" if stays else detail), place.path
            )

    def allow(self, place: Place) -> None:
        """The target is about to be changed in this directory."""
        place.allowed = True
        self._means.before_change()
        mode = os.fstat(place.target).st_mode
        if mode & 0o700 != 0o700 and not self._rights.root:
            with contextlib.suppress(OSError):  # it is not ours; each entry will say so
                os.fchmod(place.target, 0o700 | (mode & 0o7777))
                place.changed = True

    def _hand_out(self, place: Place, wanted: list[Wanted]) -> None:
        for batch in _batches(wanted):
            place.pending += len(batch)
            self.crew.do(place.path, place.source, place.target, batch)

    def settled(self, path: str, done: list[Settled]) -> None:
        """Files of a directory are settled."""
        place = self._place_of(path)
        copied: list[Settled] = []
        for one in done:
            if one.action == settled.COPIED and one.known is not None and not one.lost and place.entries is not None:
                place.entries[one.name] = one.known
                place.changed = True
                copied.append(one)
            else:
                self._take(place, one)
        self._ledger.copied(path, copied)
        self._on_done(place, len(done))

    def _take(self, place: Place, one: Settled) -> None:
        """Note what became of an entry."""
        assert place.entries is not None
        known = one.known or (place.entries.get(one.name) if one.action in _UNCHANGED else None)
        if one.action in (settled.DIFFERS, settled.METADATA_DIFFERS) and known is not None:
            known = known._replace(
                flags=known.flags | YOUNG
            )  # the next sync looks at it, though no mark may have moved
        if known is not None:
            place.entries[one.name] = known
        else:
            place.entries.pop(one.name, None)
        if one.action in settled.CHANGES:
            place.changed = True
            self._ledger.touch(place.path, [one.name])
        self._ledger.note(one, place.path)


def _batches(wanted: list[Wanted]) -> Iterable[list[Wanted]]:
    batch: list[Wanted] = []
    size = 0
    for one in wanted:
        batch.append(one)
        size += one.size
        if len(batch) >= BATCH_FILES or size >= BATCH_BYTES:
            yield batch
            batch, size = [], 0
    if batch:
        yield batch


def _how(seen: os.stat_result, copy: os.stat_result | None) -> str:
    if copy is not None and seen.st_size != copy.st_size:
        return f"{seen.st_size} bytes in the source, {copy.st_size} in the copy"
    return "time"


def _type(status: os.stat_result) -> str:
    names = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
    return names.get(stat.S_IFMT(status.st_mode), "special file")
