"""Networks in files: what `save` writes, and how `load` makes a network of it again.

a) A header describes the network, `NETWORK`, and how far its training has come, `TRAINING`; the arrays are its
   parameters, the optimizer's memory, and initial weights that were given as arrays. `fastreg.container` writes them.
b) `describe` and `rebuild` are the two directions, and know no file, so that other kinds of file can hold a network.
c) `rebuild` makes the network by its constructor, lowers it without numbers, and compares names, shapes and dtypes with
   the arrays before anything is allocated: layers that do not fit each other, or the arrays, are refused there.
"""

import os

import numpy as np

from fastreg import layers, losses, optimizers, penalties, strict
from fastreg.container import VERSION, read, refusing, write
from fastreg.data import as_count, is_finite
from fastreg.model import Model
from fastreg.network import Network
from fastreg.penalties import as_penalty
from fastreg.state import State
from fastreg.values import decode, encode

NETWORK = {
    "layers": [dict],
    "loss": dict,
    "penalties": [{"pattern": str, "penalty": (None, dict)}],
    "dtype": strict.one_of("float32", "float64"),
    "engine": strict.one_of("compiled", "reference"),
    "seed": int,
    "built": (None, {"n_inputs": strict.natural, "flat": bool}),
}
TRAINING = {"optimizer": dict, "epoch": strict.natural, "step": strict.natural}
MODEL = {"kind": str, "fastreg": str, "network": NETWORK, "training": (None, TRAINING), "finite": bool}
PREFIXES = ("parameters.", "optimizer.", "array.")  # of the names of a network's arrays
MAX_WORK = 1 << 20  # layers times patterns


def save(model, path):
    """Write a network to a file, all of it or nothing.

    The file holds layers, penalties, loss, dtype, seed and parameters, and the optimizer with its memory and counters:
    what `load` returns predicts the same, and trains on in the same bits. The format is described in
    `fastreg.container`.

    Parameters
    ----------
    model : Network
        Built or not; a callback may save the one that it watches.
    path : str or path-like
        A previous file is replaced, in one step, when all of the new one is on the disk. A symbolic link stays one.

    Raises
    ------
    RuntimeError
        If another thread trains the network; the previous file is kept. A callback of that training may save it.
    ValueError
        If the network holds what no file can: functions (as `init`), or layers, penalties, losses and optimizers that
        are not fastreg's own.
    OSError
        From the file system, with errno and path, and whether the previous file was kept.

    See Also
    --------
    load, save_safetensors

    Examples
    --------
    >>> fr.save(net, "digits.frg")
    >>> net = fr.load("digits.frg")
    """
    unchanged = checked_model(model)._watch()
    header, tensors = describe(model)
    write(path, "model", header, tensors, unchanged)


def load(path):
    """Return the network that `save` wrote to a file.

    Any bytes may be loaded: nothing in a file is executed or imported, sizes are checked before memory is taken, and a
    file that is not whole is refused. (Pickles, in contrast, can run any code.)

    Parameters
    ----------
    path : str or path-like

    Returns
    -------
    Network

    Raises
    ------
    ModelFileError
        If the file is no model of fastreg, damaged, cut off, or newer than this version; says which.
    OSError
        From the file system, with errno and path.
    """
    header, tensors = read(path, "model")
    with refusing(path):
        strict.check(header, MODEL)
        network = rebuild(header, tensors)
        if tensors:
            raise ValueError(f"tensor {strict.shown(next(iter(tensors)))} belongs to nothing in the network")
        return network


