"""Can a damaged or forged file kill, hang or fool `fastreg.load` or `fastreg.resume`, or make them take memory?

    python tools/fuzz_files.py [--files 200000] [--seed 0]

Every file is one of `originals()`, models and checkpoints, with 1 to 3 changes, a function of seed and number alone:

    damaged   bytes cut off, flipped, set, inserted, deleted, repeated, swapped or zeroed: the checksum is not made
              right, so that the file must be refused, whatever was hit
    forged    headers and numbers changed by hand, and the checksum made right after it: lengths of 2^63, duplicate
              keys, NaN literals, depth bombs, booleans as numbers, tensors that are missing, doubled or overlap, ...

Each is loaded, or resumed, in a child process. What may come of it:

    refused   a ModelFileError
    sound     forged only: it loaded, and the network is what the file says: described again, it gives the header and
              the arrays of the file (another seed, say, is another network, but no damage); a training would write the
              same checkpoint before its next step, and goes on to its end, if that is near
    same      the changes cancelled each other: the bytes are those of the original
    silent    it loaded, and is none of these
    other     another exception
    death     the process ended
    hang      no answer within 20 seconds

The last four must not occur; such files are kept in build/fuzz. Memory is by how much reading one lets the resident set
grow, less the size of the file, at most. Exit status 1 for any of these words, or for more than 16 MiB.
"""

import argparse
import ctypes
import json
import os
import random
import re
import shutil
import subprocess
import sys
import tempfile
from collections import Counter
from contextlib import suppress
from hashlib import sha256
from pathlib import Path
from time import monotonic, sleep
from unittest.mock import patch

import numpy as np

import fastreg as fr
from fastreg import checkpoint, container, files, train

BAD = ("silent", "other", "death", "hang")
PATIENCE = 20.0  # seconds
PER_CHILD = 10_000
LIMIT = 16 << 20  # bytes
NEAR = 100  # steps that a forged checkpoint may have left, to be made


# ---- originals


def originals():
    """Return the files that are damaged, as bytes. A new kind of file gets its line here."""
    rng = np.random.default_rng(0)
    X, labels = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    plain = fr.Network([fr.Dense(3)], loss="cross_entropy", seed=0).build(4)
    layers = [fr.Dropout(0.1), fr.Dense(5, "relu", weight_penalty=fr.ElasticNet(1e-3, 1e-4)), fr.Dense(3, name="énd")]
    rich = fr.Network(layers, loss="cross_entropy", seed=1, penalties={"*.bias": fr.L2(0.1)})
    rich.fit(X, labels, epochs=2, batch_size=7)
    layers = [fr.Dense(4, "tanh", init=rng.normal(size=(4, 4))), fr.Activation("leaky_relu", 0.1), fr.Dense(1)]
    double = fr.Network(layers, loss="squared_error", dtype="float64", seed=2**63, engine="reference")
    double.fit(X, X[:, 0], epochs=1, optimizer=fr.SGD(0.01, momentum=0.9))
    bare = fr.Network([fr.Dense(2, "tanh"), fr.Dense(1, "sigmoid")], loss="binary_cross_entropy", seed=3)
    return [bytes_of(network) for network in (plain, rich, double, bare)] + list(map(checkpoint_of, *zip(*TRAININGS)))


def tables():
    """Return what the trainings of the checkpoints are of, as `fit` and `resume` take it."""
    rng = np.random.default_rng(1)
    X, labels = rng.normal(size=(30, 4)), rng.integers(0, 3, 30)
    return {"X": X, "y": labels, "validation": (X[:10] + 0.5, labels[:10]), "sample_weight": np.arange(30) % 3}


_NESTEROV = fr.SGD(0.05, momentum=0.9, nesterov=True)
TRAININGS = [  # (settings of the network, of `fit`, steps between checkpoints, how many there are)
    ({"seed": 1}, {"optimizer": fr.Adam(0.01), "callbacks": [fr.EarlyStopping(patience=2)]}, 4, 3),
    ({"seed": 2, "dtype": "float64"}, {"optimizer": _NESTEROV, "metrics": ["accuracy"]}, 5, 2),
    ({"seed": 3, "engine": "reference"}, {"optimizer": fr.SGD(0.1), "shuffle": False}, 1, 2),
    ({"seed": 4, "penalties": {"*.bias": fr.L2(0.1)}}, {"optimizer": fr.AdamW(0.01)}, 100, 1),  # at its end
]


