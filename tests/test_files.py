"""Models in files: what comes back predicts and trains on in the same bits; nothing else comes back."""

import copy
import json
import os
import pickle
import threading
import tracemalloc
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from hashlib import sha256

import numpy as np
import pytest

import fastreg as fr
from fastreg import __main__, atomic, container, files, safetensors

RNG = np.random.default_rng(7)
X = RNG.normal(size=(60, 5))
LABELS = RNG.integers(0, 3, 60)
TARGETS = {
    "cross_entropy": LABELS,
    "binary_cross_entropy": (LABELS > 1).reshape(-1, 1) * np.ones(3),
    "squared_error": RNG.normal(size=(60, 3)),
}
OPTIMIZERS = [fr.SGD(0.05), fr.SGD(0.05, momentum=0.9, nesterov=True), fr.Adam(0.01), fr.AdamW(0.01)]


def network(loss="cross_entropy", dtype="float32", engine="compiled"):
    penalty = fr.L1(1e-3) + fr.L2(1e-3)
    layers = [
        fr.Dropout(0.1),
        fr.Dense(8, "relu", weight_penalty=penalty),
        fr.Dropout(0.3),
        fr.Dense(6, fr.Activation("leaky_relu", 0.1), init=np.linspace(-1, 1, 48).reshape(8, 6), name="énc"),
        fr.Dense(3),
    ]
    penalties = {"*.bias": fr.L2(0.01), "énc.*": 0}
    return fr.Network(layers, loss=loss, dtype=dtype, seed=2**64 - 1, engine=engine, penalties=penalties)


def trained(loss="cross_entropy", optimizer=None, **settings):
    net = network(loss, **settings)
    net.fit(X, TARGETS[loss], epochs=3, batch_size=7, optimizer=optimizer)
    return net


def same_bits(one, other):
    return all(one.parameters[name].tobytes() == view.tobytes() for name, view in other.parameters.items())


@pytest.fixture
def path(tmp_path):
    return tmp_path / "m.frg"


def through_a_file(net, path):
    fr.save(net, path)
    return fr.load(path)


# ---- what comes back


@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
@pytest.mark.parametrize("dtype", ["float32", "float64"])
@pytest.mark.parametrize("loss", TARGETS)
def test_training_goes_on_in_the_same_bits(path, loss, dtype, optimizer):
    net = trained(loss, optimizer, dtype=dtype)
    twin = through_a_file(net, path)
    assert repr(twin) == repr(net)
    assert twin.summary() == net.summary()
    assert same_bits(twin, net)
    np.testing.assert_array_equal(twin.predict(X), net.predict(X))
    histories = [n.fit(X, TARGETS[loss], epochs=3, batch_size=7, optimizer=optimizer) for n in (net, twin)]
    assert histories[0]["objective"] == histories[1]["objective"]
    assert same_bits(twin, net)


@pytest.mark.parametrize("make", [network, lambda: network().build(5), trained])
def test_a_file_says_all_that_there_is(path, make):
    """Saved again, what was loaded gives the same bytes; also for networks without parameters or training."""
    net = make()
    twin = through_a_file(net, path)
    first = path.read_bytes()
    fr.save(twin, path)
    assert path.read_bytes() == first
    np.testing.assert_array_equal(net.reset().build(5).forward(X), twin.reset().build(5).forward(X))


def test_the_reference_engine_comes_back(path):
    net = trained(engine="reference")
    assert same_bits(through_a_file(net, path), net)
    assert fr.load(path)._spec.engine == "reference"


def test_the_form_of_predictions_comes_back(path):
    net = fr.Network([fr.Dense(1)], loss="squared_error", seed=0)
    for y in (X[:, 0], X[:, :1]):
        net.fit(X, y, epochs=1)
        assert through_a_file(net, path).predict(X).shape == y.shape


def test_weights_that_are_not_finite_come_back_as_they_are(path):
    net = trained()
    net.parameters["0.weight"][0, :2] = np.nan, -np.inf
    twin = through_a_file(net, path)
    assert same_bits(twin, net)


