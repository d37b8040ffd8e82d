"""Trainings in files: what `Checkpoint` writes, and how `resume` goes on from it.

a) A checkpoint is a model file (`fastreg.files`) whose header also says what training it is of, `fit` and `data`, and
   how far that has come, `memory`. Buffers of the parameters' layout are arrays "run.<buffer>.<parameter>".
b) What a training is of is described by the same functions when a checkpoint is written and when one is resumed, so
   all that is written is compared: a new setting needs its line in `_fit`, a new kind of data one in `_data`.
c) What a run remembers comes from `Run.memory` and `Run.buffers`, which take it from whoever owns it. A resumed run is
   one of `fit` like any other, between two callbacks more: the first compares what is given with what is written, the
   last gives the run its memory, whose names, types and shapes must be those of the memory that it has by itself.
d) Floats of a memory are arrays, which hold every bit, and infinity.
"""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import NamedTuple

import numpy as np

from fastreg import augment as own_augmentations
from fastreg import callbacks as own_callbacks
from fastreg import strict
from fastreg.atomic import as_path, check_replaceable
from fastreg.checks import check_name
from fastreg.container import prepared, read, refusing, write
from fastreg.data import as_count, as_table
from fastreg.errors import CheckpointMismatchError
from fastreg.files import MODEL, TRAINING, buffer_tensors, check_buffer, describe, fill_buffer, rebuild
from fastreg.history import History
from fastreg.metrics import as_metrics, is_own
from fastreg.network import Network
from fastreg.settings import Settings
from fastreg.values import KINDS, decode, encode


def _named(value, where):
    """A schema: a callback as a file holds it, or its name."""
    strict.check(value, {"function": str} if "function" in strict.check(value, dict, where) else dict, where)


FIT = {
    "epochs": strict.natural,
    "batch_size": strict.natural,
    "shuffle": bool,
    "metrics": [(str, {"function": str})],
    "callbacks": [_named],
    "class_weight": (None, str, [[object]]),
    "augment": [_named],
}
NEWER: dict = {"class_weight": None, "augment": []}
"""Settings that files of before lack: what they were then."""
ARRAY = {"shape": [strict.natural], "sha256": str}
TABLE = {"X": ARRAY, "y": ARRAY, "sample_weight": (None, ARRAY)}
DATA = TABLE | {"validation": [TABLE | {"name": str}]}
WRITER = {"every": strict.natural, "unit": strict.one_of("epochs", "steps")}
CHECKPOINT = MODEL | {"training": TRAINING, "fit": FIT, "data": DATA, "checkpoint": WRITER, "memory": dict}


@dataclass(frozen=True)
class Checkpoint:
    """Writes a training to a file as it goes on, so that `resume` can finish it after whatever ends the process.

    The file is replaced in one step (see `save`), so there is always a whole one from the first on. One more is written
    when training ends: to resume a finished training returns it, to resume one that `cancel()` ended goes on. After
    Ctrl-C the file is that of the last regular time.

    Parameters
    ----------
    path : str or path-like
        Of the file, whose name usually ends in ".frg". Its folder must exist.
    every : int >= 1, default 1
        How often.
    unit : {"epochs", "steps"}, default "epochs"
        Of what. Steps (batches) are for epochs that take long; a checkpoint may stand anywhere within an epoch.

    Raises
    ------
    ValueError
        For a setting out of its range; in `fit`, before it trains, if the network or the optimizer holds what no file
        can (see `save`).
    OSError
        From `fit`, by the file system, with errno and path; the previous file is kept, and weights are those of whole
        steps.

    Notes
    -----
    A checkpoint holds parameters, the optimizer's memory, best weights, and the weights with which the epoch began:
    with Adam five times the parameters. Their names have room for a thousand layers: more are refused before training.
    It also holds hashes of the data, for which `fit` reads them once more.

    Examples
    --------
    >>> net.fit(X, y, epochs=50, callbacks=[fr.Checkpoint("digits.ckpt.frg")])
    >>> net, history = fr.resume("digits.ckpt.frg", X, y)
    """

    path: str | bytes | os.PathLike
    every: int = 1
    unit: str = "epochs"

    def __post_init__(self):
        as_path(self.path)
        as_count("every", self.every)
        check_name("unit", self.unit, ("epochs", "steps"))

    def start(self, run):
        """Return what writes the checkpoints of one run."""
        return _Writer(self, run)


