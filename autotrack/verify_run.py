"""What the checked journals of one run amount to: which lines are damaged, which events are lost."""

import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any, NamedTuple

from autotrack.journal.check import (
    IN_FLIGHT,
    FileCheck,
    Range,
    Stretch,
    doubled,
    missing,
    tail_seq,
    within,
    without,
)
from autotrack.journal.source import name_differs
from autotrack.layout import Layout, fallback_store
from autotrack.process import host_name

_END = 2**63 - 1


class Finding(NamedTuple):
    """One thing that is amiss. `state`: "damage" (something is damaged or lost) or "note" (worth knowing, nothing is lost).

    `file` is relative to the store. `lines` are numbered from 1; `offset` and `length` are bytes of the decompressed file;
    `lost` are ranges of sequence numbers of events that are gone, `open_end` when there may have been more behind them.
    """

    state: str
    what: str
    run: str | None
    file: str
    text: str
    lines: Range | None = None
    offset: int | None = None
    length: int | None = None
    lost: tuple[Range, ...] = ()
    open_end: bool = False


def run_findings(layout: Layout, folder: Path, files: list[FileCheck], live: bool) -> Iterator[Finding]:
    """What is amiss in a run's folder, journal by journal."""
    journals: dict[str, list[FileCheck]] = {}
    for file in files:
        journals.setdefault(file.segment.stem, []).append(file)
    resumed = max((_begun(parts) for parts in journals.values() if _resumes(parts)), default=0)
    for parts in journals.values():
        yield from _Journal(layout, folder, parts, live, _begun(parts) < resumed).findings()
    roles = {_role(parts) for parts in journals.values()}
    if roles == {"edit"}:
        name = str(folder.relative_to(layout.root))
        yield Finding("damage", "no-journal", folder.name, name, "holds edits, but no journal of the run")
    yield from _inputs(layout, folder, files)