def checkpoint_of(network, settings, every, writes):
    """Return the bytes of the last checkpoint of a training that is killed."""
    layers = [fr.Dropout(0.1), fr.Dense(5, "relu", weight_penalty=fr.ElasticNet(1e-3, 1e-4)), fr.Dense(3)]
    network = fr.Network(layers, loss="cross_entropy", **network)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.frg"
        callbacks = [*settings.get("callbacks", ()), fr.Checkpoint(path, every=every, unit="steps")]
        left = iter(range(writes))

        def write(*arguments):
            container.write(*arguments)
            if next(left) == writes - 1:
                raise _Killed

        still = patch.object(train, "perf_counter", float)  # the clock, so that the bytes are always the same
        with suppress(_Killed), still, patch.object(checkpoint, "write", write):
            network.fit(**tables(), **settings | {"callbacks": callbacks}, epochs=4, batch_size=7)
        return path.read_bytes()


class _Killed(Exception):
    pass


def resume(path):
    """Resume the training of a checkpoint; return what its run would have written before its first step.

    Trainings that have more than `NEAR` steps left, as forged settings may, are not gone on with.
    """
    copy = f"{path}.copy"  # what is resumed goes on writing
    shutil.copyfile(path, copy)
    found, go_on = [], train.Run.train

    def look(run):
        writer = next(watcher for watcher in run._between_steps if isinstance(watcher, checkpoint._Writer))
        header, arrays = writer._content(run)
        found.append((header, {name: array.copy() for name, array in arrays.items()}))
        return go_on(run) if run.epochs * run.steps_per_epoch - run.step <= NEAR else run.history

    with patch.object(train.Run, "train", look), suppress(fr.DivergenceError):  # of numbers that are huge
        fr.resume(copy, **tables())
    return found[0]


def reader(source):
    """Return what reads such a file."""
    return resume if b'"kind": "checkpoint"' in source else fr.load


def bytes_of(network):
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "m.frg"
        fr.save(network, path)
        return path.read_bytes()


# ---- damage: bytes


def cut(rng, data):
    return data[: rng.randrange(len(data))]


def flip(rng, data):
    data = bytearray(data)
    for _ in range(rng.choice((1, 1, 2, 8))):
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    return bytes(data)


def overwrite(rng, data):
    at, size = _span(rng, data)
    return data[:at] + rng.choice((rng.randbytes(size), bytes(size), b"\xff" * size)) + data[at + size :]


def insert(rng, data):
    at, size = _span(rng, data)
    return data[:at] + rng.choice((rng.randbytes(size), bytes(size))) + data[at:]


def delete(rng, data):
    at, size = _span(rng, data)
    return data[:at] + data[at + size :]


def repeat(rng, data):
    at, size = _span(rng, data)
    return data[: at + size] + data[at:]


def swap(rng, data):
    at, size = _span(rng, data)
    block, rest = data[at : at + size], data[:at] + data[at + size :]
    to = rng.randrange(len(rest) + 1)
    return rest[:to] + block + rest[to:]


def append(rng, data):
    return data + rng.randbytes(rng.choice((1, 32, 4096)))


def _span(rng, data):
    at = rng.randrange(len(data))
    return at, min(rng.choice((1, 1, 4, 16, 64, 1000)), len(data) - at)


DAMAGES = (cut, flip, flip, overwrite, insert, delete, repeat, swap, append)


# ---- forgery: header, numbers and lengths, with the right checksum

_WORDS = r"""
0 -1 1 2 3 7 -0 1.0 0.5 -0.5 -0.0 1e308 5e-324 1e-999 true false null NaN Infinity -Infinity 1e999 -1e999 0x10 01 +1 .5
2147483648 4294967296 9007199254740992 2305843009213693952 4611686018427387904 9223372036854775807 9223372036854775808
18446744073709551615 18446744073709551616 1000000000000000000000000000000 -9223372036854775808
"" "1" "x" "\ud800" "relu" "softmax" "float64" "array" "Dense" "Dropout" "L1" "Sum" "Adam" "os.system"
[] {} [1] [[]] [true] [0,9223372036854775808] [4294967296,4294967296] {"kind":"L1","strength":0.5}
{"kind":"Dense","units":3} {"kind":"array","tensor":"array.0"} {"kind":"Dropout","rate":true} {"kind":"CrossEntropy"}
"""
TOKENS = _WORDS.split()
_HERE = "@here@"


