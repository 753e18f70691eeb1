"""Permissions of files that hold keys: nobody but the service may read them, or put others in their place."""

from __future__ import annotations

import os
import shlex
import stat
from pathlib import Path


def exposure(path: Path) -> tuple[str, str] | None:
    """What is wrong with the permissions of a key file or of a directory of them, and the command that mends it.

    None when all is well. A directory around the file is no excuse: files are moved, copied and mounted elsewhere.

    Raises:
        OSError: it cannot be looked at.
    """
    facts = path.stat()
    mode, ours = stat.S_IMODE(facts.st_mode), facts.st_uid == os.geteuid()
    if stat.S_ISDIR(facts.st_mode):
        # A mount of an orchestrator belongs to root and shows the names of its files, which is no harm.
        if not mode & (0o077 if ours else 0o022):
            return None
        return f"{path} has mode {mode:04o}: other users may use it", f"chmod 700 {shlex.quote(str(path))}"
    if not mode & 0o077 or (not ours and not mode & 0o037 and facts.st_gid in {os.getegid(), *os.getgroups()}):
        return None  # closed, or somebody else's and mounted for a group of ours (as by Kubernetes with fsGroup)
    return f"{path} has mode {mode:04o}: other users may use it", f"chmod 600 {shlex.quote(str(path))}"
