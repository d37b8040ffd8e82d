"""Can a save that is ended or fails at any of its system calls tear a file, or lose the previous one?

    python tools/kill_saves.py [SAVER ...]

For each saver of `SAVERS` a process replaces a file by another one under strace, which
    ends it (SIGKILL) before each of its writes, flushes, renames and the like, one run for each, and
    lets each of these calls fail with each of the errnos of `ERRNOS`, disk full among them, one run for each.
Besides, a limit on the size of files breaks a write off in the middle, as a full disk does, at 20 sizes; and, where it
may be mounted, a file system of 256 KiB is really full.

Afterwards the file must hold all of the previous bytes or all of the new ones. An error must have been an OSError with
that errno and the path; it must say "previous file kept" and be right, or "new file in place" and be right; and
nothing may be left in the folder. (A killed process leaves its temporary file; these are counted.) Exit status 1 where
that does not hold. Needs Linux and strace.
"""

import argparse
import errno
import os
import subprocess
import sys
import tempfile
from collections import Counter
from pathlib import Path
from unittest.mock import patch

import numpy as np

import fastreg as fr
from fastreg import train

CALLS = ("write", "fsync", "rename", "chmod")
ERRNOS = ("ENOSPC", "EIO", "EDQUOT", "EROFS", "EACCES", "EFBIG", "EPERM", "ENOMEM")
NAME, FILLER = "m.frg", "filler"


# ---- what saves


def network(seed, units=100):
    X = np.random.default_rng(0).normal(size=(50, 30))
    net = fr.Network([fr.Dense(units, "relu"), fr.Dense(1)], loss="squared_error", seed=seed)
    net.fit(X, X[:, 0], epochs=1)
    return net


def checkpoint(path, version):
    """Train, and write one checkpoint at the end; the clock stands still, as its seconds are part of the file."""
    X = np.random.default_rng(0).normal(size=(50, 30))
    net = fr.Network([fr.Dense(100, "relu"), fr.Dense(1)], loss="squared_error", seed=version)
    with patch.object(train, "perf_counter", float):
        net.fit(X, X[:, 0], epochs=1, callbacks=[fr.Checkpoint(path)])


SAVERS = {  # name: what saves version 0 or 1 of something to a path
    "model": lambda path, version: fr.save(network(version), path),
    "safetensors": lambda path, version: fr.save_safetensors(network(version), path),
    "checkpoint": checkpoint,
}
CONTROL = {"naive": lambda path, version: Path(path).write_bytes(bytes([version]) * 1000)}  # must be found torn


def save_here(saver, path, limit):
    """Save version 1 in this process, which may write files of at most `limit` bytes; report an OSError."""
    if limit:
        import resource

        resource.setrlimit(resource.RLIMIT_FSIZE, (limit, limit))
    try:
        (SAVERS | CONTROL)[saver](path, 1)
    except OSError as error:
        print(errno.errorcode[error.errno], error.filename, error.strerror, sep="\n")
        return 3
    return 0


# ---- one run


class Place:
    """A folder with a file in it, version 0 of what `saver` saves, to be replaced by version 1."""

    def __init__(self, folder, saver):
        self.folder, self.saver, self.path = Path(folder), saver, Path(folder) / NAME
        self.versions = []
        for version in (0, 1):
            (SAVERS | CONTROL)[saver](self.path, version)
            self.versions.append(self.path.read_bytes())

    def save(self, *inject, limit=0):
        """Replace the file, under strace with these injections; return the finished process."""
        self.path.write_bytes(self.versions[0])
        command = [sys.executable, "-B", __file__, "--here", str(self.path), f"--limit={limit}", self.saver]
        if inject:
            command = ["strace", "-f", "-qq", "-o", "/dev/null", *(f"--inject={text}" for text in inject), *command]
        return subprocess.run(command, capture_output=True, text=True, timeout=120, check=False)

    def found(self):
        """Return what is in the file, "previous", "new" or "torn", and how many others are in the folder, now gone."""
        data = self.path.read_bytes() if self.path.exists() else None
        others = [path for path in self.folder.iterdir() if path.name not in (NAME, FILLER)]
        for path in others:
            path.unlink()
        return ("previous", "new")[self.versions.index(data)] if data in self.versions else "torn", len(others)


