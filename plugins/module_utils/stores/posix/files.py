# Copyright: serving.triton contributors
# GNU General Public License v3.0+ (see LICENSE or https://www.gnu.org/licenses/gpl-3.0.txt)
"""File operations of the POSIX store: checked copies, the exchange of two folders, durability, and errors said plainly."""

from __future__ import annotations

import errno
import grp
import hashlib
import io
import os
import pwd
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from ...core.errors import InputError, ServingError, UnavailableError
from ...repository.publish import SourceFile

BLOCK_SIZE = 1 << 20
FILE_MODE = 0o644
DIRECTORY_MODE = 0o755
# Neither through a link nor, at a pipe, until somebody writes.
_READING = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
# A full file system breaks servers that write there too: leave this much.
SPARE_BYTES = 16 << 20

_EXPLAINED = {
    errno.ENOSPC: ("the file system is full", "Free space there, or set keep_versions or prune to publish less."),
    errno.EDQUOT: ("the quota is used up", "Free space or raise the quota of the publishing user."),
    errno.EROFS: ("the file system is mounted read-only", "Publish from a machine that mounts it read-write."),
    errno.EACCES: ("permission denied", "Publish as the repository's owner (become_user), or change its owner or mode."),
    errno.EPERM: ("the operation is not permitted", "Publish as root or leave out owner and group; an immutable flag forbids changes too."),
    errno.ENOTDIR: ("a part of the path is not a folder", "Correct the path."),
    errno.ELOOP: ("a link is in the way", "Put the file or folder itself there: nothing is read or written through links in a repository."),
    errno.ENAMETOOLONG: ("the name is too long for this file system", "Shorten it."),
    errno.EFBIG: ("the file is larger than the file system or the user's limit (ulimit -f) allows", "Raise the limit or split the file."),
    errno.ESTALE: ("the network file system lost its handle", "Mount it again, then run this again."),
    errno.EIO: ("the disk or its server reports an input/output error", "Look at the machine's kernel log."),
    errno.ENOTEMPTY: ("something else appeared there in the meantime", "Look at what it is; then run this again."),
    errno.EEXIST: ("something else appeared there in the meantime", "Look at what it is; then run this again."),
}


@dataclass(frozen=True)
class Attributes:
    """What published files and folders get. uid, gid: None leaves the publisher's own. enforce_*: also on what is there already."""

    uid: int | None = None
    gid: int | None = None
    file_mode: int = FILE_MODE
    directory_mode: int = DIRECTORY_MODE
    enforce_mode: bool = False

    def give(self, target: str | Path | int, *, folder: bool = False) -> None:
        """Sets owner, group and mode, whatever the umask is. target: an open file, or a path, which is no link's."""
        if not isinstance(target, int):
            # By whoever owns the folder above it, a path can be made a link at any moment.
            handle = os.open(target, _READING | (os.O_DIRECTORY if folder else 0))
            try:
                self.give(handle, folder=folder)
            finally:
                os.close(handle)
            return
        if self.uid is not None or self.gid is not None:
            os.chown(target, -1 if self.uid is None else self.uid, -1 if self.gid is None else self.gid)
        os.chmod(target, self.directory_mode if folder else self.file_mode)

    def fit(self, status: os.stat_result) -> bool:
        """Whether a file that is there has what was asked for; what was not asked for always fits."""
        mode_fits = not self.enforce_mode or status.st_mode & 0o7777 == self.file_mode
        return mode_fits and self.uid in (None, status.st_uid) and self.gid in (None, status.st_gid)


def user_id(name: str | None) -> int | None:
    """The number of a user. Raises InputError for an unknown name."""
    return _account(name, "owner", lambda each: pwd.getpwnam(each).pw_uid)


def group_id(name: str | None) -> int | None:
    """The number of a group. Raises InputError for an unknown name."""
    return _account(name, "group", lambda each: grp.getgrnam(each).gr_gid)


def _account(name: str | None, option: str, look_up: Callable[[str], int]) -> int | None:
    if name is None or name.isdecimal():
        return None if name is None else int(name)
    try:
        return look_up(name)
    except KeyError:
        remedy = "Create the account first, or correct the name."
        raise InputError(f"there is no such account: {name}", where=option, remedy=remedy) from None


@contextmanager
def explained(where: str | Path) -> Iterator[None]:
    """Turns an OSError into an error that tells the user what to do."""
    try:
        yield
    except OSError as error:
        raise explain(error, str(error.filename or where)) from error


def explain(error: OSError, where: str) -> ServingError:
    what, remedy = _EXPLAINED.get(error.errno or 0, (error.strerror or str(error), "Correct this, then run it again."))
    return UnavailableError(what, where=where, remedy=remedy, errno=errno.errorcode.get(error.errno or 0, ""))


@contextmanager
def opened(root: Path, key: str) -> Iterator[int]:
    """A regular file below a folder, opened for reading; no part of its path below that is followed where it is a link."""
    *folders, name = key.split("/")
    handle = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
    try:
        for part in folders:
            handle = _instead(handle, os.open(part, _READING | os.O_DIRECTORY, dir_fd=handle))
        handle = _instead(handle, os.open(name, _READING, dir_fd=handle))
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise InputError("it is no regular file", where=str(root / key), remedy="Remove it, then run this again.")
        yield handle
    finally:
        os.close(handle)


def _instead(old: int, new: int) -> int:
    os.close(old)
    return new