def info(path):
    """Return what a person wants to know of a `.frg` file, as text: its header, after all of it was checked.

    Raises
    ------
    ModelFileError, OSError
        As `load` does.
    """
    header, tensors = read(path)
    size = os.stat(path).st_size
    with refusing(path):
        lines = [
            f"{os.fsdecode(path)}: {header.pop('kind')}, format {VERSION}, written by fastreg {header.pop('fastreg')},"
            f" {size:,} bytes, checksum ok"
        ]
        if "network" in header:
            lines += _network_lines(rebuild(header, tensors))
            for key in ("network", "training", "finite"):
                header.pop(key, None)
        lines += [f"{key}: {strict.shown(value)}" for key, value in header.items()]
        lines += [f"{name}: {array.dtype} {array.shape}" for name, array in tensors.items()]
    return "\n".join(lines)


def describe(network, model=None, state=None):
    """Return the header, {"network", "training", "finite"}, and the arrays, {name: array}, of a network.

    A `model` or `state` that are given count in place of its own. The names of the arrays begin with one of `PREFIXES`.

    Raises
    ------
    ValueError
        As `save` does.
    """
    spec, model, state = network._spec, model or network._model, state or network._state
    tensors: dict[str, np.ndarray] = {}
    header = {
        "network": {
            "layers": encode(spec.layers, tensors, "layers"),
            "loss": encode(spec.loss, tensors, "loss"),
            "penalties": [
                {
                    "pattern": str(pattern),
                    "penalty": encode(as_penalty("", penalty), tensors, f"penalties[{pattern!r}]"),
                }
                for pattern, penalty in spec.penalties.items()
            ],
            "dtype": spec.dtype.name,
            "engine": spec.engine,
            "seed": network.seed,
            "built": model and {"n_inputs": model.n_inputs, "flat": bool(model.flat)},
        },
        "training": state and _training(state, tensors),
    }
    _check_work(header["network"])
    if model is not None:
        tensors |= buffer_tensors("parameters", model.plan.layout, model.weights)
    if state is not None:
        for number, buffer in enumerate(state.buffers):
            tensors |= buffer_tensors(f"optimizer.{number}", model.plan.layout, buffer)
    return header | {"finite": _unfinite(tensors) is None}, tensors


def rebuild(header, tensors):
    """Return the network that `describe` described.

    Parameters
    ----------
    header : dict
        Its keys "network", "training" and "finite" are checked here, others are not looked at.
    tensors : dict of names to arrays
        Those that belong to the network are taken out of it.

    Raises
    ------
    ValueError
        For what makes no network.
    """
    for key in ("network", "training", "finite"):
        strict.check(header.get(key), MODEL[key], f"header.{key}")
    unfinite = _unfinite(tensors)
    if header["finite"] != (unfinite is None):
        raise ValueError(f"header.finite is {header['finite']}, but NaN or infinity is in {unfinite or 'no tensor'}")
    network = _network(header["network"], tensors)
    built, training = header["network"]["built"], header["training"]
    if built is None and training is not None:
        raise ValueError("header.training is there, but header.network.built is null")
    if built is not None:
        _fill(network, built, training, tensors)
    return network


def buffer_tensors(prefix, layout, buffer):
    """Return the fields of a flat buffer as {"prefix.name": view}."""
    return {f"{prefix}.{name}": view for name, view in layout.views(buffer).items()}


def check_buffer(prefix, layout, dtype, tensors):
    """Demand that `tensors` has what `buffer_tensors` makes of a buffer of such layout and dtype."""
    for field in layout.fields:
        name = f"{prefix}.{field.name}"
        if name not in tensors:
            raise ValueError(f"tensor {strict.shown(name)} is missing")
        found = tensors[name]
        if (found.shape, found.dtype) != (field.shape, dtype):
            raise ValueError(
                f"tensor {strict.shown(name)} has shape {found.shape} and dtype {found.dtype},"
                f" the layers need {field.shape} and {dtype}"
            )


def fill_buffer(buffer, prefix, layout, tensors):
    """Move the checked tensors of one buffer from `tensors` into it."""
    for name, view in layout.views(buffer).items():
        view[...] = tensors.pop(f"{prefix}.{name}")