def test_a_callback_saves_the_network_that_it_watches(path):
    nets = [network(), network()]
    nets[0].fit(X, LABELS, epochs=4, callbacks=[lambda run: fr.save(run.network, path) if run.epoch == 1 else None])
    nets[1].fit(X, LABELS, epochs=2)
    twin = fr.load(path)
    assert same_bits(twin, nets[1])
    twin.fit(X, LABELS, epochs=2)
    assert same_bits(twin, nets[0])


SAVERS = [fr.save, fr.save_safetensors, lambda net, path: path.write_bytes(pickle.dumps(net))]


@pytest.mark.parametrize("saver", SAVERS)
def test_another_thread_does_not_save_what_is_being_trained(path, saver):
    """The numbers would be those of two steps."""
    path.write_bytes(b"previous")
    net, training, end = network(), threading.Event(), threading.Event()

    def callback(run):
        saver(run.network, path.with_name("own"))  # the thread that trains may
        training.set()
        end.wait(60)

    thread = threading.Thread(target=net.fit, args=(X, LABELS), kwargs={"epochs": 1, "callbacks": [callback]})
    thread.start()
    assert training.wait(60)
    with pytest.raises(RuntimeError, match="fit is running on this object in another thread"):
        saver(net, path)
    end.set()
    thread.join()
    assert path.read_bytes() == b"previous"
    saver(net, path)
    assert path.read_bytes() != b"previous"


@pytest.mark.parametrize(("saver", "home"), [(fr.save, files), (fr.save_safetensors, safetensors)])
def test_a_training_that_begins_amid_a_save_keeps_the_previous_file(path, monkeypatch, saver, home):
    net = trained()
    path.write_bytes(b"previous")

    @contextmanager
    def slow(path):
        with atomic.replacing(path) as file:
            thread = threading.Thread(target=net.fit, args=(X, LABELS), kwargs={"epochs": 1})
            thread.start()
            thread.join()
            yield file

    monkeypatch.setattr(container if saver is fr.save else home, "replacing", slow)
    with pytest.raises(RuntimeError, match="fit is running"):
        saver(net, path)
    assert path.read_bytes() == b"previous"


def test_saves_at_once_do_not_disturb_each_other(path):
    net = trained()
    with ThreadPoolExecutor(4) as pool:
        for done in [pool.submit(fr.save, net, path) for _ in range(100)]:
            done.result()
    assert same_bits(fr.load(path), net)
    assert list(path.parent.iterdir()) == [path]


def test_a_size_is_that_of_the_numbers(path):
    net = fr.Network([fr.Dense(100), fr.Dense(100)], loss="squared_error", seed=0)
    fr.save(net.build(300), path)
    assert path.stat().st_size < 4 * (300 * 100 + 100 + 100 * 100 + 100) + 2000


def test_loading_takes_the_memory_of_two_copies(path):
    net = fr.Network([fr.Dense(1000)], loss="squared_error", seed=0).build(1000)
    fr.save(net, path)
    tracemalloc.start()
    try:
        fr.load(path)
        assert tracemalloc.get_traced_memory()[1] < 2 * 4_004_000 + (4 << 20)
    finally:
        tracemalloc.stop()


# ---- what cannot be saved


@pytest.mark.parametrize(
    ("net", "message"),
    [
        (
            fr.Network([fr.Dense(2, init=lambda shape, u: u(shape))], loss="squared_error"),
            r"layers\[0\].init is <function",
        ),
        (fr.Network([fr.Dense(2, name="a\n")], loss="squared_error").build(3), "name of 1 to 256 printable characters"),
        ("m.frg", r"model must be a Network, as in save\(model, path\), got 'm.frg'"),
    ],
)
def test_what_cannot_be_saved_is_named_and_the_file_kept(path, net, message):
    path.write_bytes(b"before")
    with pytest.raises(ValueError, match=message):
        fr.save(net, path)
    assert path.read_bytes() == b"before"
    assert os.listdir(path.parent) == ["m.frg"]


# ---- what is refused


def forged(path, change):
    """Apply `change` to the header of a good file, whose checksum is then made right; return what `load` says."""
    data = path.read_bytes()
    size = int.from_bytes(data[12:16], "little")
    header = json.loads(data[16 : 16 + size])
    change(header)
    text = json.dumps(header).encode()
    content = data[:12] + len(text).to_bytes(4, "little") + text + data[16 + size : -32]
    path.write_bytes(content + sha256(content).digest())
    with pytest.raises(fr.ModelFileError) as caught:
        fr.load(path)
    assert str(caught.value).startswith(f"{path}: ")
    return str(caught.value)


