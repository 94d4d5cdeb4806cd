"""Checks a store, or some runs of it: every line of every journal, every object, every mark. Nothing is changed."""

import hashlib
import os
import re
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

from autotrack.errors import AmbiguousRun, RunNotFound
from autotrack.journal.check import FileCheck, check_file
from autotrack.journal.format import Event
from autotrack.journal.source import Segment, find_segments, left_out, suffix_of
from autotrack.layout import Layout, check_store, decode_project
from autotrack.process import alive
from autotrack.verify_kept import OURS, decision_findings, kept_count, kept_findings
from autotrack.verify_run import Finding, run_findings

Progress = Callable[[int, int], None]
_CHUNK = 1024 * 1024
_DIGEST = re.compile(r"[0-9a-f]{64}")


@dataclass
class Report:
    """What was looked at, and what was found: `whole` when nothing is damaged or lost."""

    store: Path
    runs: int = 0
    files: int = 0
    lines: int = 0
    objects: int = 0
    checkpoints: int = 0
    bytes: int = 0
    findings: list[Finding] = field(default_factory=list)

    @property
    def whole(self) -> bool:
        """Whether nothing is damaged, lost or unreadable; notes do not count."""
        return all(finding.state == "note" for finding in self.findings)


class Use(NamedTuple):
    """Who refers to an object, and as what."""

    run: str
    name: str


def verify(store: Path, runs: Sequence[str] = (), progress: Progress | None = None) -> Report:
    """Check a store, or the runs with these ids or unique beginnings; `progress(done, total)` in bytes, as it goes.

    StoreError where there is no store, RunNotFound and AmbiguousRun for a run that is not there.
    """
    check_store(store)
    work = _Verification(Layout(store), progress)
    folders = list(_folders(work.layout))
    chosen = folders if not runs else list(dict.fromkeys(_chosen(folders, run) for run in runs))
    work.measure(chosen, everything=not runs)
    for folder in chosen:
        work.run(folder)
    work.objects(everything=not runs)
    work.kept(None if not runs else {folder.name for folder in chosen})
    if not runs:
        work.marks({folder.name for folder in folders})
    return work.report


def _folders(layout: Layout) -> Iterator[Path]:
    """Every run's folder."""
    if not layout.runs.is_dir():
        return
    for project in sorted(layout.runs.iterdir()):
        if project.is_dir() and os.access(project, os.R_OK | os.X_OK):
            yield from sorted(path for path in project.iterdir() if path.is_dir() and path.name[0] != ".")


def _chosen(folders: list[Path], run: str) -> Path:
    found = [path for path in folders if path.name == run] or [
        path for path in folders if run and path.name.startswith(run)
    ]
    if not found:
        raise RunNotFound(
            f"No run's folder is called {run[:80]!r} or begins so; autotrack ls lists the runs. "
            "A child run is checked with the run that it is recorded in."
        )
    if len(found) > 1:
        some = ", ".join(f"{path.name} ({decode_project(path.parent.name)})" for path in found[:10])
        raise AmbiguousRun(f"{run!r} may be {some}. Give more of the id.")
    return found[0]


