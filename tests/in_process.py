"""The command line asked in this process: a process of its own takes seconds to start."""

from __future__ import annotations

import contextlib
import io

import main


def answer(*flags: str) -> tuple[int, str]:
    """The exit status of `main.py` with these flags, and all that it printed.

    What `main` does not turn into a status is raised, as it would be a traceback.
    """
    for name in main.FLAGS:
        main.FLAGS[name].unparse()
    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.redirect_stderr(printed):
        try:
            main.main(main.parse_flags(["main.py", *flags]))
        except SystemExit as end:
            return int(end.code or 0), printed.getvalue()
    return 0, printed.getvalue()
