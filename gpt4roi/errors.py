"""The one root of every mistake that a user can make."""

from __future__ import annotations


class UserError(ValueError):
    """A mistake of the user's; the message is one sentence for them: what was wrong, what was got, what to do.

    Every boundary (command line, HTTP API, page) shows the message and nothing else. Any other exception is a bug of ours: it keeps its
    traceback on the command line, becomes a 500 of the API, and goes to the log.
    """
