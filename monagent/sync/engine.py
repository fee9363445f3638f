"""One run: go through both trees, settle what is not equal, and look again until nothing is left.

Each directory is a `Place` while something in it is under way. It is closed, from the leaves up, once its files and
its directories are done: then its own metadata is put in order and what is known of its entries is remembered.
"""

from __future__ import annotations

import os
import stat
import time
from dataclasses import replace

from monagent.durable import sync_file_system
from monagent.errors import SyncStopped
from monagent.sync import settled
from monagent.sync.comparison import Comparison
from monagent.sync.files import failure
from monagent.sync.guards import CONFIG
from monagent.sync.manifest import INCOMPLETE, YOUNG, Known, Page, joined
from monagent.sync.means import Means
from monagent.sync.metadata import Rights, attributes, differences, give
from monagent.sync.paths import open_below, open_child
from monagent.sync.place import Place
from monagent.sync.scan import Listing, is_young, join, look_at, mark_of, read_directory, read_names
from monagent.sync.settled import Settled

ROUNDS = 3
COMMIT_SECONDS = 30.0
"""How much work a crash may cost: after that long, what was copied is brought to its disk and remembered."""
_FORMAT, _DIRECTORY, _REGULAR = 0o170000, stat.S_IFDIR, stat.S_IFREG


