"""How runs begin: `init`, the launcher's run, the run of a training, and attaching to a parent process's run."""

import os
from collections.abc import Iterable, Mapping
from pathlib import Path
from time import monotonic_ns
from typing import Any

from autotrack import background, marks, session
from autotrack.config import setting
from autotrack.errors import StoreError
from autotrack.exits import watch_exit
from autotrack.guard import forget, guarded, warn
from autotrack.layout import (
    Layout,
    absolute,
    decode_project,
    default_project,
    encode_project,
    find_store,
    is_run_id,
    new_run_id,
)
from autotrack.options import LogModel, log_model_choice
from autotrack.process import is_worker, rank
from autotrack.run import Run
from autotrack.saves import prepare
from autotrack.start import Start
from autotrack.steps import items
from autotrack.values import show
from autotrack.where import journal_in, usable

RESUME_WORDS = ("allow", "must", "never")


def init(
    project: str | None = None,
    name: str | None = None,
    config: Mapping[str, Any] | None = None,
    tags: Iterable[str] | str | None = None,
    group: str | None = None,
    notes: str | None = None,
    parent: "Run | str | None" = None,
    id: str | None = None,
    resume: str | bool | None = None,
    dir: str | os.PathLike[str] | None = None,
    mode: str | None = None,
    log_model: str | bool | None = None,
) -> Run:
    """Open a run and make it the current one; also a context manager. Never raises for what the disk does.

    `project`, `name`, `group`, `tags` default to AUTOTRACK_PROJECT, _NAME, _GROUP, _TAGS; the project before that to `parent`'s, at
    last to that of the run whose process started this one, else the name of the git root's or working folder. `id` continues that
    run if it exists (`resume`: "allow" by default, "must", "never"). `dir`: the store's folder, default AUTOTRACK_DIR, else the
    nearest `.autotrack` upwards. `mode="disabled"` records nothing.
    `log_model`: which checkpoints are stored: "auto" (the default, AUTOTRACK_LOG_MODEL: none that is there anyway; a best or last
    one that rotation deletes stays in the store), True (best and last), "all", False (none).
    Under `autotrack run` the first call takes over the launcher's run; where later ones name no parent, that is their parent.
    """
    wanted = Wanted(project, name, group, _tags(tags), notes or "", parent, id, resume_word(resume), dir)
    if mode not in (None, "disabled"):
        warn(
            "mode",
            f"mode={show(mode)} is not known, and the run is recorded as usual. mode='disabled' records nothing.",
            key=show(mode),
        )
    if mode == "disabled" or not session.recording():
        run = unrecorded_run(wanted)
    else:
        run = _inherited() or _adopt(wanted) or attach() or open_root(wanted, "init")
        watch_exit(run)
    run.log_model = _log_model(log_model)
    if (
        run.log_model and run.opened_by != "disabled"
    ):  # what describes the run may have begun before this was known
        background.submit(prepare, run)
    if config is not None:
        run.update_config(config, source="init")
    session.set_current(run)
    return run


class Wanted:
    """What the caller wants of a new run; what is None comes from the environment or is worked out."""

    def __init__(
        self,
        project: str | None = None,
        name: str | None = None,
        group: str | None = None,
        tags: tuple[str, ...] = (),
        notes: str = "",
        parent: "Run | str | None" = None,
        id: str | None = None,
        resume: str = "allow",
        dir: str | os.PathLike[str] | None = None,
    ) -> None:
        self.project = _fitting(_text(project) or setting("PROJECT") or default_project())
        self.given_project = None if project is None else self.project
        self.given_name = _text(name)
        self.name = self.given_name or setting("NAME")
        self.group = _text(group) or setting("GROUP")
        self.tags = tags or _tags(setting("TAGS"))
        self.notes = str(notes)
        self.parent = _id(parent)
        self.parent_project: str | None = getattr(parent, "project", None)
        self.id = _text(id)
        self.resume = resume
        self.dir = _folder(dir)