class _Writer:
    """Writes the checkpoints of one run, wherever the process goes meanwhile."""

    def __init__(self, settings, run):
        self.path = os.path.abspath(as_path(settings.path))
        self.every_steps = settings.every * (run.steps_per_epoch if settings.unit == "epochs" else 1)
        check_replaceable(as_path(settings.path))  # what is wrong is found now, not after the first epoch
        writer = {"every": int(settings.every), "unit": settings.unit}
        self.header = {"checkpoint": writer, "fit": _fit(run), "data": _data(run)}
        header, tensors = self._content(run)
        prepared("checkpoint", header, tensors)
        strict.check(header, {key: schema for key, schema in CHECKPOINT.items() if key not in ("kind", "fastreg")})

    def after_steps(self, run):
        write(self.path, "checkpoint", *self._content(run))

    def _content(self, run):
        """Return what `write` writes."""
        header, tensors = describe(run.network, run.model, run.state)
        for name, buffer in run.buffers.items():
            tensors |= buffer_tensors(f"run.{name}", run.model.plan.layout, buffer)
        return header | self.header | {"memory": _pack(run.memory(), tensors, "memory")}, tensors


class Resumed(NamedTuple):
    """What `resume` returns: `net, history = resume(path, X, y)`."""

    network: Network
    history: History


def resume(
    path,
    X,
    y,
    *,
    network=None,
    epochs=None,
    batch_size=None,
    optimizer=None,
    validation=None,
    callbacks=None,
    metrics=None,
    augment=None,
    shuffle=None,
    sample_weight=None,
    class_weight=None,
    n_threads=None,
    verbose=0,
):
    """Finish the training of a checkpoint, in the bits that it would have had without the interruption.

    The bits are the same with any number of threads, on all hardware with FMA. Data must be given again; they are
    compared with those of the checkpoint, to the bit. Settings come from the file. Those that are given all the same
    must be what it says, so that a program may pass `fit` and `resume` the same.

    Parameters
    ----------
    path : str or path-like
        Of a file that `Checkpoint` wrote.
    X, y, validation, sample_weight
        As `fit` had them.
    network : Network, optional
        To be trained on, in place of a new one. It must be described as that of the checkpoint (layers, penalties,
        loss, dtype, seed, engine); its parameters and its optimizer's memory become those of the checkpoint.
    epochs, batch_size, optimizer, shuffle, class_weight : optional
        As in `fit`; None is what the checkpoint says.
    callbacks, metrics, augment : optional
        As in `fit`, all of them; None is what the checkpoint says. They must be given where some are functions or
        objects of your own, which no file can hold: a checkpoint knows their names and the memory of those that have
        one (see `fastreg.callbacks`). None goes on writing to `path`; otherwise any `Checkpoint` may be among them.
    n_threads, verbose
        As in `fit`; any.

    Returns
    -------
    Resumed
        A pair of the `Network` and the `History` of the whole training, its `seconds` included.

    Raises
    ------
    CheckpointMismatchError
        For other data or settings; says what differs.
    ModelFileError
        If the file is no checkpoint of fastreg, damaged, cut off, or newer than this version; says which.
    OSError
        From the file system, with errno and path.
    ValueError, DivergenceError, KeyboardInterrupt
        As `fit` does.

    See Also
    --------
    Checkpoint
    """
    with refusing(path):
        header, tensors = read(path, "checkpoint")
        if isinstance(header.get("fit"), dict):
            header["fit"] = NEWER | header["fit"]
        strict.check(header, CHECKPOINT)
        saved = rebuild(header, tensors)
        settings = _stored_settings(header, saved, path)
    if network is None:
        network = saved
    loss, dtype = saved._spec.loss, saved._spec.dtype
    given = {"epochs": epochs, "batch_size": batch_size, "optimizer": optimizer, "shuffle": shuffle}
    given |= {"class_weight": class_weight, "augment": augment}
    given |= {"callbacks": callbacks, "metrics": None if metrics is None else as_metrics(metrics, loss)}
    given = {name: value for name, value in given.items() if value is not None}
    settings = replace(settings, **given)
    X = as_table("X", X, dtype)
    _demand_none(
        path,
        *_network_differences(saved, network),
        *_array_differences("X", header["data"]["X"], {"shape": list(X.shape)}),
        *_not_given(header["fit"], given),
    )

    def compare(run):
        _demand_none(path, *_data_differences(header["data"], _data(run)), *_fit_differences(header["fit"], saved, run))
        with refusing(path):
            for callback in _stored(header["fit"], "callbacks", own_callbacks):
                callback.start(run)  # is what this training records enough for it?

    def go_on(run):
        with refusing(path):
            _recall(run, saved, header, tensors)

    history = network.fit(
        X, y, epochs=settings.epochs, batch_size=settings.batch_size, optimizer=settings.optimizer,
        validation=validation, callbacks=[_AtStart(compare), *settings.callbacks, _AtStart(go_on)],
        metrics=tuple(settings.metrics.values()), augment=settings.augment, shuffle=settings.shuffle,
        sample_weight=sample_weight, class_weight=settings.class_weight, n_threads=n_threads, verbose=verbose,
    )  # fmt: skip
    return Resumed(network, history)


