"""The tables of the index, and the number that changes with them.

History of the schema: 1, the first; 2, steps and times once for the keys that share them, and what tells a folder
that changed; 4, a check in each row (`checks.py`), and the last values of a run in one place. An index of another number is
thrown away and built again from the journals.
Times are Unix nanoseconds unless a column says otherwise; a NULL number in `metrics` stands for NaN.
"""

from sqlalchemy import (
    BigInteger,
    Boolean,
    Column,
    Double,
    ForeignKey,
    Index,
    Integer,
    LargeBinary,
    MetaData,
    Table,
    Text,
    UniqueConstraint,
)

VERSION = 5
metadata = MetaData()


class Broken(Exception):
    """The index cannot be used: it is damaged, or of another schema."""


# One run folder. `settled`: final and its writer gone, so it is not opened while `mtime` and `ctime` are the same;
# `loose`: settled, but perhaps a copy that grows in place, so that `size`, the bytes of its journals, is looked at too.
# `journals` and `runs`: how many rows it has there.
folders = Table(
    "folders",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("project", Text, nullable=False),
    Column("run", Text, nullable=False),
    Column("journals", Integer, nullable=False),
    Column("runs", Integer, nullable=False),
    Column("mtime", BigInteger, nullable=False),
    Column("ctime", BigInteger, nullable=False),
    Column("size", BigInteger, nullable=False),
    Column("settled", Boolean, nullable=False),
    Column("loose", Boolean, nullable=False),
    Column("sealed", Boolean, nullable=False),
    Column("check", Integer, nullable=False),
    UniqueConstraint("project", "run"),
)

journals = Table(  # one file stem: one process of one run
    "journals",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("folder", ForeignKey("folders.pk"), nullable=False, index=True),
    Column("stem", Text, nullable=False),
    Column("segments", Integer, nullable=False),
    Column("role", Text, nullable=False),
    Column("rank", Integer, nullable=False),
    Column("host", Text),
    Column("pid", BigInteger),
    Column("pidns", Text),
    Column("boot", Text),
    Column("started", BigInteger),
    Column("wall", BigInteger),
    Column("check", Integer, nullable=False),
    UniqueConstraint("folder", "stem"),
)

segments = Table(  # one file: how far it was read (`offset`, in decompressed bytes) and its clocks
    "segments",
    metadata,
    Column("journal", ForeignKey("journals.pk"), primary_key=True),
    Column("number", Integer, primary_key=True),
    Column("offset", BigInteger, nullable=False),
    Column("damaged", Integer, nullable=False),
    Column("unknown", Integer, nullable=False),
    Column("wall", BigInteger),
    Column("mono", BigInteger),
    Column("last_wall", BigInteger),
    Column("last_seq", BigInteger, nullable=False),
    Column("problem", Text),
    Column("check", Integer, nullable=False),
    sqlite_with_rowid=False,
)

# A folder's run (`root`), or a child whose events stand in that folder's journals; `kinds`: how many events of each kind it has.
# The check is that of all but `status`.
runs = Table(
    "runs",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("folder", ForeignKey("folders.pk"), nullable=False),
    Column("id", Text, nullable=False, index=True),
    Column("root", Boolean, nullable=False),
    Column("shown", Boolean, nullable=False),
    Column("kinds", Text, nullable=False),
    Column("project", Text, nullable=False),
    Column("name", Text, nullable=False),
    Column("parent", Text, index=True),
    Column("group", Text),
    Column("notes", Text, nullable=False),
    Column("tags", Text, nullable=False),
    Column("framework", Text),
    Column("opened_by", Text),
    Column("archived", Boolean, nullable=False),
    Column("created", BigInteger, nullable=False),
    Column("finished", BigInteger),
    Column("duration", Double, nullable=False),
    Column("attempts", Integer, nullable=False),
    Column("last_wall", BigInteger, nullable=False),
    Column("ended", Text),
    Column("config", LargeBinary, nullable=False),
    Column("finish", LargeBinary),
    Column("check", Integer, nullable=False),
    Column("status", Text, nullable=False),
    UniqueConstraint("folder", "id"),
)

tags = Table(
    "tags",
    metadata,
    Column("run", ForeignKey("runs.pk"), primary_key=True),
    Column("tag", Text, primary_key=True),
    sqlite_with_rowid=False,
)