class Engine:
    """Runs once."""

    def __init__(self, means: Means) -> None:
        self._means = means
        self._roots = means.roots
        self._manifest = means.manifest
        self._ledger = means.ledger
        self._rights = Rights.ours()
        self._places: dict[str, Place] = {}
        self._may_change = False
        self._committed = time.monotonic()
        permitted = replace(means, before_change=self.allow)
        self._comparison = Comparison(permitted, self._places.__getitem__, self._done)
        self._trust_names = means.same_excludes and not means.rules.full
        self._without_news = bytes(flag for flag in range(16) if not flag & means.read_again)

    @property
    def extras(self) -> list[tuple[str, str, int]]:
        """What the last round found in the target alone: directory, name, and how many entries that is."""
        return self._comparison.extras

    def round(self) -> None:
        """Go through everything once. What is under way is waited for, and what changed is on disk."""
        self._ledger.begin_round()
        self._comparison.begin_round()
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
        self._comparison.crew.finish()
        assert not self._places

    def stands(self) -> bool:
        """Whether everything that the last round has changed is still as it was left; a shorter way to look again.

        Everything else was looked at in that round and found equal. Too many changes are not remembered one by one.
        """
        if not self._ledger.is_complete:
            return False
        for path, names in self._ledger.touched.items():
            page = self._manifest.page(path)
            if page is None or not self._stand(path, names, page.entries()):
                return False
        self._ledger.tally.rounds += 1
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
        self._comparison.crew.close()
        for place in self._places.values():
            os.close(place.source)
            os.close(place.target)
        self._places.clear()

    def allow(self) -> None:
        """The target is about to be changed.

        Raises:
            SyncStopped: it must not be.
        """
        if not self._may_change:
            self._means.before_change()
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
            self._ledger.note(Settled(path, settled.FAILED, f"the directory cannot be opened: {failure(error)}"), "")
            if parent.entries is not None:
                parent.entries.pop(name, None)
            return None
        self._refuse_nested(path, opened[0], opened[1])
        parent.pending += 1
        child = Place(parent, name, path, opened[0], opened[1])
        child.changed = name in parent.made
        child.orderly = name not in parent.moved
        return child

    def _refuse_nested(self, path: str, source: int, target: int) -> None:
        for one, root, which in ((source, self._roots[1], "target"), (target, self._roots[0], "source")):
            if os.path.samestat(os.fstat(one), os.fstat(root)):
                raise SyncStopped(
                    f"{path} is the {which} itself, mounted there: it would be copied into itself", CONFIG
                )

    def _visit(self, place: Place) -> None:
        """See what is to be done in a directory, and begin it."""
        self._places[place.path] = place
        place.page = self._manifest.page(place.path)
        place.looked_at = time.time_ns()
        place.marks = mark_of(os.fstat(place.source)), mark_of(os.fstat(place.target))
        if place.parent is not None and place.parent.entries is not None:
            known = place.parent.remembered.get(place.name)
            place.orderly = place.orderly and known is not None and place.marks == (known.source, known.target)
        try:
            there, here = self._listings(place)
        except OSError as error:
            place.disorder = True
            self._ledger.note(Settled(place.path or ".", settled.FAILED, f"cannot be listed: {failure(error)}"), "")
            return
        if place.page is not None and self._is_unmoved(place.page, there, here):
            self._pass(place, there)
        else:
            self._comparison.compare(place, there, here)
        place.count = len(there.names)
        self._ledger.tally.entries += len(there.names)
        self._ledger.tally.bytes += sum(
            [status.st_size for status in there.statuses if status.st_mode & _FORMAT == _REGULAR]
        )
        if self._may_change and time.monotonic() - self._committed > COMMIT_SECONDS:
            self.commit()

    def _listings(self, place: Place) -> tuple[Listing, Listing]:
        """What concerns us in both directories. Where neither has moved, the names are those that are remembered."""
        if place.orderly and place.page is not None and self._trust_names:
            names = place.page.name_list()
            try:
                there, here = read_names(place.source, names), read_names(place.target, names)
            except OSError:
                pass  # it is changing right now
            else:
                self._count_there(len(names))
                return there, here
        there, here = read_directory(place.source), read_directory(place.target)
        self._count_there(len(here.names))
        there, here = self._means.view.of(place.path, there, here, place.target)
        for name, reason in (*there.failed, *here.failed):
            place.disorder = True
            self._ledger.note(Settled(name, settled.FAILED, reason), place.path)
        return there.without(here.failed), here.without(there.failed)

    def _count_there(self, count: int) -> None:
        if self._ledger.is_first_round:
            self._ledger.tally.there += count

    def _is_unmoved(self, page: Page, there: Listing, here: Listing) -> bool:
        """Whether everything in a directory is as it was when both sides were equal."""
        return (
            self._trust_names
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
        self._ledger.tally.count(settled.SAME, len(there.names) - len(place.directories))
        if self._ledger.is_first_round:
            self._ledger.tally.words["common"] += len(there.names)
        self._ledger.tally.incomplete += _incomplete(place.page.flags)

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
                self._ledger.tally.incomplete += _incomplete(bytes([one.flags for one in place.entries.values()]))
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
        is_certain = moved == here and not place.has_extras and not missing and not place.disorder
        if not is_certain or is_young(there[3], place.looked_at) or is_young(here[3], place.looked_at):
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
            if not self._means.rules.change:
                place.disorder = True
                if wrong != ["time"] or not place.changed:
                    self._ledger.tally.count(settled.METADATA_DIFFERS, compared=False)
                    self._ledger.items.add(settled.METADATA_DIFFERS, name, ", ".join(wrong))
                return
            self._comparison.allow(place)
            lost = give(place.target, seen, self._rights, theirs, has)
            if os.fstat(place.target).st_mtime_ns != seen.st_mtime_ns:
                lost.append("exact time")
            silent = place.changed or (wrong == ["time"] and "exact time" in lost)
            if not silent or set(lost) - {"exact time"}:
                self._ledger.tally.actions[settled.METADATA] += 1
                self._ledger.items.add(
                    settled.METADATA, name, ", ".join([*wrong, *(f"not kept: {word}" for word in lost)])
                )
            if self._ledger.is_first_round:
                self._ledger.tally.lost.update(lost)
        except OSError as error:
            place.disorder = True
            self._ledger.note(Settled(name, settled.FAILED, failure(error)), "")


def _incomplete(flags: bytes) -> int:
    return sum(flags.count(value) for value in range(16) if value & INCOMPLETE)