@dataclass(frozen=True)
class _AtStart:
    """A callback that has its say when callbacks start, and not after."""

    start: Callable


# ---- what a training is of


def _fit(run):
    """Return the settings on which the numbers of a run depend; callbacks and metrics of the user's own are names."""
    settings = run.settings
    return {
        "epochs": int(settings.epochs),
        "batch_size": int(run.batch_size),
        "shuffle": bool(settings.shuffle),
        "metrics": [name if is_own(function) else {"function": name} for name, function in settings.metrics.items()],
        "callbacks": [_value(each) for each in settings.callbacks if not isinstance(each, Checkpoint | _AtStart)],
        "class_weight": _class_weight(settings.class_weight),
        "augment": [_value(each) for each in settings.augment],
    }


def _class_weight(class_weight):
    """Return class weights as JSON holds them: a dict as pairs of code and weight."""
    if not isinstance(class_weight, Mapping):
        return class_weight
    return sorted([int(code), float(weight)] for code, weight in class_weight.items())


def _value(setting):
    if KINDS.get(type(setting).__name__) is type(setting):
        return encode(setting, {}, "fit")
    return {"function": getattr(setting, "__name__", type(setting).__name__)}


def _data(run):
    sets = [{"name": str(name), **dataset.fingerprint} for name, dataset in run.sets.items()]
    return {**run.data.fingerprint, "validation": sets}


def _stored_settings(header, saved, path):
    """Return the `Settings` that a header describes, as far as a file can."""
    fit, rows = header["fit"], header["data"]["X"]["shape"]
    if not rows or fit["batch_size"] > rows[0]:
        raise ValueError(f"header.fit.batch_size is {fit['batch_size']}, but X has the shape {rows}")
    writer, weight = Checkpoint(os.fsdecode(path), **header["checkpoint"]), fit["class_weight"]
    return Settings(
        epochs=fit["epochs"], batch_size=fit["batch_size"], optimizer=saved._state.optimizer,
        callbacks=(*_stored(fit, "callbacks", own_callbacks), writer), shuffle=fit["shuffle"], n_threads=None,
        augment=_stored(fit, "augment", own_augmentations), verbose=0,
        metrics=as_metrics([name for name in fit["metrics"] if isinstance(name, str)], saved._spec.loss),
        class_weight=dict(weight) if isinstance(weight, list) else weight,
    )  # fmt: skip


def _stored(fit, name, home):
    """Return fastreg's own callbacks, or augmentations, of a header."""
    return [
        decode(value, {}, f"header.fit.{name}[{number}]", home)
        for number, value in enumerate(fit[name])
        if "function" not in value
    ]


# ---- what differs


def _demand_none(path, *differences):
    if differences:
        raise CheckpointMismatchError(os.fsdecode(path), differences)


def _not_given(fit, given):
    for name in ("callbacks", "metrics", "augment"):
        own = [entry["function"] for entry in fit[name] if isinstance(entry, dict) and "function" in entry]
        if own and name not in given:
            yield f"{name}: no file holds {', '.join(own)}; pass {name}=[...] again, all of them"


def _network_differences(saved, network):
    if not isinstance(network, Network):
        raise ValueError(f"network must be a Network or None, got {strict.shown(network)}")
    (then, then_arrays), (now, now_arrays) = describe(saved), describe(network)
    for header in (then, now):
        del header["network"]["built"]
    yield from _differences("", then["network"], now["network"])
    for name in (name for name in then_arrays if name.startswith("array.") and name in now_arrays):
        if not np.array_equal(then_arrays[name], now_arrays[name]):
            yield f"content of {name}, an init of the layers, differs"


def _fit_differences(then, saved, run):
    """Settings that are newer than a file have their defaults there: its values are built, and described anew."""
    for name, home in (("callbacks", own_callbacks), ("augment", own_augmentations)):
        own = iter(_stored(then, name, home))
        then = then | {name: [e if "function" in e else encode(next(own), {}, name) for e in then[name]]}
    then = then | {"optimizer": encode(saved._state.optimizer, {}, "optimizer")}
    return _differences("", then, _fit(run) | {"optimizer": encode(run.settings.optimizer, {}, "optimizer")})