# `number` for numbers and truth values, `text` for strings and lists (as JSON); both NULL: None
config_values = Table(
    "config_values",
    metadata,
    Column("run", ForeignKey("runs.pk"), primary_key=True),
    Column("key", Text, primary_key=True),
    Column("kind", Text, nullable=False),
    Column("number", Double),
    Column("text", Text),
    sqlite_with_rowid=False,
)

keys = Table(
    "keys",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("key", Text, nullable=False, unique=True),
    Column("check", Integer, nullable=False),
)

metrics = Table(  # what `history()` of the key amounts to
    "metrics",
    metadata,
    Column("run", ForeignKey("runs.pk"), primary_key=True),
    Column("key", ForeignKey("keys.pk"), primary_key=True),
    Column("first", Double),
    Column("last", Double),
    Column("min", Double),
    Column("max", Double),
    Column("mean", Double),
    Column("count", BigInteger, nullable=False),
    Column("nonfinite", BigInteger, nullable=False),
    Column("first_step", BigInteger),
    Column("last_step", BigInteger),
    Column("min_step", BigInteger),
    Column("max_step", BigInteger),
    Column("check", Integer, nullable=False),
    sqlite_with_rowid=False,
)

lasts = Table(  # the last values of a run by key as JSON, without those of the system; `keys`: how many rows of `metrics` it has
    "lasts",
    metadata,
    Column("run", ForeignKey("runs.pk"), primary_key=True),
    Column("keys", Integer, nullable=False),
    Column("data", LargeBinary, nullable=False),
    Column("check", Integer, nullable=False),
)

events = Table(  # everything but metrics, samples and heartbeats; `body` as JSON, compressed when long
    "events",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("run", ForeignKey("runs.pk"), nullable=False),
    Column("journal", ForeignKey("journals.pk"), nullable=False),
    Column("seq", BigInteger, nullable=False),
    Column("wall", BigInteger, nullable=False),
    Column("kind", Text, nullable=False),
    Column("body", LargeBinary, nullable=False),
    Column("check", Integer, nullable=False),
    Index("events_by_run", "run", "kind"),
)

axes = Table(  # sequence numbers, steps and times (microseconds) of a chunk; keys that are logged together share them
    "axes",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("run", ForeignKey("runs.pk"), nullable=False, index=True),
    Column("seqs", LargeBinary, nullable=False),
    Column("steps", LargeBinary),
    Column("times", LargeBinary, nullable=False),
    Column("check", Integer, nullable=False),
)

# Up to a few thousand points of one key from one journal: cut in the order of its file, inside by sequence number.
# `min_place` and `max_place` count from 0 inside the chunk. Infinities and NaN are in no minimum, maximum or sum;
# a NULL sum is beyond what a double holds. `check` is that of what stands before it and after `pk`, `values_check` that of the
# values and of whose they are.
chunks = Table(
    "chunks",
    metadata,
    Column("pk", Integer, primary_key=True),
    Column("run", ForeignKey("runs.pk"), nullable=False),
    Column("key", ForeignKey("keys.pk"), nullable=False),
    Column("journal", ForeignKey("journals.pk"), nullable=False),
    Column("sampled", Boolean, nullable=False),
    Column("part", Integer, nullable=False),
    Column("points", Integer, nullable=False),
    Column("nonfinite", Integer, nullable=False),
    Column("sum", Double),
    Column("min", Double),
    Column("min_step", BigInteger),
    Column("min_time", BigInteger),
    Column("min_place", Integer),
    Column("max", Double),
    Column("max_step", BigInteger),
    Column("max_time", BigInteger),
    Column("max_place", Integer),
    Column("first", Double),
    Column("first_step", BigInteger),
    Column("first_seq", BigInteger, nullable=False),
    Column("first_time", BigInteger, nullable=False),
    Column("last", Double),
    Column("last_step", BigInteger),
    Column("last_seq", BigInteger, nullable=False),
    Column("last_time", BigInteger, nullable=False),
    Column("axis", ForeignKey("axes.pk"), nullable=False, index=True),
    Column("check", Integer, nullable=False),
    Column("values", LargeBinary, nullable=False),
    Column("values_check", Integer, nullable=False),
    UniqueConstraint("run", "key", "journal", "sampled", "part"),
)