def leaf(rng, header):
    """One value becomes another."""
    return _put(header, rng.choice(_places(header)), rng.choice(TOKENS))


def number(rng, header):
    """One number becomes another of its type, or that of another place."""
    numbers = [(holder, key) for holder, key in _places(header) if type(holder[key]) in (int, float)]
    holder, key = rng.choice(numbers)
    others = [a[i] for a, i in numbers if type(a[i]) is type(holder[key])]
    near = holder[key] + rng.choice((-1, 1)), holder[key] * rng.choice((2, 10)), type(holder[key])(rng.random() * 10)
    holder[key] = rng.choice((*near, rng.choice(others)))
    return json.dumps(header)


def exchange(rng, header):
    """Two values change places."""
    (a, i), (b, j) = rng.sample(_places(header), 2)
    a[i], b[j] = json.loads(json.dumps((b[j], a[i])))
    return json.dumps(header)


def drop(rng, header):
    holder, key = rng.choice(_places(header))
    del holder[key]
    return json.dumps(header)


def stranger(rng, header):
    """A key that nobody knows, or a copy of a value at another place."""
    objects = [holder for holder, _ in _places(header) if isinstance(holder, dict)]
    rng.choice(objects)[rng.choice(("x", "kind", "offset", "units", "name"))] = rng.choice((0, True, None, "L1", []))
    return json.dumps(header)


def twice(rng, header):
    """A key that stands there twice."""
    text = json.dumps(header)
    place = rng.choice(list(re.finditer(r'"\w+": ', text)))
    return text[: place.start()] + place[0] + rng.choice(TOKENS) + ", " + text[place.start() :]


def bomb(rng, header):
    """Levels, digits or values without end, now and then of a MiB."""
    n = rng.choice((31, 33, 100, 1000, 1000, 20_000, 200_000)) if rng.random() < 0.1 else rng.choice((30, 40, 300))
    kinds = ("[" * n + "]" * n, '{"a":' * n + "1" + "}" * n, "9" * n, "0." + "1" * n, "[" * n, '"' + '\\"' * n)
    kinds += ("[" + "{}," * n + "0]", "[" + '"ab",' * n + "0]", '"' + "x" * n + '"', "[" + "0.5," * n + "0]")
    return _put(header, rng.choice(_places(header)), rng.choice(kinds))


def tensors(rng, header):
    """Arrays are doubled, missing, in another order, of another shape or dtype."""
    entries = header["tensors"] or [{"name": "x", "dtype": "float32", "shape": [0]}]
    one, other = rng.choice(entries), rng.choice(entries)
    changes = (
        lambda: entries.append(dict(one)),
        lambda: entries.remove(one),
        lambda: rng.shuffle(entries),
        lambda: one.update(name=other["name"]),
        lambda: one.update(shape=one["shape"][::-1]),
        lambda: one.update(shape=[*one["shape"], rng.choice((0, 1, 2, 2**32, 2**63, -1, True, 1.0))]),
        lambda: one.update(dtype=rng.choice(("float32", "float64", "int32", "int64", "uint64", "object", "float16"))),
        lambda: (one.update(shape=other["shape"]), other.update(shape=one["shape"])),
    )
    rng.choice(changes)()
    return json.dumps(header | {"tensors": entries})


def noise(rng, header):
    """Bytes of the header's text change, without regard to what they mean."""
    return flip(rng, json.dumps(header).encode())


FORGERIES = (leaf, leaf, leaf, number, number, exchange, drop, stranger, twice, bomb, tensors, tensors, noise)


