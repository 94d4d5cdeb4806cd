"""The integrations, one module a framework, imported as `autotrack.integrations.<framework>`."""

if __name__ != "autotrack.integrations":
    raise ImportError(
        f"the integrations were imported as {__name__!r}, a second copy under another name; "
        "import autotrack.integrations instead"
    )
