"""The console script: `--version` without loading the commands, everything else through the app."""

import sys


def main() -> None:
    """Run the command line of this process."""
    try:
        if sys.argv[1:] == ["--version"]:
            from autotrack import __version__

            sys.stdout.write(f"autotrack {__version__}\n")
            return
        from autotrack.cli.app import app

        app()
    except KeyboardInterrupt:
        sys.exit(130)
