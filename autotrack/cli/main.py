"""The console script: `--version` without loading the commands, everything else through the app."""

import io
import sys


def main() -> None:
    """Run the command line of this process."""
    for name in ("stdout", "stderr"):
        if getattr(sys, name) is None:
            # It was closed before we started (`>&-`).
            setattr(sys, name, io.TextIOWrapper(io.BytesIO(), "utf-8"))
    try:
        if sys.argv[1:] == ["--version"]:
            from autotrack import __version__

            sys.stdout.write(f"autotrack {__version__}\n")
            return
        from autotrack.cli.app import app

        app(prog_name="autotrack")
    except KeyboardInterrupt:
        sys.exit(130)