def setting(*places):
    """Return a change that sets header[place][place]...[place] = value."""
    *way, last, value = places

    def change(header):
        for place in way:
            header = header[place]
        header[last] = value

    return change


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (setting("network", "seed", True), "header.network.seed must be an integer, got True"),
        (setting("network", "seed", -1), "seed must be None or an int in [0, 2**64), got -1"),
        (setting("network", "seed", 2**64), "seed must be None or an int in [0, 2**64)"),
        (setting("network", "dtype", "float64"), "the layers need (5, 8) and float64"),
        (setting("network", "dtype", "object"), "header.network.dtype must be one of float32, float64"),
        (setting("network", "engine", "os"), "header.network.engine must be one of compiled, reference"),
        (setting("network", "more", 1), "header.network has 'more', which this version does not know"),
        (setting("more", 1), "header has 'more'"),
        (setting("network", None), "header.network must be an object, got None"),
        (setting("network", "layers", []), "a network needs at least one Dense layer"),
        (setting("network", "layers", 1, "units", 9), "tensor 'parameters.0.weight' has shape (5, 8)"),
        (
            setting("network", "layers", 1, "units", True),
            "header.network.layers[1]: units must be an integer >= 1, got True",
        ),
        (setting("network", "layers", 1, "units", 2**62), "a size in it is too large"),
        (setting("network", "layers", 1, "units", 2**64), "a size in it is too large"),
        (
            setting("network", "layers", 1, {"kind": "L2", "strength": 1.0}),
            "header.network.layers[1] must be one of Activation",
        ),
        (setting("network", "layers", 4, "name", "x"), "tensor 'parameters.x.weight' is missing"),
        (setting("network", "loss", {"kind": "Adam"}), "header.network.loss must be one of CrossEntropy"),
        (setting("network", "penalties", 0, "pattern", "z"), "penalties: 'z' matches no parameter"),
        (setting("network", "penalties", 0, "penalty", {"kind": "Adam"}), "header.network.penalties must be one of L1"),
        (setting("network", "penalties", [{"pattern": "*", "penalty": None}] * 2), "has a pattern twice"),
        (setting("network", "built", None), "header.training is there, but header.network.built is null"),
        (setting("network", "built", "n_inputs", 0), "header.network.built.n_inputs must be an int >= 1, got 0"),
        (setting("network", "built", "n_inputs", 4), "the layers need (4, 8)"),
        (setting("network", "built", "n_inputs", 2**62), "header.network.built.n_inputs"),
        (setting("network", "built", "n_inputs", 2**61), "a size in it is too large"),
        (setting("network", "built", "flat", 1), "header.network.built.flat must be true or false, got 1"),
        (setting("training", "epoch", -1), "header.training.epoch must be an integer in [0, 2**62), got -1"),
        (setting("training", "step", 1.0), "header.training.step must be an integer, got 1.0"),
        (
            setting("training", "optimizer", {"kind": "L1", "strength": 0.1}),
            "header.training.optimizer must be one of SGD",
        ),
        (setting("training", "optimizer", {"kind": "SGD"}), "tensor 'optimizer.0.0.weight' belongs to nothing"),
        (setting("training", None), "belongs to nothing in the network"),
        (setting("finite", False), "header.finite is False, but NaN or infinity is in no tensor"),
        (setting("finite", None), "header.finite must be true or false, got None"),
        (setting("tensors", 3, "name", "parameters.1.weight"), "is missing"),
        (setting("tensors", 2, "dtype", "int32"), "has shape (5, 8) and dtype int32"),
        (setting("tensors", 2, "shape", [8, 5]), "has shape (8, 5)"),
        (setting("tensors", 1, "name", "optimizer.x"), "tensor 'optimizer.scalars' must be there"),
        (setting("tensors", 1, "shape", [1, 2]), "tensor 'optimizer.scalars' must be there"),
    ],
)
def test_forged_headers_are_refused_with_place_and_value(path, change, message):
    fr.save(trained(), path)
    assert message in forged(path, change)


