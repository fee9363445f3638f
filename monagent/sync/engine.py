"""One run: go through both trees, settle what is not equal, and look again until nothing is left.

Each directory is a `Place` while something in it is under way. It is closed, from the leaves up, once its files and
its directories are done: then its own metadata is put in order and what is known of its entries is remembered.
"""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Callable, Iterable

from monagent.durable import sync_file_system
from monagent.sync import settled
from monagent.sync.bins import Bin
from monagent.sync.crew import Crew, Wanted
from monagent.sync.files import Files, failure
from monagent.sync.job import CONTENT, FULL_CHECK, SYNC, SyncJob
from monagent.sync.links import Links
from monagent.sync.manifest import INCOMPLETE, READ_AGAIN, UNREAD, YOUNG, Known, Manifest, Page, joined
from monagent.sync.metadata import Rights, attributes, differences, give
from monagent.sync.others import Others
from monagent.sync.paths import open_below, open_child
from monagent.sync.place import Place
from monagent.sync.scan import Listing, is_young, join, look_at, mark_of, read_directory, read_names, unpacked
from monagent.sync.settled import Settled
from monagent.sync.tally import Items, Tally
from monagent.sync.view import View

ROUNDS = 3
BATCH_FILES, BATCH_BYTES = 128, 32 * 1024 * 1024
"""What is handed to a worker at once."""
TOUCHES = 20_000
"""Changes of a round that are remembered one by one; with more everything is gone through again."""
COMMIT_SECONDS = 30.0
"""How much work a crash may cost: after that long, what was copied is brought to its disk and remembered."""
_FORMAT, _DIRECTORY, _REGULAR = 0o170000, stat.S_IFDIR, stat.S_IFREG