class _Journal:
    """One process's files; `gone_on`: whether a later attempt of the run has gone on behind it."""

    def __init__(
        self, layout: Layout, folder: Path, files: list[FileCheck], live: bool, gone_on: bool
    ) -> None:
        self.layout = layout
        self.folder = folder
        self.files = files
        self.live = live
        self.gone_on = gone_on
        self.holes = missing(files)
        self.gaps = [event.body for file in files for event in file.events if event.kind == "gap"]
        self.ended = any(
            event.kind == "finish" and not event.child for file in files for event in file.events
        )
        self.interruptions = [
            (event.seq, event.body["interrupted"])
            for file in files
            for event in file.events
            if event.kind == "beat" and isinstance(event.body.get("interrupted"), int)
        ]
        self.unreadable = any(file.problem for file in files)

    def findings(self) -> Iterator[Finding]:
        """Everything that is amiss in this journal."""
        for file in self.files:
            yield from self._of_file(file)
        yield from self._recorded_gaps()
        yield from self._interrupted()
        yield from self._holes_left()
        yield from self._doubled()

    def _of_file(self, file: FileCheck) -> Iterator[Finding]:
        if file.problem is not None:
            what = "unreadable" if file.size else "empty"
            yield self._at(file, "damage", what, file.problem)
            return
        for frame in file.frames:
            text = f"the frame of {frame.length} bytes at byte {frame.offset} of the file is damaged ({frame.why})"
            yield self._at(file, "damage", "frame", text)
        yield from self._header(file)
        for stretch in file.stretches:
            yield self._stretch(file, stretch)
        if file.tail:
            yield from self._tail(file)
        yield from self._both(file)

    def _header(self, file: FileCheck) -> Iterator[Finding]:
        header = file.header
        if header is None:
            if not any(stretch.first_line == 1 for stretch in file.stretches):
                yield self._at(file, "damage", "header", "has no first line that says whose it is")
            return
        if header.get("run") != self.folder.name:
            yield self._at(file, "note", "name", f"was written for the run {header.get('run')!r}")
        differing = name_differs(file.segment, header)
        if differing:
            text = f"is named otherwise than its first line says ({', '.join(differing)})"
            yield self._at(file, "note", "name", text)

    def _stretch(self, file: FileCheck, stretch: Stretch) -> Finding:
        first, last = self._around(file, stretch)
        open_end = last == _END
        lost = within(self.holes, min(first, last), max(first, last))
        lost = without(lost, self._gap_ranges())
        self.holes = without(self.holes, lost)
        number = stretch.last_line - stretch.first_line + 1
        place = (
            f"line {stretch.first_line}"
            if number == 1
            else f"lines {stretch.first_line} to {stretch.last_line}"
        )
        place += f" ({stretch.length} bytes at byte {stretch.offset})"
        facts: dict[str, Any] = {
            "lines": (stretch.first_line, stretch.last_line),
            "offset": stretch.offset,
            "length": stretch.length,
        }
        if stretch.rewritten and not lost:
            text = f"{place} was torn and written again whole; nothing is lost"
            return self._at(file, "note", "torn", text, **facts)
        facts |= {"lost": tuple(lost), "open_end": open_end}
        be = "is" if number == 1 else "are"
        text = f"{place} {be} damaged; {_lost(lost, open_end, stretch.before)}"
        if stretch.first_line == 1:
            text += "; the first line says whose the file is"
        return self._at(file, "damage", "damaged", text, **facts)

    def _around(self, file: FileCheck, stretch: Stretch) -> Range:
        """The sequence numbers before and behind damaged lines, those of the files before and behind included."""
        place = self.files.index(file)
        earlier = [int(seqs.max()) for other in self.files[:place] for seqs in other.seqs if len(seqs)]
        later = [int(seqs.min()) for other in self.files[place + 1 :] for seqs in other.seqs if len(seqs)]
        first = max(earlier, default=-1) if stretch.before is None else stretch.before
        return first, min(later, default=_END) if stretch.after is None else stretch.after

    def _tail(self, file: FileCheck) -> Iterator[Finding]:
        if self.live and not self.ended and file.tail.startswith(b'["') and b"\x00" not in file.tail:
            return  # it is being written just now
        seq = tail_seq(file.tail)
        what = "an event" if seq is None else f"event {seq}"
        text = (
            f"the last line ({len(file.tail)} bytes at byte {file.tail_offset}) is cut off: {what} was being written when its "
            "process died, or the file was shortened and there was more"
        )
        lost = () if seq is None else ((seq, seq),)
        facts = {"offset": file.tail_offset, "length": len(file.tail), "lost": lost, "open_end": True}
        yield self._at(file, "damage", "cut", text, lines=None, **facts)

    def _both(self, file: FileCheck) -> Iterator[Finding]:
        segment = file.segment
        if segment.plain is not None and segment.sealed is not None:
            text = f"is there as {segment.sealed.name} too: sealing was interrupted; each event is taken once"
            yield self._at(file, "note", "both", text)
        if segment.plain is None and file is self.files[-1] and _role(self.files) == "run" and not self.ended:
            yield self._without_finish(file)

    def _without_finish(self, file: FileCheck) -> Finding:
        """Whatever a run holds is sealed once its last attempt has finished, the journals of those that died too."""
        if self.gone_on:
            text = "has no finish: its process died, and a later attempt has gone on with the run"
            return self._at(file, "note", "no-finish", text)
        text = "was sealed, which is done after the finish only, and has no finish: its end is lost"
        return self._at(file, "damage", "no-finish", text, open_end=True)

    def _recorded_gaps(self) -> Iterator[Finding]:
        for gap, (first, last) in zip(self.gaps, self._gap_ranges(), strict=True):
            lost = within(self.holes, first, last)
            self.holes = without(self.holes, lost)
            number = gap.get("dropped", "some")
            why = gap.get("reason") or "no reason recorded"
            text = f"{number} events were dropped while the run was recorded ({why}): {_ranges(lost or [(first, last)])}"
            yield self._at(self.files[0], "damage", "gap", text, lost=tuple(lost or [(first, last)]))

    def _interrupted(self) -> Iterator[Finding]:
        """Numbers whose line an exception from outside has kept from being written: nobody was told that it is there."""
        for seq, count in self.interruptions:
            near = within(self.holes, seq - IN_FLIGHT, seq - 1)
            lost = within(near, near[-1][1] - count + 1, seq) if near else []
            if lost:
                self.holes = without(self.holes, lost)
                text = f"{_ranges(lost)}: the call was broken off by a Ctrl-C or a signal's handler"
                yield self._at(self.files[0], "note", "interrupted", text, lost=tuple(lost))

    def _gap_ranges(self) -> list[Range]:
        ends = [(gap.get("from"), gap.get("to")) for gap in self.gaps]
        return [(a, b) if isinstance(a, int) and isinstance(b, int) else (0, -1) for a, b in ends]

    def _holes_left(self) -> Iterator[Finding]:
        """Numbers that are missing though no line is damaged where they were."""
        if self.unreadable or not self.holes:
            return
        top = max(int(seqs.max()) for file in self.files for seqs in file.seqs if len(seqs))
        late = [] if self.ended else within(self.holes, top - IN_FLIGHT, top)
        lost = without(self.holes, late)
        before = [hole for hole in lost if hole[0] == 0]
        if before and self.files[0].segment.number > 0:
            state = "note" if self.layout.root == fallback_store() else "damage"
            text = f"the segments before it are not in this folder: {_ranges(before)} {_are(before)} missing"
            yield self._at(self.files[0], state, "segment", text, lost=tuple(before))
            lost = without(lost, before)
        if lost:
            text = f"{_ranges(lost)} {_are(lost)} missing, and no damaged line stands for them"
            yield self._at(self._file_of(lost[0][0]), "damage", "missing", text, lost=tuple(lost))
        if late and not self.live:
            text = (
                f"{_ranges(late)} {_are(late)} missing: being written by other threads when the process died"
            )
            yield self._at(self.files[-1], "note", "in-flight", text, lost=tuple(late))

    def _file_of(self, seq: int) -> FileCheck:
        """The file that a missing event would have stood in."""
        for file in self.files:
            if any(len(seqs) and int(seqs.max()) >= seq for seqs in file.seqs):
                return file
        return self.files[-1]

    def _doubled(self) -> Iterator[Finding]:
        same, differing = doubled(self.files)
        if same:
            text = f"{_ranges(same)} stand{'s' if _count(same) == 1 else ''} there twice, alike; taken once"
            yield self._at(self.files[0], "note", "doubled", text)
        if differing:
            text = f"{_ranges(differing)}: two lines that differ bear the same number; the first one is taken"
            yield self._at(self.files[0], "damage", "doubled", text)

    def _at(self, file: FileCheck, state: str, what: str, text: str, **facts: Any) -> Finding:
        name = str(file.segment.path.relative_to(self.layout.root))
        return Finding(state, what, self.folder.name, name, text, **facts)