def forge(rng, data):
    """Return a file with the right checksum whose header, numbers, version or header length changed."""
    size = int.from_bytes(data[12:16], "little")
    version, text, numbers = 1, data[16 : 16 + size], data[16 + size : -32]
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        try:
            header = json.loads(text)
            text = rng.choice(FORGERIES)(rng, header)
            text = text if isinstance(text, bytes) else text.encode()
        except (ValueError, LookupError, TypeError, AttributeError, RecursionError):
            break  # no header any more
    length = len(text)
    if rng.random() < 0.15:
        numbers = rng.choice(DAMAGES)(rng, numbers) if numbers else rng.randbytes(64)
    if rng.random() < 0.05:
        length = rng.choice((0, length + 1, length - 1, 1 << 20, (1 << 20) + 1, 1 << 31, (1 << 32) - 1))
    if rng.random() < 0.02:
        version = rng.choice((0, 2, 255, 1 << 24, (1 << 32) - 1))
    content = container.PREFIX.pack(container.MAGIC, version, length % (1 << 32)) + text + numbers
    return content + sha256(content).digest()


def _places(value):
    """All (list or dict, key) pairs below a value of JSON."""
    keys = list(value) if isinstance(value, dict) else range(len(value)) if isinstance(value, list) else ()
    return [place for key in keys for place in ((value, key), *_places(value[key]))]


def _put(header, place, token):
    holder, key = place
    holder[key] = _HERE
    return json.dumps(header).replace(json.dumps(_HERE), token)


def mutant(seed, number, sources):
    """Return file `number`: its bytes, those of its original, and whether its checksum was made right."""
    rng = random.Random(f"{seed} {number}")
    source = rng.choice(sources)
    if rng.random() < 0.5:
        return forge(rng, source), source, True
    data = source
    for _ in range(rng.choice((1, 1, 1, 2, 3))):
        data = rng.choice(DAMAGES)(rng, data or b"\0")
    return data, source, False


# ---- judgement


def judge(path, unchanged, forged, load=fr.load):
    """Return what comes of loading the file at `path`, a word of `__doc__`, and the memory that it took."""
    before = resident(reset=True)
    try:
        network = load(path)
    except fr.ModelFileError:
        network = None
    except Exception:
        return "other", 0
    memory = resident() - before
    if network is None or unchanged:
        return "refused" if network is None else "same", memory
    return "sound" if forged and says_so(path, network) else "silent", memory


def says_so(path, network):
    """Whether the network, or what `resume` returned, described again, gives header and arrays of the file."""
    header, arrays = container.read(path)
    again, same_arrays = network if isinstance(network, tuple) else files.describe(network)
    if arrays.keys() != same_arrays.keys():
        return False
    bits = all(
        (a.dtype, a.shape) == (b.dtype, b.shape) and (a.tobytes() == b.tobytes() or _both_nan(a, b))
        for a, b in _pairs(arrays, same_arrays)
    )
    return bits and covers(again, {key: value for key, value in header.items() if key not in ("kind", "fastreg")})


def covers(found, said):
    """Whether all that a file said is there. A value's setting that it left out has its default."""
    if isinstance(said, dict):
        optional = "kind" in said
        keys = isinstance(found, dict) and (said.keys() <= found.keys() if optional else said.keys() == found.keys())
        return keys and all(covers(found[key], said[key]) for key in said)
    if isinstance(said, list):
        return isinstance(found, list) and len(found) == len(said) and all(map(covers, found, said))
    return found == said and isinstance(found, bool) == isinstance(said, bool)


def _pairs(one, other):
    return [(one[key], other[key]) for key in one]


def _both_nan(one, other):
    """Whether these are NaN, which has many forms: as numbers of a checkpoint's memory they mean "none yet"."""
    return one.ndim == 0 and one.dtype == np.float64 and bool(np.isnan(one) and np.isnan(other))


# ---- children


def examine(numbers, seed, sources, note=lambda place, value: None, load=None):
    """Judge these files one by one; return how often each word was said, and the bad numbers with their words."""
    counts, bad = Counter(), []
    with tempfile.TemporaryDirectory(dir="/dev/shm" if os.path.isdir("/dev/shm") else None) as folder:
        path = os.path.join(folder, "m.frg")
        for number in numbers:
            note(0, number)
            data, source, forged = mutant(seed, number, sources)
            with open(path, "wb") as file:
                file.write(data)
            word, memory = judge(path, data == source, forged, load or reader(source))
            counts[word] += 1
            note(1, memory - len(data))
            if word in BAD:
                bad.append((number, word))
    return counts, bad