def open_root(wanted: Wanted, opened_by: str, framework: str | None = None) -> Run:
    """Open a run with a folder of its own."""
    started = monotonic_ns()
    if not session.open_runs():
        forget()
    owner = marks.owner()
    parent = wanted.parent or (owner.run if owner is not None else None)
    layout = usable(wanted.dir or (owner.store if owner is not None and not setting("DIR") else find_store()))
    given = wanted.id or (setting("RUN_ID") if marks.OWNER not in os.environ else None)
    found = _find(layout, given) if given else None
    if found is not None and wanted.resume == "never":
        warn(
            "resume",
            f"The run {given} exists and resume='never' was asked for: a new run is begun under another id.",
        )
        given = found = None
    if given and found is None and wanted.resume == "must":
        warn(
            "resume",
            f"resume='must' was asked for, and {layout.root} holds no run {given}: it is begun anew.",
            key=given,
        )
    project, run_id = found or (_project(wanted, owner, layout), _new_id(given))
    facts = Start(
        wanted.name or framework or _default_name(),
        project,
        parent,
        wanted.group,
        wanted.tags,
        wanted.notes,
        opened_by,
        framework,
    )
    journal = journal_in(layout, project, run_id, "run")
    run = Run(journal, layout, facts, id=run_id)
    run.event("start", facts.body(resumed=found is not None))
    marks.export(run_id, project, layout.root, run.by_user)
    session.register(run)
    surround = Surrounding(run, project)
    if opened_by == "training":
        surround.later()
    else:
        background.submit(surround.describe)
    run.before_close(surround.describe)
    run.opened_in(monotonic_ns() - started)
    return run


def launch(
    project: str | None = None, name: str | None = None, tags: tuple[str, ...] = (), group: str | None = None
) -> Run | None:
    """The run of `autotrack run`, from the interpreter's start to its end; None in workers and where nothing is recorded."""
    if not session.recording() or is_worker() or rank() > 0:
        return None
    run = open_root(Wanted(project, name, group, tags, id=marks.continued()), "launcher")
    session.set_launched(run)
    watch_exit(run)
    return run


def _inherited() -> Run | None:
    """In a forked child of a process with an open run: that run; a worker never opens one of its own."""
    run: Run | None = session.active_run()
    return run if run is not None and run.foreign else None


def _adopt(wanted: Wanted) -> Run | None:
    """The launcher's run for the first `init` of its script; the later ones open runs as ever, which are children of it."""
    run = session.launched()
    if run is None or run not in session.open_runs() or wanted.id is not None:
        return None
    if run.adopted:
        if wanted.parent is None and wanted.dir in (None, run.layout.root):
            wanted.parent, wanted.parent_project = run.id, run.project
        return None
    run.by_user = True
    run.adopt(wanted.given_name, wanted.given_project, wanted.group, wanted.tags, wanted.notes)
    adopted: Run = run
    return adopted


class RankRun(Run):
    """A run as a rank above 0 sees it: what it logs stands under `rank.<k>/`, beside the first rank's."""

    def log(self, values: Mapping[str, Any], step: int | None = None) -> None:
        """Record metrics as `Run.log` does, under this rank's prefix."""
        super().log({f"rank.{rank()}/{key}": value for key, value in items(values)}, step)


def attach(child: str | None = None) -> Run | None:
    """In a worker or a rank above 0 of a run of an ancestor process: that run, or a child of it, written to from here."""
    owner = marks.owner() if is_worker() or rank() > 0 else None
    if owner is None:
        return None
    layout = Layout(owner.store)
    journal = journal_in(layout, owner.project, owner.run, "worker")
    facts = Start(owner.run, owner.project, None, None, (), "", "worker")
    kind = RankRun if rank() > 0 else Run
    run = kind(journal, layout, facts, id=owner.run)
    run.foreign, run.by_user = True, owner.by_user
    if child not in (None, run.id):
        run = kind(journal, layout, facts, id=child, parent_run=run)
        run.foreign = True
    session.register(run)
    return run


class Surrounding:
    """What the helper thread does once for a run: mark it as live, begin to sample the machine, describe what surrounds it."""

    def __init__(self, run: Run, project: str) -> None:
        self._run: Run | None = run
        self._project = project
        self._task: background.Task | None = None

    def later(self) -> None:
        """Wait a moment: a fit of a millisecond is not to share its interpreter with our work."""
        self._task = background.soon(self.describe)

    def describe(self) -> None:
        """On the helper thread; a second call does nothing."""
        run, self._run = self._run, None
        if self._task is not None:
            self._task.cancel()
        if run is None:
            return
        if run in session.open_runs():
            with guarded("marking a run as open"):
                marks.mark_open(run.layout, run.id, self._project)
            with guarded("starting the sampler"):
                from autotrack.sampler import start

                run.on_finish(start(run).stop)
        with guarded("preparing to keep checkpoints"):
            prepare(run)
        with guarded("capturing the environment"):
            from autotrack.capture.collect import collect

            collect(run)
        with guarded("noting the heads of the registry"):
            _note_heads(run)