def kills(place):
    """End the save before each of its system calls; yield (point, what is left, word), word "ok" or what is wrong."""
    for call in CALLS:
        for count in range(1, 1000):
            result = place.save(f"{call}:signal=KILL:when={count}")
            what, others = place.found()
            if result.returncode == 0:
                yield from [] if what == "new" else [(f"{call}, none", what, "not saved")]
                break
            wrong = result.returncode not in (137, -9) or what == "torn" or others > 1
            yield f"{call} {count}", f"{what} file, {others} temporary", what if wrong else "ok"


def failures(place, errnos=ERRNOS):
    """Let each system call fail with each errno; yield as `kills` does."""
    for call in CALLS:
        for name in errnos:
            for count in range(1, 1000):
                result = place.save(f"{call}:error={name}:when={count}")
                if result.returncode == 0:
                    place.found()
                    break
                yield f"{call} {count} {name}", *verdict(place, result, name)


def limits(place):
    """Let writes end at 20 sizes of the file; yield as `kills` does."""
    for size in np.linspace(1, len(place.versions[1]) - 1, 20).astype(int):
        yield f"at most {size} bytes", *verdict(place, place.save(limit=size), "EFBIG")


def full(saver):
    """Save in a file system that is full; yield as `kills` does, or nothing where it may not be mounted."""
    with tempfile.TemporaryDirectory() as folder:
        mount = ["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]
        if subprocess.run(mount, capture_output=True, check=False).returncode:
            return
        try:
            place, filler = Place(folder, saver), Path(folder, FILLER)
            for left in (0, 4096, 8192):
                filler.write_bytes(bytes(os.statvfs(folder).f_bavail * os.statvfs(folder).f_bsize - left))
                yield f"disk with {left} bytes left", *verdict(place, place.save(), "ENOSPC")
                filler.unlink()
        finally:
            subprocess.run(["umount", folder], check=True)


def verdict(place, result, name):
    """Return what is left after an error, and "ok" or what is wrong: the file, or what the error says of it."""
    what, others = place.found()
    said = result.stdout.splitlines()
    if result.returncode != 3 or len(said) != 3:
        return what, f"no OSError: {result.stderr[-300:]}"
    expected = {"previous": "previous file kept", "new": "new file in place"}.get(what)
    right = expected is not None and expected in said[2]
    right = right and (said[0], said[1], others) == (name, str(place.path), 0)
    return f"{what} file", "ok" if right else " ".join(said)


# ---- report


def report(saver):
    """Print what comes of one saver; return how many points are wrong."""
    bad = 0
    with tempfile.TemporaryDirectory() as folder:
        place = Place(folder, saver)
        runs = {"kills": kills(place), "errors": failures(place), "limits": limits(place), "full disk": full(saver)}
        for name, results in runs.items():
            results = list(results)
            left = Counter(what for _, what, _ in results)
            wrong = [(point, what, word) for point, what, word in results if word != "ok"]
            bad += len(wrong)
            print(f"{saver:12} {name:10} {len(results):4} points, {len(wrong)} wrong; left: {dict(left)}")
            for point, what, word in wrong:
                print(f"    {point}: {what}: {word}")
    return bad


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("savers", nargs="*", metavar="SAVER", help=f"of {', '.join(SAVERS)}; all of them")
    parser.add_argument("--here", metavar="PATH", help=argparse.SUPPRESS)
    parser.add_argument("--limit", type=int, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.here:
        return save_here(chosen.savers[0], chosen.here, chosen.limit)
    return int(sum(map(report, chosen.savers or SAVERS)) > 0)


if __name__ == "__main__":
    sys.exit(main())
