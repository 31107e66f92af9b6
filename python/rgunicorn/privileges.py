"""Becoming the worker's user."""

from __future__ import annotations

import os


def become(uid: int, gid: int, initgroups: bool = False) -> None:
    """Changes groups, group and user, in this order, and makes sure that it happened. Nothing is called for what is so.

    `initgroups` sets the group as well, which Gunicorn forgets. Without it the supplementary groups stay, as with
    Gunicorn, but for root's own: a process that gave up root must not keep its group.
    """
    leaves_root = os.geteuid() == 0 and uid != 0
    name = _name(uid) if initgroups else None
    if name is not None and (leaves_root or os.geteuid() == 0):
        os.initgroups(name, gid)
    elif leaves_root:
        groups = os.getgroups()
        if 0 in groups and gid != 0:
            os.setgroups([group for group in groups if group != 0])
    if os.getresgid() != (gid, gid, gid):
        os.setgid(gid)
    if os.getresuid() != (uid, uid, uid):
        os.setuid(uid)
    if os.getresgid() != (gid, gid, gid) or os.getresuid() != (uid, uid, uid):
        raise RuntimeError(f"cannot become user {uid}, group {gid}: still {os.getresuid()}, {os.getresgid()}")


def _name(uid: int) -> str | None:
    import pwd

    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return None