def _data_differences(then, now):
    yield from _table_differences("", then, now)
    sets = [[each["name"] for each in data["validation"]] for data in (then, now)]
    if sets[0] != sets[1]:
        yield f"validation: {' -> '.join(', '.join(names) or 'none' for names in sets)}"
    else:
        for one, other in zip(then["validation"], now["validation"], strict=True):
            yield from _table_differences(f"validation {one['name']!r}: ", one, other)


def _table_differences(prefix, then, now):
    for name in TABLE:
        yield from _array_differences(prefix + name, then[name], now[name])


def _array_differences(name, then, now):
    if then is None or now is None:
        if then is not now:
            yield f"{name}: {' -> '.join('none' if array is None else 'given' for array in (then, now))}"
    elif then["shape"] != now["shape"]:
        yield f"{name}: shape {tuple(then['shape'])} -> {tuple(now['shape'])}"
    elif then["sha256"] != now.get("sha256", then["sha256"]):
        yield f"content of {name} differs"


def _differences(where, then, now):
    """Yield what differs between two values of JSON."""
    if isinstance(then, dict) and isinstance(now, dict) and then.keys() == now.keys():
        for key in then:
            yield from _differences(f"{where}.{key}" if where else key, then[key], now[key])
    elif isinstance(then, list) and isinstance(now, list) and len(then) == len(now):
        for number, pair in enumerate(zip(then, now, strict=True)):
            yield from _differences(f"{where}[{number}]", *pair)
    elif type(then) is not type(now) or then != now:
        yield f"{where}: {_described(then)} -> {_described(now)}"


def _described(value):
    """Return a value of JSON as its author would write it."""
    if isinstance(value, list):
        return f"[{', '.join(map(_described, value))}]"
    if not isinstance(value, dict):
        return strict.shown(value)
    shown = {key: item for key, item in value.items() if key not in ("kind", "function") and item is not None}
    settings = ", ".join(f"{key}={_described(item)}" for key, item in shown.items())
    return value["function"] if "function" in value else f"{value.get('kind', '')}({settings})"


# ---- what a run remembers


def _recall(run, saved, header, tensors):
    """Give a run the numbers of the checkpoint."""
    layout = run.model.plan.layout
    for name, buffer in run.buffers.items():
        check_buffer(f"run.{name}", layout, buffer.dtype, tensors)
        fill_buffer(buffer, f"run.{name}", layout, tensors)
    memory = _unpack(run.memory(), header["memory"], tensors, "memory")
    if tensors:
        raise ValueError(f"tensor {strict.shown(next(iter(tensors)))} belongs to nothing in the training")
    run.recall(saved._model.weights, saved._state, memory)


def _pack(memory, tensors, where):
    """Return a memory as JSON can hold it; floats and arrays are added to `tensors`."""
    packed = {}
    for name, value in memory.items():
        if isinstance(value, float | np.ndarray):
            tensors[f"{where}.{name}"] = np.asarray(value)
        elif isinstance(value, dict):
            packed[name] = _pack(value, tensors, f"{where}.{name}")
        elif isinstance(value, bool | int | str):
            packed[name] = value
        else:
            raise ValueError(f"{where}.{name} is {value!r}; a checkpoint holds numbers, texts and arrays")
    return packed


def _unpack(like, packed, tensors, where):
    """Return the memory that `_pack` was given, if it has the names and types of `like`."""
    arrays = [name for name, value in like.items() if isinstance(value, float | np.ndarray)]
    strict.check(packed, {name: type(value) for name, value in like.items() if name not in arrays}, f"header.{where}")
    memory = {}
    for name, value in like.items():
        place = f"{where}.{name}"
        if name in arrays:
            memory[name] = _checked(np.asarray(value), tensors.pop(place, None), place)
        else:
            memory[name] = _unpack(value, packed[name], tensors, place) if isinstance(value, dict) else packed[name]
    return memory


def _checked(like, array, name):
    """Return an array if all but its first length is that of `like`; one of no dimension as a float."""
    if array is None or (array.dtype, array.ndim, array.shape[1:]) != (like.dtype, like.ndim, like.shape[1:]):
        found = "missing" if array is None else f"{array.dtype} of shape {array.shape}"
        raise ValueError(f"tensor {strict.shown(name)} is {found}, but must be {like.dtype} of shape {like.shape}")
    return array if array.ndim else float(array)