class Engine:
    """Runs once."""

    def __init__(
        self,
        job: SyncJob,
        mode: str,
        roots: tuple[int, int],
        manifest: Manifest,
        view: View,
        crew: Callable[[Callable[[str, list[Settled]], None]], Crew],
        files: Files,
        kept: Bin,
        tally: Tally,
        items: Items,
        before_change: Callable[[], None],
        *,
        trust_names: bool,
    ) -> None:
        """
        Args:
            job: what is to be done.
            mode: one of those in `job`.
            roots: source and target, open.
            manifest: what is remembered.
            view: what of a directory concerns us.
            crew: makes the crew that settles files and calls back with what became of them.
            files: settles one file.
            kept: the bin.
            tally: counts.
            items: lists.
            before_change: called once before the first change; raises when there must be none.
            trust_names: whether what is remembered was seen with the same excludes.
        """
        self._mode = mode
        self._change = mode == SYNC
        self._full = mode == FULL_CHECK
        self._contents = job.compare == CONTENT
        self._trust_names = trust_names and mode != FULL_CHECK
        self._read_again = READ_AGAIN if self._contents else READ_AGAIN & ~UNREAD
        self._without_news = bytes(flag for flag in range(16) if not flag & self._read_again)
        self._delete = job.delete
        self._roots = roots
        self._manifest = manifest
        self._view = view
        self._files = files
        self._others = Others(change=self._change, kept=kept, temporary=files.temporary)
        self._links = Links(roots, change=self._change, kept=kept, temporary=files.temporary)
        self._kept = kept
        self._tally = tally
        self._items = items
        self._before_change = before_change
        self._rights = Rights.ours()
        self._crew = crew(self._settled)
        self._places: dict[str, Place] = {}
        self._may_change = False
        self._committed = time.monotonic()
        self._touched: dict[str, list[str]] = {}
        self._touches = 0
        self.extras: list[tuple[str, str, int]] = []

    def round(self) -> None:
        """Go through everything once. What is under way is waited for, and what changed is on disk."""
        self._tally.begin_round()
        self._links.begin()
        self.extras = []
        self._touched, self._touches = {}, 0
        root = Place(None, "", "", os.dup(self._roots[0]), os.dup(self._roots[1]))
        self._visit(root)
        stack = [root]
        while stack:
            place = stack[-1]
            if place.directories:
                child = self._enter(place, place.directories.pop())
                if child is not None:
                    self._visit(child)
                    stack.append(child)
            else:
                stack.pop()
                self._done(place, 1)
        self._crew.finish()
        assert not self._places
        self.commit()

    def stands(self) -> bool:
        """Whether everything that the last round has changed is still as it was left; a shorter way to look again.

        Everything else was looked at in that round and found equal. Too many changes are not remembered one by one.
        """
        if self._touches > TOUCHES or self._tally.round[settled.DELETED]:
            return False
        for path, names in self._touched.items():
            page = self._manifest.page(path)
            if page is None or not self._stand(path, names, page.entries()):
                return False
        self._tally.rounds += 1
        return True

    def _stand(self, path: str, names: list[str], entries: dict[str, Known]) -> bool:
        opened: list[int] = []
        try:
            opened += [open_below(root, path) for root in self._roots]
            for name in names:
                known = entries.get(name)
                statuses = [look_at(directory, name) for directory in opened]
                if known is None or [status and mark_of(status) for status in statuses] != [known.source, known.target]:
                    return False
        except OSError:
            return False
        finally:
            for directory in opened:
                os.close(directory)
        return True

    def commit(self) -> None:
        """Bring what was copied to its disk, then remember it.

        Raises:
            OSError: the disk could not write it.
        """
        if self._may_change:
            sync_file_system(self._roots[1])
        self._manifest.commit()
        self._committed = time.monotonic()

    def close(self) -> None:
        """Whatever is under way is cut off."""
        self._crew.close()
        for place in self._places.values():
            os.close(place.source)
            os.close(place.target)
        self._places = {}

    def allow(self) -> None:
        """The target is about to be changed.

        Raises:
            SyncStopped: it must not be.
        """
        if not self._may_change:
            self._before_change()
            self._may_change = True

    # -- one directory ------------------------------------------------------------------------------------------

    def _enter(self, parent: Place, name: str) -> Place | None:
        """Open a directory that is on both sides."""
        path = join(parent.path, name)
        opened: list[int] = []
        try:
            opened += [open_child(side, name) for side in (parent.source, parent.target)]
        except OSError as error:
            for descriptor in opened:
                os.close(descriptor)
            self._note(Settled(path, settled.FAILED, f"the directory cannot be opened: {failure(error)}"), "")
            if parent.entries is not None:
                parent.entries.pop(name, None)
            return None
        parent.pending += 1
        child = Place(parent, name, path, opened[0], opened[1])
        child.changed = name in parent.made
        child.orderly = name not in parent.moved
        return child

    def _visit(self, place: Place) -> None:
        """See what is to be done in a directory, and begin it."""
        self._places[place.path] = place
        place.page = self._manifest.page(place.path)
        place.marks = mark_of(os.fstat(place.source)), mark_of(os.fstat(place.target))
        try:
            there, here = self._listings(place)
        except OSError as error:
            self._note(Settled(place.path or ".", settled.FAILED, f"cannot be listed: {failure(error)}"), "")
            return
        if place.page is not None and self._is_unmoved(place.page, there, here):
            self._pass(place, there)
        else:
            self._compare(place, there, here)
        place.count = len(there.names)
        self._tally.entries += len(there.names)
        self._tally.bytes += sum([status.st_size for status in there.statuses if status.st_mode & _FORMAT == _REGULAR])
        if time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def _listings(self, place: Place) -> tuple[Listing, Listing]:
        """What concerns us in both directories. Where neither has moved, the names are those that are remembered."""
        if place.orderly and place.page is not None and self._trust_names:
            names = place.page.name_list()
            try:
                there, here = read_names(place.source, names), read_names(place.target, names)
            except FileNotFoundError:
                pass  # it is changing right now
            else:
                self._count_there(len(names))
                return there, here
        there, here = read_directory(place.source), read_directory(place.target)
        self._count_there(len(here.names))
        return self._view.of(place.path, there, here, place.target)

    def _count_there(self, count: int) -> None:
        if self._tally.rounds == 1:
            self._tally.there += count

    def _is_unmoved(self, page: Page, there: Listing, here: Listing) -> bool:
        """Whether everything in a directory is as it was when both sides were equal."""
        return (
            not self._full
            and there.names == here.names
            and page.names == joined(there.names)
            and page.source == there.marks()
            and page.target == here.marks()
            and not page.flags.translate(None, self._without_news)
        )

    def _pass(self, place: Place, there: Listing) -> None:
        assert place.page is not None
        place.directories = [
            name
            for name, status in zip(there.names, there.statuses, strict=True)
            if status.st_mode & _FORMAT == _DIRECTORY
        ]
        self._tally.count(settled.SAME, len(there.names) - len(place.directories))
        if self._tally.rounds == 1:
            self._tally.words["common"] += len(there.names)
        self._tally.incomplete += _incomplete(place.page.flags)

    def _compare(self, place: Place, there: Listing, here: Listing) -> None:
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
                place.entries[name] = known
                unmoved += 1
            elif kind == _DIRECTORY and copy is not None and copy.st_mode & _FORMAT == _DIRECTORY:
                place.directories.append(name)
                found += 1
                if known is None or not is_known or known.flags & self._read_again:
                    place.moved.add(name)
            elif copy is None and known is None and kind == _REGULAR and seen.st_nlink == 1 and place.allowed:
                wanted.append(Wanted(name, seen.st_size, fresh=True))
                fresh += 1
            elif one := self._judge(place, name, seen, copy, known, kind):
                wanted.append(one)
        self._tally.count(settled.SAME, unmoved)
        if self._tally.rounds == 1:
            self._tally.words["common"] += unmoved + found
            self._tally.words["left_only"] += fresh
        for name, status in copies.items():
            self._extra(place, name, status)
        for name in remembered.keys() - set(there.names):
            self._manifest.forget(join(place.path, name))
        self._hand_out(place, wanted)

    def _is_read_again(self, known: Known, kind: int) -> bool:
        return bool(known.flags & self._read_again) or (self._full and kind == _REGULAR)

    def _judge(
        self,
        place: Place,
        name: str,
        seen: os.stat_result,
        copy: os.stat_result | None,
        known: Known | None,
        kind: int,
    ) -> Wanted | None:
        """What is to be done with an entry that is not known to be equal; what is not a file's is done at once."""
        assert place.entries is not None
        if self._tally.rounds == 1:
            self._tally.words["left_only" if copy is None else "common"] += 1
        if copy is None and not self._change:
            place.changed = True
            count = self._view.count_below(place.source, name, seen)
            self._note(Settled(name, settled.MISSING, f"with {count} below it" if count else ""), place.path)
            return None
        if self._change and not place.allowed:
            self._allow(place)
        replaced = copy is not None and copy.st_mode & _FORMAT != kind
        if replaced and not self._give_room(place, name, seen):
            return None
        if known is not None:
            place.entries[name] = known  # until more is known
        return self._begin(place, name, seen, None if replaced else copy, known, kind)

    def _begin(
        self,
        place: Place,
        name: str,
        seen: os.stat_result,
        copy: os.stat_result | None,
        known: Known | None,
        kind: int,
    ) -> Wanted | None:
        if kind == _DIRECTORY:
            self._make_directory(place, name)
        elif kind != _REGULAR:
            self._take(place, self._others.settle(place.source, place.target, place.path, name, seen))
        elif seen.st_nlink > 1:
            self._take(place, self._linked(place, name, seen, copy, known))
        elif copy is not None and not self._is_other_content(seen, copy):
            return Wanted(name, seen.st_size if self._contents else 0, known, look=True)
        elif self._change:
            return Wanted(name, seen.st_size, known)
        else:
            self._note(Settled(name, settled.DIFFERS, _how(seen, copy)), place.path)
        return None

    def _is_other_content(self, seen: os.stat_result, copy: os.stat_result) -> bool:
        """Whether it is plain without a look at the contents that they differ."""
        return seen.st_size != copy.st_size or (not self._contents and seen.st_mtime_ns != copy.st_mtime_ns)

    def _linked(
        self, place: Place, name: str, seen: os.stat_result, copy: os.stat_result | None, known: Known | None
    ) -> Settled:
        """A file with several names: the first one is settled like any other, the others become links to it."""
        if self._links.knows(seen):
            return self._links.settle(place.target, place.path, name, seen, copy)
        look = copy is not None and not self._is_other_content(seen, copy)
        if copy is not None and not look and not self._change:
            return Settled(name, settled.DIFFERS, _how(seen, copy))
        done = self._files.settle(place.source, place.target, place.path, name, known, look=look)
        self._links.learn(place.target, place.path, name, seen, done)
        return done

    def _make_directory(self, place: Place, name: str) -> None:
        try:
            os.mkdir(name, 0o700, dir_fd=place.target)
        except OSError as error:
            self._note(Settled(name, settled.FAILED, failure(error)), place.path)
            return
        place.changed = True
        place.made.add(name)
        place.moved.add(name)
        place.directories.append(name)
        self._note(Settled(name, settled.MADE), place.path)

    def _give_room(self, place: Place, name: str, seen: os.stat_result) -> bool:
        """Put what is of another type than the source's out of the way; False when there is nothing more to do."""
        what = f"another type: a {_type(seen)} in the source"
        if not self._change:
            self._note(Settled(name, settled.DIFFERS, what), place.path)
            return False
        try:
            self._kept.move(place.target, place.path, name)
        except OSError as error:
            self._note(Settled(name, settled.FAILED, f"{what}; {failure(error)}"), place.path)
            return False
        place.changed = True
        self._manifest.forget(join(place.path, name))
        self._note(Settled(name, settled.REPLACED, what), place.path)
        return True

    def _extra(self, place: Place, name: str, status: os.stat_result) -> None:
        """Something that only the target has."""
        count = 1 + self._view.count_below(place.target, name, status)
        if self._tally.rounds == 1:
            self._tally.words["right_only"] += 1
            self._tally.there += count - 1
        place.has_extras = True
        stays = self._delete and self._view.holds_excluded(place.target, place.path, name, status)
        if not stays:
            self.extras.append((place.path, name, count))
        place.changed |= not self._change
        if self._tally.rounds == 1 and (stays or not (self._change and self._delete)):
            detail = f"with {count - 1} below it" if count > 1 else ""
            self._note(Settled(name, settled.EXTRA, "it holds what is excluded" if stays else detail), place.path)

    # -- files --------------------------------------------------------------------------------------------------

    def _allow(self, place: Place) -> None:
        """Nothing is changed before it is known that the source is what it should be."""
        place.allowed = True
        self.allow()
        mode = os.fstat(place.target).st_mode
        if mode & 0o700 != 0o700 and not self._rights.root:
            os.fchmod(place.target, 0o700 | (mode & 0o7777))
            place.changed = True

    def _hand_out(self, place: Place, wanted: list[Wanted]) -> None:
        for batch in _batches(wanted):
            place.pending += len(batch)
            self._crew.do(place.path, place.source, place.target, batch)

    def _settled(self, path: str, done: list[Settled]) -> None:
        place = self._places[path]
        copied: list[Settled] = []
        for one in done:
            if one.action == settled.COPIED and one.known is not None and not one.lost and place.entries is not None:
                place.entries[one.name] = one.known
                place.changed = True
                copied.append(one)
            else:
                self._take(place, one)
        self._touch(place, [one.name for one in copied])
        self._copied(path, copied)
        self._done(place, len(done))

    def _copied(self, path: str, copied: list[Settled]) -> None:
        """What `_take()` does, for many at once."""
        self._tally.count(settled.COPIED, len(copied))
        self._tally.copied += sum([one.size for one in copied])
        self._items.add_copied(path, copied)

    def _take(self, place: Place, one: Settled) -> None:
        """Note what became of an entry."""
        assert place.entries is not None
        if one.known is not None:
            place.entries[one.name] = one.known
        elif one.action not in (settled.FAILED, settled.UNSTABLE, settled.DIFFERS, settled.METADATA_DIFFERS):
            place.entries.pop(one.name, None)
        if one.action in settled.CHANGES:
            place.changed = True
            self._touch(place, [one.name])
        self._note(one, place.path)

    def _touch(self, place: Place, names: list[str]) -> None:
        self._touches += len(names)
        if self._touches <= TOUCHES:
            self._touched.setdefault(place.path, []).extend(names)

    def _note(self, one: Settled, path: str) -> None:
        self._tally.count(one.action)
        self._tally.copied += one.size
        self._tally.read += one.read
        if self._tally.rounds == 1 or one.action in settled.CHANGES:
            self._tally.lost.update(one.lost)
        if one.action == settled.VANISHED or (one.action == settled.SAME and not one.lost):
            return
        detail = "; ".join(filter(None, (one.detail, f"not kept: {', '.join(one.lost)}" if one.lost else "")))
        self._items.add(one.action, join(path, one.name), detail, one.size)

    # -- done with a directory ----------------------------------------------------------------------------------

    def _done(self, place: Place | None, count: int) -> None:
        """So many things of a directory are done; after the last one it is closed, and its parent may be."""
        while place is not None:
            place.pending -= count
            if place.pending:
                return
            self._finish(place)
            place, count = place.parent, 1

    def _finish(self, place: Place) -> None:
        try:
            if place.changed or not place.orderly:
                self._put_in_order(place)
            if place.entries is not None and (place.page is None or place.entries != place.remembered):
                self._manifest.put(place.path, place.entries)
            if place.entries is not None:
                self._tally.incomplete += _incomplete(bytes([one.flags for one in place.entries.values()]))
            if place.parent is not None and place.parent.entries is not None:
                place.parent.entries[place.name] = self._known(place)
        finally:
            del self._places[place.path]
            os.close(place.source)
            os.close(place.target)

    def _known(self, place: Place) -> Known:
        """What to remember of a directory: its marks from before it was listed, as long as we have not moved them.

        The next run lists it again unless its names are known for certain.
        """
        there, here = place.marks
        moved = mark_of(os.fstat(place.target)) if place.changed or not place.orderly else here
        missing = place.entries is not None and len(place.entries) != place.count
        now = time.time_ns()
        is_certain = moved == here and not place.has_extras and not missing and not place.disorder
        if not is_certain or is_young(there[3], now) or is_young(here[3], now):
            return Known(there, moved, flags=YOUNG)
        return Known(there, moved)

    def _put_in_order(self, place: Place) -> None:
        """The directory's own metadata; its times last, since everything in it has moved them."""
        name = place.path or "."
        try:
            seen, there = os.fstat(place.source), os.fstat(place.target)
            theirs, has = attributes(place.source, self._rights), attributes(place.target, self._rights)
            wrong = differences(seen, there, self._rights, theirs, has)
            if not wrong:
                return
            if not self._change:
                place.disorder = True
                if wrong != ["time"] or not place.changed:
                    self._tally.count(settled.METADATA_DIFFERS, compared=False)
                    self._items.add(settled.METADATA_DIFFERS, name, ", ".join(wrong))
                return
            self._allow(place)
            lost = give(place.target, seen, self._rights, theirs, has)
            if os.fstat(place.target).st_mtime_ns != seen.st_mtime_ns:
                lost.append("exact time")
            silent = place.changed or (wrong == ["time"] and "exact time" in lost)
            if not silent or set(lost) - {"exact time"}:
                self._tally.actions[settled.METADATA] += 1
                self._items.add(settled.METADATA, name, ", ".join([*wrong, *(f"not kept: {word}" for word in lost)]))
            if self._tally.rounds == 1:
                self._tally.lost.update(lost)
        except OSError as error:
            place.disorder = True
            self._note(Settled(name, settled.FAILED, failure(error)), "")


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


def _incomplete(flags: bytes) -> int:
    return sum(flags.count(value) for value in range(16) if value & INCOMPLETE)


def _how(seen: os.stat_result, copy: os.stat_result | None) -> str:
    if copy is not None and seen.st_size != copy.st_size:
        return f"{seen.st_size} bytes in the source, {copy.st_size} in the copy"
    return "time"


def _type(status: os.stat_result) -> str:
    names = {stat.S_IFDIR: "directory", stat.S_IFREG: "file", stat.S_IFLNK: "link"}
    return names.get(stat.S_IFMT(status.st_mode), "special file")