class _Verification:
    """One checking of a store."""

    def __init__(self, layout: Layout, progress: Progress | None) -> None:
        self.layout = layout
        self.report = Report(layout.root)
        self.live: set[str] = set()
        self._uses: dict[str, list[Use]] = {}
        self._heads: list[tuple[str, dict[str, Any]]] = []
        self._progress = progress
        self._total = 0

    def measure(self, folders: list[Path], everything: bool) -> None:
        """How much there is to read."""
        if self._progress is None:
            return
        self._total = sum(_sizes(folder) for folder in folders)
        if everything and self.layout.objects.is_dir():
            self._total += sum(_sizes(path) for path in self.layout.objects.iterdir() if path.is_dir())
            self._total += sum(_sizes(path) for path in self.layout.objects.glob("kept/*/*") if path.is_dir())

    def run(self, folder: Path) -> None:
        """Check the journals of one run."""
        self.report.runs += 1
        try:
            segments, foreign = find_segments(folder)
        except OSError as error:
            self._note("damage", "unreadable", folder.name, folder, f"cannot be listed: {error.strerror}")
            return
        for name in foreign:
            why = left_out(folder / name)
            state = "damage" if why == "is not a file" else "note"
            self._note(state, "foreign", folder.name, folder / name, f"{why}; it is left out")
        files = [found for segment in segments if (found := self._file(folder, segment)) is not None]
        if not files and not any(suffix_of(path.name) for path in folder.iterdir()):
            self._note("note", "empty", folder.name, folder, "holds no journal")
        if any(_writes(file.header) is True for file in files):
            self.live.add(folder.name)
        self.report.findings += run_findings(self.layout, folder, files, folder.name in self.live)
        for file in files:
            for event in file.events:
                self._use(folder.name, event)

    def _file(self, folder: Path, segment: Segment) -> FileCheck | None:
        """One file; None where it cannot be read."""
        for _ in range(3):
            try:
                found = check_file(segment)
                break
            except FileNotFoundError:
                # Sealed by another process since the listing.
                again = [one for one in find_segments(folder)[0] if one.name == segment.name]
                segment = again[0] if again else segment
            except OSError as error:
                text = f"cannot be read: {error.strerror}"
                self._note("damage", "unreadable", folder.name, segment.path, text)
                return None
        else:
            self._note("damage", "unreadable", folder.name, segment.path, "vanished while it was read")
            return None
        self.report.files += 1
        self.report.lines += found.lines
        self._read(segment.path.stat().st_size if segment.path.exists() else 0)
        return found

    def _use(self, run: str, event: Event) -> None:
        body = event.body
        if event.kind == "registry" and isinstance(body.get("heads"), dict):
            self._heads.append((run, body["heads"]))
        held: list[tuple[Any, Any]] = []
        if event.kind == "artifact":
            held = [(body.get("digest"), body.get("name"))]
            files = body.get("files")
            for file in files if isinstance(files, list) else ():
                if isinstance(file, dict):
                    held.append((file.get("digest"), f"{body.get('name')}/{file.get('path')}"))
        elif event.kind == "capture" and isinstance(body.get("facts"), dict):
            held = [(body["facts"].get("digest"), f"the captured {body.get('what')}")]
        for digest, name in held:
            if isinstance(digest, str) and _DIGEST.fullmatch(digest):
                self._uses.setdefault(digest, []).append(Use(run, str(name)))

    def objects(self, everything: bool) -> None:
        """Check the content of the objects (of all, or of those that the runs refer to), and that none is absent."""
        folder = self.layout.objects
        seen = set()
        for digest in sorted(self._uses):
            path = folder / digest[:2] / digest[2:]
            if path.is_file():
                seen.add(digest)
                self._object(path, digest)
            else:
                use = self._uses[digest][0]
                what = f"the content of {use.name!r} of run {use.run}{self._others(digest)}"
                text = f"is not there: {what}; if the run was copied from elsewhere, copy its objects too"
                self._note("damage", "object-absent", use.run, path, text)
        if not everything or not folder.is_dir():
            return
        for path in sorted(path for path in folder.rglob("*") if not path.is_dir()):
            if path.relative_to(folder).parts[0] in OURS:
                continue
            digest = path.parent.name + path.name
            if path.parent == folder and path.suffix == ".tmp":
                text = "is an object that is being written, or was by a process that died; `autotrack checkpoint gc` frees it a day later"
                self._note("note", "left", None, path, text)
            elif path.parent.parent != folder or not _DIGEST.fullmatch(digest):
                self._note("note", "foreign", None, path, "is not an object; it is left out")
            elif digest not in seen:
                self._object(path, digest)

    def kept(self, runs: set[str] | None) -> None:
        """Check what is kept of checkpoints, of all or of these runs, and the decisions about models."""
        self.report.checkpoints = kept_count(self.layout, runs)
        self.report.findings += kept_findings(self.layout, runs, self._read)
        if runs is None:
            self.report.findings += decision_findings(self.layout, self._heads)

    def _others(self, digest: str) -> str:
        others = len({use.run for use in self._uses[digest]}) - 1
        return f" and {others} more run{'s' if others > 1 else ''}" if others else ""

    def _object(self, path: Path, digest: str) -> None:
        use = self._uses.get(digest, [Use("", "")])[0]
        self.report.objects += 1
        found = hashlib.sha256()
        try:
            with open(path, "rb") as file:
                while chunk := file.read(_CHUNK):
                    found.update(chunk)
                    self._read(len(chunk))
        except OSError as error:
            self._note("damage", "unreadable", use.run or None, path, f"cannot be read: {error.strerror}")
            return
        if found.hexdigest() != digest:
            what = "no run refers to it"
            if use.run:
                what = f"it is the content of {use.name!r} of run {use.run}{self._others(digest)}"
            text = f"is damaged: its content has another sha256; {what}"
            self._note("damage", "object", use.run or None, path, text)

    def marks(self, runs: set[str]) -> None:
        """Check the marks of live runs."""
        if not self.layout.open.is_dir():
            return
        for path in sorted(self.layout.open.iterdir()):
            if path.name not in runs:
                self._note("note", "mark", path.name, path, "marks a run as live that is not in the store")
            elif path.name not in self.live and not path.is_dir():
                self._note("note", "mark", path.name, path, "marks a run as live whose process is not there")

    def _note(self, state: str, what: str, run: str | None, path: Path, text: str) -> None:
        name = str(path.relative_to(self.layout.root))
        self.report.findings.append(Finding(state, what, run, name, text))

    def _read(self, size: int) -> None:
        self.report.bytes += size
        if self._progress is not None:
            self._progress(self.report.bytes, max(self._total, self.report.bytes))


def _writes(header: dict[str, Any] | None) -> bool | None:
    """Whether the process of a journal runs; None where that is not known."""
    header = header or {}
    host, pid = header.get("host"), header.get("pid")
    if not (isinstance(host, str) and isinstance(pid, int)):
        return None
    return alive(host, pid, header.get("pidns"), header.get("boot"), header.get("started"))


def _sizes(folder: Path) -> int:
    try:
        with os.scandir(folder) as entries:
            return sum(entry.stat().st_size for entry in entries if entry.is_file())
    except OSError:
        return 0
