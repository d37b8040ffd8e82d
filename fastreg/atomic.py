"""Files that are replaced whole or not at all.

a) The new bytes go to a temporary file in the same folder, and to the disk; then one rename puts it in the place of
   the previous file, and the folder goes to the disk too. Whoever looks sees a whole file, the previous or the new.
b) Whatever fails before the rename leaves the previous file alone, and removes the temporary one. Only a killed process
   leaves that behind: `.fastreg-<random>.tmp`.
c) A symbolic link stays one: the file that it leads to is replaced. Permissions of a previous file are kept; a new one
   has those that the umask leaves. What is no regular file, or may not be written, is refused.
"""

import errno
import os
import stat
from contextlib import contextmanager, suppress

_FLAGS = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_CLOEXEC", 0) | getattr(os, "O_BINARY", 0)


@contextmanager
def replacing(path):
    """Give a binary file to write; when the block ends without an exception it becomes the file at `path`.

    Raises
    ------
    OSError
        With errno, path, and what is at `path` now: "previous file kept", "nothing written", or, where only the flush
        of the folder failed, "new file in place".
    """
    path = as_path(path)
    outcome = "nothing written"
    try:
        target = os.path.realpath(path)
        mode = _mode(path)
        if mode is not None:
            outcome = "previous file kept"
            _check_writable(path)
        with _temporary(os.path.dirname(target), mode) as (file, name):
            yield file
            file.flush()
            os.fsync(file.fileno())
            file.close()
            os.replace(name, target)
        outcome = "new file in place, but a power failure may still undo it"
        _flush_folder(os.path.dirname(target))
    except OSError as error:
        raise OSError(error.errno, f"{error.strerror}; {outcome}", path) from error


def as_path(path):
    """Return `path` as text if it may name a file."""
    name = os.fsdecode(path) if isinstance(path, str | bytes | os.PathLike) else ""
    if not name or "\0" in name:
        raise ValueError(f"path must be the name of a file, got {path!r}")
    return name


def check_replaceable(path):
    """Raise the OSError of a path where `replacing` is bound to fail. It may fail elsewhere too: disks get full."""
    folder = os.path.dirname(os.path.realpath(path))
    os.stat(folder)  # a folder that is missing is named itself
    for place in (folder, path) if _mode(path) is not None else (folder,):
        _check_writable(place)


def _mode(path):
    """Return the permissions of the file at `path`, or None if there is none yet."""
    try:
        mode = os.stat(path).st_mode
    except FileNotFoundError:
        if not os.path.basename(path):  # a slash at the end
            raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path) from None
        return None
    check_regular(mode, path)
    return stat.S_IMODE(mode)


def _check_writable(path):
    if not os.access(path, os.W_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), path)


def check_regular(mode, path):
    """Raise an OSError if `mode` is that of a folder, a pipe or a device."""
    if stat.S_ISDIR(mode):
        raise OSError(errno.EISDIR, os.strerror(errno.EISDIR), path)
    if not stat.S_ISREG(mode):
        raise OSError(errno.EINVAL, "Not a regular file", path)


@contextmanager
def _temporary(folder, mode):
    """Give a new file in `folder`, and its name; the name is gone after an exception."""
    name = os.path.join(folder, f".fastreg-{os.urandom(8).hex()}.tmp")
    descriptor = os.open(name, _FLAGS, 0o666)
    try:
        with open(descriptor, "wb") as file:
            if mode is not None:
                os.chmod(name, mode)
            yield file, name
    except BaseException:
        with suppress(OSError):
            os.unlink(name)
        raise


def _flush_folder(folder):
    if os.name != "posix":  # elsewhere folders cannot be opened
        return
    descriptor = os.open(folder, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    except OSError as error:
        if error.errno != errno.EINVAL:  # a file system that has no such thing
            raise
    finally:
        os.close(descriptor)
