"""Whether this process is the kernel of a notebook, and of which."""

import os
import sys


def in_notebook() -> bool:
    """Whether cells are executed here: IPython's shell has a kernel. That a kernel's package is imported says nothing."""
    shell = getattr(sys.modules.get("IPython"), "get_ipython", lambda: None)()
    return hasattr(shell, "kernel")


def notebook_path() -> str | None:
    """The notebook's path where its front end tells it (VS Code, Jupyter Server), else None."""
    main = sys.modules.get("__main__")
    path = getattr(main, "__vsc_ipynb_file__", None) or os.environ.get("JPY_SESSION_NAME")
    return path if isinstance(path, str) else None