def _training(state, tensors):
    tensors["optimizer.scalars"] = state.scalars
    optimizer = encode(state.optimizer, tensors, "optimizer")
    return {"optimizer": optimizer, "epoch": state.epoch, "step": state.step}


def _check_work(header):
    """Each pattern looks at each layer: nobody shall keep a reader busy for minutes."""
    if _count(header["layers"]) * len(header["penalties"]) > MAX_WORK:
        raise ValueError(f"layers times patterns of penalties are more than {MAX_WORK}")


def _count(layers):
    """How many layers there are, those of blocks too."""
    blocks = [layer["block"] for layer in layers if isinstance(layer, dict) and isinstance(layer.get("block"), list)]
    return len(layers) + sum(map(_count, blocks))


def _network(header, tensors):
    """Return a network without numbers."""
    _check_work(header)
    patterns = [strict.shown(rule["pattern"]) for rule in header["penalties"]]
    if len(set(patterns)) < len(patterns):
        raise ValueError("header.network.penalties has a pattern twice")
    return Network(
        [
            decode(layer, tensors, f"header.network.layers[{number}]", layers)
            for number, layer in enumerate(header["layers"])
        ],
        loss=decode(header["loss"], tensors, "header.network.loss", losses),
        penalties={
            rule["pattern"]: rule["penalty"] and decode(rule["penalty"], tensors, "header.network.penalties", penalties)
            for rule in header["penalties"]
        },
        dtype=header["dtype"],
        seed=header["seed"],
        engine=header["engine"],
    )


def _fill(network, built, training, tensors):
    """Give a network its numbers, once all of them were checked."""
    spec = network._spec
    layout = spec.body(as_count("header.network.built.n_inputs", built["n_inputs"])).layout
    optimizer = training and decode(training["optimizer"], tensors, "header.training.optimizer", optimizers)
    memories = [f"optimizer.{number}" for number in range(optimizer.buffers)] if optimizer else []
    for prefix in ("parameters", *memories):
        check_buffer(prefix, layout, spec.dtype, tensors)
    network._model = Model(spec, built["n_inputs"], seed=None)
    network._model.flat = built["flat"]
    fill_buffer(network._model.weights, "parameters", layout, tensors)
    if optimizer is None:
        return
    scalars = tensors.pop("optimizer.scalars", None)
    if scalars is None or (scalars.shape, scalars.dtype) != ((2,), np.float64):
        raise ValueError("tensor 'optimizer.scalars' must be there, of shape (2,) and dtype float64")
    network._state = State.new(
        network._model.plan_for(optimizer, False), optimizer, training["epoch"], training["step"]
    )
    network._state.scalars[...] = scalars
    for prefix, buffer in zip(memories, network._state.buffers, strict=True):
        fill_buffer(buffer, prefix, layout, tensors)


def _unfinite(tensors):
    """Return the name of the first of the network's arrays that holds NaN or infinity, or None."""
    own = (name for name in tensors if name.startswith(PREFIXES))
    return next((strict.shown(name) for name in own if not is_finite(np.ascontiguousarray(tensors[name]))), None)


def checked_model(model):
    """Return `model` if it is a Network; otherwise a ValueError shows the order of the arguments."""
    if isinstance(getattr(model, "network", None), Network):
        raise ValueError(
            "model is a preset, whose encodings of X and y no file of fastreg holds yet: save(preset.network, path)"
            " keeps its network, and pickle all of it"
        )
    if not isinstance(model, Network):
        raise ValueError(f"model must be a Network, as in save(model, path), got {strict.shown(model)}")
    return model


def _network_lines(network):
    spec, state, model = network._spec, network._state, network._model
    yield f"loss {spec.loss.name}, dtype {spec.dtype}, seed {network.seed}, engine {spec.engine}"
    if state is not None:
        yield f"trained for {state.epoch} epochs, {state.step} steps, last with {state.optimizer}"
    yield network.summary() if model is not None else f"not built: {list(spec.layers)}"