def in_child(first, stop, seed, load="load", patience=PATIENCE):
    """Judge files in a child process; where it ends or hangs, the others in further ones.

    Returns
    -------
    counts : Counter of words
    bad : list of (number, word)
    memory : int
        Of one `load`, less the size of the file.
    """
    if first >= stop:
        return Counter(), [], 0
    with tempfile.NamedTemporaryFile() as file:
        file.write(np.array([first, 0]).tobytes())
        file.flush()
        board = np.memmap(file.name, np.int64, "r")  # the number at work, the most memory
        command = [sys.executable, __file__, "--block", str(first), str(stop), file.name, load, f"--seed={seed}"]
        with subprocess.Popen(command, stdout=subprocess.PIPE, text=True) as child:
            word = _wait(child, board, patience)
            said = child.stdout.read()
        number, memory = map(int, board)
    if word is None:
        counts, bad = json.loads(said)
        return Counter(counts), [tuple(pair) for pair in bad], memory
    before, behind = in_child(first, number, seed, load, patience), in_child(number + 1, stop, seed, load, patience)
    return before[0] + behind[0] + Counter([word]), [*before[1], (number, word), *behind[1]], max(before[2], behind[2])


def block(first, stop, board, load, seed):
    """What a child does."""
    board = np.memmap(board, np.int64, "r+")

    def note(place, value):
        board[place] = value if place == 0 else max(board[place], value)

    json.dump(examine(range(int(first), int(stop)), seed, originals(), note, CONTROL.get(load)), sys.stdout)


def _wait(child, board, patience):
    """Wait for a child; return None, or what it came to: "death", or "hang" where it had to be ended."""
    number, since = int(board[0]), monotonic()
    while True:
        with suppress(subprocess.TimeoutExpired):
            return "death" if child.wait(0.1) else None
        if int(board[0]) != number:
            number, since = int(board[0]), monotonic()
        if monotonic() - since > patience:
            child.kill()
            return "hang"


def _wrong(path):
    if reader(Path(path).read_bytes()) is resume:
        header, arrays = resume(path)
        return header | {"training": header["training"] | {"step": -1}}, arrays
    network = fr.load(path)
    network.seed += 1
    return network


CONTROL = {  # what must be found out, in place of `reader`
    "other": lambda path: {}[path],
    "silent": _wrong,
    "death": lambda path: os.abort(),
    "hang": lambda path: sleep(1000),
}


def resident(reset=False):
    """Return the largest resident set of this process, in bytes; with `reset` it is the present one from now on.

    What was freed before is given back first, so that it cannot be taken again unseen. Linux alone tells; elsewhere 0.
    """
    if sys.platform != "linux":
        return 0
    if reset:
        ctypes.CDLL(None).malloc_trim(0)
        Path("/proc/self/clear_refs").write_text("5")
    status = Path("/proc/self/status").read_text()
    return int(re.search(r"VmHWM:\s+(\d+)", status)[1]) << 10


# ---- report


def main(arguments=None):
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--files", type=int, default=200_000)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--block", nargs=4, help=argparse.SUPPRESS)
    chosen = parser.parse_args(arguments)
    if chosen.block:
        return block(*chosen.block, chosen.seed)
    counts, bad, memory, began = Counter(), [], 0, monotonic()
    for first in range(0, chosen.files, PER_CHILD):
        stop = min(first + PER_CHILD, chosen.files)
        more, wrong, used = in_child(first, stop, chosen.seed)
        counts, bad, memory = counts + more, bad + wrong, max(memory, used)
        print(f"{stop:,} files", file=sys.stderr)
    keep(bad, chosen.seed, originals())
    print(f"{chosen.files:,} files of seed {chosen.seed} in {monotonic() - began:.0f} s")
    for word in ("refused", "sound", "same", *BAD):
        print(f"{word:8} {counts[word]:9,}")
    print(f"memory   {memory / 2**20:9.1f} MiB at most, besides the file's size")
    return int(bool(bad) or memory > LIMIT)


def keep(bad, seed, sources):
    for number, word in bad:
        path = Path("build/fuzz") / f"{seed}-{number}-{word}.frg"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(mutant(seed, number, sources)[0])
        print(f"{path}: {word}", file=sys.stderr)


if __name__ == "__main__":
    sys.exit(main())