def test_numbers_that_are_not_finite_are_refused_where_the_header_denies_them(path):
    net = trained()
    net.parameters["0.bias"][3] = np.nan
    fr.save(net, path)
    assert "header.finite is True, but NaN or infinity is in 'parameters.0.bias'" in forged(
        path, setting("finite", True)
    )


def test_a_forged_header_keeps_no_reader_busy(path):
    """16,000 layers and 14,000 patterns fit into a MiB; comparing each with each would take minutes."""
    fr.save(network(), path)
    layers = [{"kind": "Dense", "units": 1}] * 16_000
    patterns = [{"pattern": f"{n}.*", "penalty": None} for n in range(12_000)]
    assert "more than" in forged(path, lambda header: header["network"].update(layers=layers, penalties=patterns))
    assert len(forged(path, lambda header: header["network"].update(layers=layers, penalties=patterns[-1:]))) < 700


def test_a_checkpoint_is_no_model(path):
    container.write(path, "checkpoint", *files.describe(trained()))
    with pytest.raises(fr.ModelFileError, match="a checkpoint, not a model: read it with fastreg.resume"):
        fr.load(path)


# ---- pickle and copies


@pytest.mark.parametrize("duplicate", [copy.copy, copy.deepcopy, lambda net: pickle.loads(pickle.dumps(net))])
@pytest.mark.parametrize("optimizer", OPTIMIZERS, ids=repr)
def test_copies_train_on_in_the_same_bits_and_apart(optimizer, duplicate):
    net = trained(optimizer=optimizer)
    twin, before = duplicate(net), net.forward(X)
    twin.fit(X, LABELS, epochs=2, batch_size=7, optimizer=optimizer)
    np.testing.assert_array_equal(net.forward(X), before)
    net.fit(X, LABELS, epochs=2, batch_size=7, optimizer=optimizer)
    assert same_bits(twin, net)


@pytest.mark.parametrize("protocol", range(3, pickle.HIGHEST_PROTOCOL + 1))
def test_a_pickle_has_the_numbers_and_little_else(protocol):
    """No workspaces and no engines, whatever ran before; each number once."""
    net = fr.Network([fr.Dense(200, "relu"), fr.Dense(3)], loss="cross_entropy", seed=0)
    net.fit(np.tile(X, (1, 20)), LABELS, epochs=1, optimizer=fr.Adam(), validation=(np.tile(X, (1, 20)), LABELS))
    numbers = 3 * 4 * net._model.weights.size  # with two moments
    assert numbers < len(pickle.dumps(net, protocol)) < numbers + 3000


# ---- fastreg info


def test_info(path, capsys):
    fr.save(trained(optimizer=fr.SGD(0.25)), path)
    assert __main__.main(["info", str(path)]) == 0
    said = capsys.readouterr().out
    size = path.stat().st_size
    first = f"{path}: model, format 1, written by fastreg {fr.__version__}, {size:,} bytes, checksum ok"
    assert said.splitlines()[0] == first
    assert "loss cross_entropy, dtype float32, seed 18446744073709551615, engine compiled" in said
    assert "trained for 3 epochs, 27 steps, last with SGD(learning_rate=0.25" in said
    assert trained().summary() in said


def test_info_of_other_kinds(path, capsys):
    header, tensors = files.describe(network())
    container.write(path, "checkpoint", header | {"run": {"epoch": 3}}, tensors | {"history.loss": np.zeros(3)})
    assert __main__.main(["info", str(path)]) == 0
    said = capsys.readouterr().out
    assert ": checkpoint, format 1" in said
    assert "not built: [Dropout(rate=0.1)" in said
    assert said.endswith("run: {'epoch': 3}\nhistory.loss: float64 (3,)\n")


@pytest.mark.parametrize(("data", "message"), [(b"", "it is empty"), (None, "No such file")])
def test_info_of_a_bad_file_is_an_error_in_a_line(path, capsys, data, message):
    if data is not None:
        path.write_bytes(data)
    assert __main__.main(["info", str(path)]) == 1
    said = capsys.readouterr()
    assert said.out == ""
    assert message in said.err
    assert said.err.count("\n") == 1
