# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""Whether an account can read a path, told from permissions alone: root asks on behalf of an account that may not exist yet."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from dataclasses import dataclass


@dataclass(frozen=True)
class Account:
    """The account that a service runs as. uid: -1 when it does not exist yet. root: whether whoever asks is root."""

    name: str
    uid: int
    groups: frozenset[int]
    root: bool


def account_of(name: str) -> Account:
    """The account `name`, or that of this process when it is empty or this process is not root's."""
    root = os.geteuid() == 0
    if not root or not name:
        mine = os.geteuid()
        return Account(pwd.getpwuid(mine).pw_name, mine, frozenset({os.getegid(), *os.getgroups()}), root)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        return Account(name, -1, frozenset(), root)
    more = {group.gr_gid for group in grp.getgrall() if name in group.gr_mem}
    return Account(name, entry.pw_uid, frozenset({entry.pw_gid, *more}), root)


def _allowed(path: str, account: Account, bits: int) -> bool:
    """bits: of 4 (read) and 1 (search or execute)."""
    if account.uid == 0:
        return True
    found = os.stat(path)
    mode = stat.S_IMODE(found.st_mode)
    if found.st_uid == account.uid:
        mode >>= 6
    elif found.st_gid in account.groups:
        mode >>= 3
    return mode & bits == bits


def reachable(path: str, account: Account) -> bool:
    """Whether the account can pass every folder above a path and read it (and, a folder, list it)."""
    real = os.path.realpath(path)
    try:
        folder = os.path.dirname(real)
        while True:
            if not _allowed(folder, account, 1):
                return False
            if folder == os.path.dirname(folder):
                break
            folder = os.path.dirname(folder)
        return _allowed(real, account, 5 if os.path.isdir(real) else 4)
    except OSError:
        return False