def _note_heads(run: Run) -> None:
    """The last decision about each model, as this run finds it: what a chain that was written anew is found out by."""
    if not run.layout.registry.is_dir():
        return
    from autotrack.registry.chain import heads_of

    heads = heads_of(run.layout.registry)
    if heads:
        run.event("registry", {"heads": heads})


def _project(wanted: Wanted, owner: marks.Owner | None, layout: Layout) -> str:
    """The project of a new run: what was asked for, else its parent's where that can be told at once, else the default."""
    if wanted.given_project is not None:
        return wanted.given_project
    if wanted.parent is not None:
        return wanted.parent_project or _project_of(wanted.parent, owner, layout) or wanted.project
    return wanted.project if owner is None or setting("PROJECT") else owner.shown


def _project_of(run_id: str, owner: marks.Owner | None, layout: Layout) -> str | None:
    known = {run.id: run.project for run in session.open_runs()}
    if owner is not None:
        known[owner.run] = owner.shown
    folders = (name for name in _names(layout.runs) if (layout.runs / name / run_id).is_dir())
    return known.get(run_id) or next(map(decode_project, folders), None)


def _find(layout: Layout, run_id: str) -> tuple[str, str] | None:
    """(project, id) of the run whose id this is, or of the only one that begins with it."""
    found = []
    for project in _names(layout.runs):
        for name in _names(layout.runs / project):
            if name == run_id:
                return decode_project(project), name
            if name.startswith(run_id):
                found.append((decode_project(project), name))
    return found[0] if len(found) == 1 else None


def _names(folder: Path) -> list[str]:
    try:
        return os.listdir(folder)
    except OSError:
        return []


def _new_id(given: str | None) -> str:
    if given is None:
        return new_run_id()
    if is_run_id(given):
        return given
    warn(
        "run-id",
        f"{given!r} cannot be a run id (letters, digits, - and _, at most 64); another one was made.",
        key=given[:99],
    )
    return new_run_id()


def _default_name() -> str:
    import sys

    main = getattr(sys.modules.get("__main__"), "__file__", None) or (sys.argv[0] if sys.argv else "")
    stem = os.path.splitext(os.path.basename(main))[0]
    return stem if stem and not stem.startswith("-") else "run"


def unrecorded_run(wanted: Wanted) -> Run:
    """A run that keeps nothing: what is written to it is lost."""
    facts = Start(
        wanted.name or "disabled", wanted.project, None, wanted.group, wanted.tags, wanted.notes, "disabled"
    )
    return Run(None, Layout(find_store()), facts, id=new_run_id())


def _tags(tags: Any) -> tuple[str, ...]:
    if tags is None:
        return ()
    if isinstance(tags, str):
        return tuple(tag.strip() for tag in tags.split(",") if tag.strip())
    if isinstance(tags, Iterable):
        return tuple(dict.fromkeys(str(tag) for tag in tags))
    warn("tags", f"tags={show(tags)} is neither text nor a list of texts; it was left out.", key=show(tags))
    return ()


def _id(parent: Any) -> str | None:
    return _text(getattr(parent, "id", parent))


def _text(value: Any) -> str | None:
    return value if value is None or isinstance(value, str) else show(value).strip("'")


def _folder(given: Any) -> Path | None:
    if not given:
        return None
    try:
        return absolute(os.fsdecode(given))
    except TypeError:
        warn(
            "dir",
            f"dir={show(given)} is no path; the default store is used. Give text or a Path.",
            key=show(given),
        )
        return None


def _fitting(project: str) -> str:
    """A project's name that can be a folder's: cut, with a warning, where it is too long."""
    try:
        encode_project(project)
    except StoreError as error:
        short = project[:60] if project[:60].isascii() else project[:20]
        warn("project", f"{error} The run is recorded in {short!r}.", key=project)
        return short
    return project


def _log_model(given: str | bool | None) -> LogModel | None:
    """What `log_model=` means; a word that is none is warned of, and the environment's counts."""
    try:
        return log_model_choice(given)
    except ValueError as error:
        warn("log-model", f"{error}; this was left out.", key=show(given))
        return None


def resume_word(resume: str | bool | None) -> str:
    """What `resume=` means: "allow", "must" or "never"; None is what AUTOTRACK_RESUME says, else "allow"."""
    word = (
        setting("RESUME")
        if resume is None
        else {True: "must", False: "never"}.get(resume, resume)
        if isinstance(resume, bool)
        else resume
    )
    if word is None:
        return "allow"
    if word not in RESUME_WORDS:
        warn(
            "resume",
            f"resume={word!r} is none of {', '.join(RESUME_WORDS)}; 'allow' was used.",
            key=str(word),
        )
        return "allow"
    return str(word)
