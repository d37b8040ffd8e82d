"""Atomic saves: all of the previous file or all of the new one, and errors that say which."""

import errno
import os
import stat

import pytest

from fastreg import atomic
from fastreg.atomic import replacing

posix = pytest.mark.skipif(os.name != "posix", reason="permissions, pipes and folders of POSIX")


def save(path, data=b"new"):
    with replacing(path) as file:
        file.write(data)


@pytest.fixture
def path(tmp_path):
    path = tmp_path / "m.frg"
    path.write_bytes(b"old")
    return path


def folder(path):
    return sorted(os.listdir(path.parent))


def test_a_file_is_made_and_replaced(tmp_path):
    path = tmp_path / "m.frg"
    for data in (b"one", b"another"):
        save(path, data)
        assert path.read_bytes() == data
        assert folder(path) == ["m.frg"]


@pytest.mark.parametrize("kind", [str, os.fsencode, lambda path: path])
def test_paths_of_every_type(path, kind):
    save(kind(path))
    assert path.read_bytes() == b"new"


def test_a_path_without_a_folder_is_in_the_present_one(path, monkeypatch):
    monkeypatch.chdir(path.parent)
    save("m.frg")
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize("error", [ValueError, KeyboardInterrupt, MemoryError])
def test_an_exception_keeps_the_previous_file_and_leaves_nothing(path, error):
    def break_off():
        with replacing(path) as file:
            file.write(b"half")
            file.flush()
            raise error

    with pytest.raises(error):
        break_off()
    assert path.read_bytes() == b"old"
    assert folder(path) == ["m.frg"]


CALLS = ("open", "chmod", "fsync", "replace")
ERRNOS = (errno.ENOSPC, errno.EIO, errno.EDQUOT, errno.EROFS, errno.EACCES, errno.EFBIG, errno.EPERM, errno.ENOMEM)


def failing(number):
    def fail(*arguments, **keywords):
        raise OSError(number, os.strerror(number))

    return fail


@posix
@pytest.mark.parametrize("number", ERRNOS, ids=errno.errorcode.get)
@pytest.mark.parametrize("call", CALLS)
def test_a_call_that_fails_keeps_the_previous_file(path, monkeypatch, call, number):
    monkeypatch.setattr(atomic.os, call, failing(number))
    with pytest.raises(OSError) as caught:
        save(path)
    monkeypatch.undo()
    assert caught.value.errno == number
    assert caught.value.filename == str(path)
    assert os.strerror(number) + "; previous file kept" in str(caught.value)
    assert path.read_bytes() == b"old"
    assert folder(path) == ["m.frg"]


def test_without_a_previous_file_nothing_is_written(tmp_path, monkeypatch):
    monkeypatch.setattr(atomic.os, "fsync", failing(errno.ENOSPC))
    with pytest.raises(OSError, match="nothing written"):
        save(tmp_path / "m.frg")
    assert os.listdir(tmp_path) == []


@posix
def test_a_folder_that_cannot_be_flushed_is_told_apart(path, monkeypatch):
    monkeypatch.setattr(atomic, "_flush_folder", failing(errno.EIO))
    with pytest.raises(OSError, match="new file in place, but a power failure may still undo it"):
        save(path)
    assert path.read_bytes() == b"new"


@posix
@pytest.mark.parametrize("number", [errno.EINVAL, errno.EIO])
def test_a_file_system_without_flush_of_folders_is_no_error(path, monkeypatch, number):
    fsync = os.fsync

    def fail(descriptor):
        if stat.S_ISDIR(os.fstat(descriptor).st_mode):
            raise OSError(number, os.strerror(number))
        fsync(descriptor)

    monkeypatch.setattr(atomic.os, "fsync", fail)
    if number == errno.EINVAL:
        save(path)
    else:
        with pytest.raises(OSError, match="new file in place"):
            save(path)
    assert path.read_bytes() == b"new"


def test_a_full_disk(path):
    """A limit on the size of files ends a write in the middle, as a full disk does."""
    resource = pytest.importorskip("resource")
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, before[1]))
    try:
        with pytest.raises(OSError, match="previous file kept") as caught:
            save(path, bytes(1_000_000))
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)
    assert caught.value.errno == errno.EFBIG
    assert path.read_bytes() == b"old"
    assert folder(path) == ["m.frg"]


@posix
def test_permissions(path, tmp_path):
    path.chmod(0o640)
    save(path)
    assert stat.S_IMODE(path.stat().st_mode) == 0o640
    before = os.umask(0o027)
    try:
        save(tmp_path / "new")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "new").stat().st_mode) == 0o640


@posix
def test_a_file_that_may_not_be_written_is_kept(path, monkeypatch):
    monkeypatch.setattr(atomic.os, "access", lambda *arguments: False)  # the superuser may write everywhere
    with pytest.raises(PermissionError, match="previous file kept"):
        save(path)
    assert path.read_bytes() == b"old"


@posix
@pytest.mark.parametrize("depth", [1, 3])
def test_a_link_stays_one_and_its_target_is_replaced(path, tmp_path, depth):
    (tmp_path / "links").mkdir()
    last = path
    for number in range(depth):
        link = tmp_path / "links" / str(number)
        link.symlink_to(last)
        last = link
    save(last)
    assert last.is_symlink()
    assert path.read_bytes() == b"new"
    assert folder(path) == ["links", "m.frg"]


@posix
def test_a_link_to_nothing_makes_its_target(tmp_path):
    link, target = tmp_path / "link", tmp_path / "target"
    link.symlink_to(target)
    save(link)
    assert link.is_symlink()
    assert target.read_bytes() == b"new"


@posix
def test_what_is_no_regular_file_is_refused(tmp_path):
    (tmp_path / "loop").symlink_to(tmp_path / "loop")
    os.mkfifo(tmp_path / "pipe")
    cases = {
        tmp_path: errno.EISDIR,
        tmp_path / "loop": errno.ELOOP,
        tmp_path / "pipe": errno.EINVAL,
        "/dev/null": errno.EINVAL,
        tmp_path / "pipe" / "x": errno.ENOTDIR,
        tmp_path / "missing" / "x": errno.ENOENT,
        tmp_path / ("x" * 300): errno.ENAMETOOLONG,
    }
    for path, number in cases.items():
        with pytest.raises(OSError, match="nothing written") as caught:
            save(path)
        assert caught.value.errno == number
        assert caught.value.filename == str(path)
    assert sorted(os.listdir(tmp_path)) == ["loop", "pipe"]


@posix
@pytest.mark.parametrize("path", [5, None, True, "", b"", "a\0b", ["m"]])
def test_what_names_no_file_is_said(path):
    with pytest.raises(ValueError, match="path must be the name of a file, got "), replacing(path):
        pass


def test_a_folder_that_is_not_there_does_not_become_a_file(tmp_path):
    with pytest.raises(IsADirectoryError, match="nothing written"), replacing(f"{tmp_path}/new/"):
        pass
    assert list(tmp_path.iterdir()) == []


def test_a_long_name_leaves_room_for_the_temporary_one(tmp_path):
    save(tmp_path / ("x" * 255))
    assert (tmp_path / ("x" * 255)).read_bytes() == b"new"