def _role(files: list[FileCheck]) -> str:
    for file in files:
        if file.header is not None and isinstance(file.header.get("role"), str):
            return str(file.header["role"])
    return "run"


def _begun(files: list[FileCheck]) -> int:
    """When a journal began, in Unix nanoseconds; 0 where its first line is lost."""
    wall = (files[0].header or {}).get("wall")
    return wall if isinstance(wall, int) else 0


def _resumes(files: list[FileCheck]) -> bool:
    """Whether a journal began another attempt of its run."""
    return any(
        event.kind == "start" and not event.child and event.body.get("resumed") is True
        for file in files
        for event in file.events
    )


def _inputs(layout: Layout, folder: Path, files: Iterable[FileCheck]) -> Iterator[Finding]:
    """Files that the run read, if it ran on this machine: whether they are still there, in the same size."""
    for file in files:
        if (file.header or {}).get("host") != host_name():
            continue
        for event in file.events:
            path, size = event.body.get("path"), event.body.get("size")
            if event.kind != "input" or not isinstance(path, str) or event.body.get("digest") is None:
                continue
            now = _size(path)
            if now == size:
                continue
            what = "is not there any more" if now is None else f"has {now} bytes now, and had {size}"
            name = str(file.segment.path.relative_to(layout.root))
            yield Finding("note", "input", folder.name, name, f"the input {path} {what}")


def _size(path: str) -> int | None:
    try:
        return os.stat(path).st_size
    except (OSError, ValueError):
        return None


def _lost(lost: list[Range], open_end: bool, before: int | None) -> str:
    """What is lost, in words."""
    if lost:
        return f"{_ranges(lost)} {_are(lost)} lost" + (", and any behind" if open_end else "")
    if open_end:
        return f"what stood behind event {before} is lost" if before is not None else "nothing whole is left"
    return "no event is lost"


def _ranges(ranges: list[Range]) -> str:
    """`event 7`, `events 7 to 9, 12` and how many those are."""
    if _count(ranges) == 1:
        return f"event {ranges[0][0]}"
    shown = ", ".join(str(first) if first == last else f"{first} to {last}" for first, last in ranges[:8])
    more = f" and {len(ranges) - 8} more ranges" if len(ranges) > 8 else ""
    return f"events {shown}{more} ({_count(ranges)} in all)"


def _are(ranges: list[Range]) -> str:
    return "is" if _count(ranges) == 1 else "are"


def _count(ranges: list[Range]) -> int:
    return sum(last - first + 1 for first, last in ranges)