def read_file(root: Path, key: str) -> bytes | None:
    """A small file's content, None where there is none."""
    try:
        with opened(root, key) as handle, open(handle, "rb", closefd=False) as file:
            return file.read()
    except FileNotFoundError:
        return None


def check_way(root: Path, key: str) -> None:
    """Raises OSError where a folder on the way to a file below root is a link: whoever owns the repository may have made it."""
    for folder in (root / key).parents:
        if folder == root:
            return
        if folder.is_symlink():
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP), str(folder))


def copy_checked(source: SourceFile, target: Path, attributes: Attributes, tick: Callable[[int, int], None]) -> None:
    """Copies one file in bounded memory. Raises InputError when its content is not the planned one any more."""
    hasher = hashlib.sha256()
    block = memoryview(bytearray(min(BLOCK_SIZE, source.size + 1)))
    with _open_source(source.path) as reader, open(target, "xb", buffering=0) as writer:
        while count := reader.readinto(block):
            hasher.update(block[:count])
            _write(writer.fileno(), block[:count])
            tick(0, count)
        attributes.give(writer.fileno())
    if hasher.hexdigest() != source.sha256:
        remedy = "Run this again when nobody writes the source."
        raise InputError("the file changed while it was published", where=source.path, remedy=remedy)
    tick(1, 0)


def _open_source(path: str) -> io.FileIO:
    try:
        return io.FileIO(path)
    except OSError as error:
        remedy = "Check the source file's owner and mode, or run this again when nobody changes the source."
        raise InputError(f"cannot be read: {error.strerror}", where=path, remedy=remedy) from error


def _write(handle: int, data: memoryview) -> None:
    # A raw write may be short: on a nearly full disk, or when a signal comes.
    while data:
        data = data[os.write(handle, data) :]


def write_new(target: Path, data: bytes, attributes: Attributes) -> None:
    """Writes a small file that is not there yet, durably."""
    with open(target, "xb", buffering=0) as writer:
        _write(writer.fileno(), memoryview(data))
        attributes.give(writer.fileno())
        os.fsync(writer.fileno())


def make_folders(folder: Path, attributes: Attributes) -> None:
    """Makes a folder and those above it that are missing."""
    missing = [folder]
    while not missing[-1].parent.exists():
        missing.append(missing[-1].parent)
    for each in reversed(missing):
        each.mkdir(exist_ok=True)
        attributes.give(each, folder=True)


def check_space(folder: Path, needed: int, count: int) -> None:
    """Raises UnavailableError when so many bytes or files cannot be there for lack of space."""
    status = os.statvfs(folder)
    free = status.f_bavail * status.f_frsize
    # Each file ends in a block that is not full.
    wanted = needed + count * status.f_bsize + (SPARE_BYTES if needed else 0)
    # Some network file systems report zeros: then only the copy itself can tell.
    if status.f_blocks and free < wanted:
        what = f"the file system has {_size(free)} free, this needs {_size(wanted)}"
        raise UnavailableError(what, where=str(folder), remedy=_EXPLAINED[errno.ENOSPC][1], errno="ENOSPC", free=free, needed=wanted)
    if status.f_files and status.f_favail < count:
        what = f"the file system has {status.f_favail} inodes free, this needs {count}"
        raise UnavailableError(what, where=str(folder), remedy="Free some files there.", errno="ENOSPC")


def _size(count: float) -> str:
    for unit in ("bytes", "KiB", "MiB"):
        if count < 1024:
            return f"{count:.4g} {unit}"
        count /= 1024
    return f"{count:.4g} GiB"


def exchange(one: Path, two: Path) -> bool:
    """Swaps two folders in one step. False where the file system (NFS, CephFS, some FUSE) or the C library cannot."""
    import ctypes

    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    if renameat2(_AT_FDCWD, os.fsencode(one), _AT_FDCWD, os.fsencode(two), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in (errno.EINVAL, errno.ENOSYS, errno.ENOTSUP):
        return False
    raise OSError(number, os.strerror(number), str(two))


def sync_file_system(folder: Path) -> None:
    """Waits until everything written to the folder's file system is on its disk: one call instead of one for each file."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        import ctypes

        syncfs = getattr(ctypes.CDLL(None, use_errno=True), "syncfs", None)
        if syncfs is None:
            os.sync()
        elif syncfs(handle):
            number = ctypes.get_errno()
            raise OSError(number, os.strerror(number), str(folder))
    finally:
        os.close(handle)


def sync_folder(folder: Path) -> None:
    """Makes renames in a folder durable. A file system that cannot sync folders does it by itself."""
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    except OSError as error:
        if error.errno not in (errno.EINVAL, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def link_tree(source: Path, target: Path, skip: Callable[[str], bool], attributes: Attributes, prefix: str = "") -> None:
    """Makes hard links of a folder's files in a folder that may hold others. skip: by path relative to the first folder."""
    with os.scandir(source) as entries:
        for entry in list(entries):
            path = f"{prefix}{entry.name}"
            if skip(path):
                continue
            if entry.is_dir(follow_symlinks=False):
                folder = target / entry.name
                if not folder.exists():
                    folder.mkdir()
                    attributes.give(folder, folder=True)
                link_tree(Path(entry.path), folder, skip, attributes, f"{path}/")
            elif not (target / entry.name).exists():
                os.link(entry.path, target / entry.name, follow_symlinks=False)
