"""Checkpoints: resumed, a training ends in the bits of one that was never stopped; others are refused."""

import _thread
import copy
import os
import pickle
import threading

import numpy as np
import pytest

import fastreg as fr
import fastreg.threads
from fastreg import checkpoint, container, files

RNG = np.random.default_rng(3)
X = RNG.normal(size=(61, 5))
Y = np.argmax(X[:, :3] + RNG.normal(size=(61, 3)), axis=1)
WEIGHTS = np.arange(61) % 3
VALIDATION = {"val": (X[:20] + 0.5, Y[:20]), "other": (X[40:], Y[40:])}
SETTINGS = {"epochs": 12, "batch_size": 13, "validation": VALIDATION, "metrics": ["accuracy"], "sample_weight": WEIGHTS}
STOPPING = fr.EarlyStopping(patience=3)
AMID = 9  # epochs: patience is running out
OPTIMIZERS = [
    fr.SGD(0.1),
    fr.SGD(0.1, momentum=0.9),
    fr.SGD(0.1, momentum=0.9, nesterov=True),
    fr.Adam(0.03),
    fr.AdamW(0.03),
]


def network(dtype="float32", engine="compiled", strength=1e-3, **settings):
    layers = [
        fr.Dropout(0.1),
        fr.Dense(8, "relu", weight_penalty=fr.L1(1e-3) + fr.L2(strength)),
        fr.Dropout(0.3),
        fr.Dense(3),
    ]
    return fr.Network(layers, loss="cross_entropy", dtype=dtype, engine=engine, **{"seed": 1} | settings)


def outcome(net, history):
    """All that must be the same in the end, as what compares by value."""
    state = net._state
    columns = {name: np.array(values).tobytes() for name, values in history.items() if name != "seconds"}
    ended = history.n_epochs, history.ended, history.best_epoch, history.generalization_gap
    memory = state.buffers.tobytes(), state.scalars.tobytes(), state.epoch, state.step
    return net._model.weights.tobytes(), memory, columns, ended


@pytest.fixture
def path(tmp_path):
    return tmp_path / "c.frg"


@pytest.fixture
def kept(monkeypatch, tmp_path):
    """The files of all checkpoints that are written, in their order."""
    paths = []

    def write(path, *content):
        for target in (path, tmp_path / f"{len(paths)}.frg"):
            container.write(target, *content)
        paths.append(target)

    monkeypatch.setattr(checkpoint, "write", write)
    return paths


@pytest.fixture
def made(path):
    """The path of a checkpoint amid a training."""
    cancelled(path)
    return path


def cancelled(path, net=None, at=7, **settings):
    """Train for some steps, and leave a checkpoint."""
    net = network() if net is None else net
    writer = fr.Checkpoint(path, every=at, unit="steps")
    settings = SETTINGS | {"callbacks": [STOPPING]} | settings
    with pytest.MonkeyPatch.context() as patch:

        def write(*content):
            container.write(*content)
            net.cancel()

        patch.setattr(checkpoint, "write", write)
        return net, net.fit(X, Y, **settings | {"callbacks": [*settings["callbacks"], writer]})


def nothing(run):
    """A callback of one's own."""


def share(y_true, prediction):
    """A metric of one's own."""
    return np.mean(y_true == prediction)


# ---- the same bits


@pytest.mark.parametrize(
    ("engine", "dtype", "optimizer"),
    [("compiled", dtype, optimizer) for dtype in ("float32", "float64") for optimizer in OPTIMIZERS]
    + [("reference", "float64", OPTIMIZERS[2]), ("reference", "float32", OPTIMIZERS[3])],
    ids=str,
)
def test_resumed_anywhere_a_training_ends_in_the_same_bits(path, kept, monkeypatch, engine, dtype, optimizer):
    monkeypatch.setattr(fastreg.threads, "usable_threads", lambda: 4)
    settings = SETTINGS | {"optimizer": optimizer, "n_threads": 1}
    alone, net = network(dtype, engine), network(dtype, engine)
    expected = outcome(alone, alone.fit(X, Y, callbacks=[STOPPING], **settings))
    history = net.fit(X, Y, callbacks=[STOPPING, fr.Checkpoint(path, every=1, unit="steps")], **settings)
    assert outcome(net, history) == expected
    assert len(kept) == net._state.step > 30
    for number, file in enumerate(list(kept)):
        given = {"validation": VALIDATION, "sample_weight": WEIGHTS, "callbacks": [STOPPING]}
        resumed = fr.resume(file, X, Y, n_threads=2 + number % 3, **given)
        assert outcome(*resumed) == expected, number


def test_patience_ran_out_in_the_middle_of_what_was_resumed():
    """Or the test above would not show that it goes on."""
    history = network().fit(X, Y, callbacks=[STOPPING], optimizer=OPTIMIZERS[3], **SETTINGS)
    assert history.ended == "stopped"
    assert 0 < history.best_epoch < AMID - 1 < history.n_epochs - 2


@pytest.mark.parametrize("shuffle", [False, True])
@pytest.mark.parametrize("batch_size", [1, 61, "auto"])
def test_without_any_regularization_and_with_other_batches(path, kept, batch_size, shuffle):
    nets = [fr.Network([fr.Dense(2)], loss="squared_error", seed=2) for _ in range(2)]
    settings = {"epochs": 3, "batch_size": batch_size, "shuffle": shuffle}
    expected = outcome(nets[0], nets[0].fit(X, X[:, :2], **settings))
    nets[1].fit(X, X[:, :2], callbacks=[fr.Checkpoint(path, every=20, unit="steps")], **settings)
    for file in list(kept):
        assert outcome(*fr.resume(file, X, X[:, :2])) == expected


AUGMENT = [fr.RandomFlip(shape=(1, 5)), fr.Mixup(0.5, 0.7), fr.CutMix(), fr.Cutout(2, 0.5, shape=(1, 5))]


def noisy(X, y, rng):
    """An augmentation of one's own."""
    return X + rng.normal(size=X.shape), y


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_augmented_and_resumed_anywhere_a_training_ends_in_the_same_bits(path, kept, engine):
    settings = {"epochs": 4, "batch_size": 13, "sample_weight": WEIGHTS, "augment": AUGMENT}
    nets = [network(engine=engine) for _ in range(2)]
    expected = outcome(nets[0], nets[0].fit(X, Y, **settings))
    nets[1].fit(X, Y, callbacks=[fr.Checkpoint(path, every=1, unit="steps")], **settings)
    for file in list(kept):
        assert outcome(*fr.resume(file, X, Y, sample_weight=WEIGHTS)) == expected


def test_other_augmentations_are_refused_and_files_of_before_have_none(path):
    cancelled(path, augment=AUGMENT)
    given = {"validation": VALIDATION, "sample_weight": WEIGHTS}
    with pytest.raises(fr.CheckpointMismatchError, match=r"augment\[1\].alpha: 0.5 -> 0.25"):
        fr.resume(path, X, Y, augment=[AUGMENT[0], fr.Mixup(0.25, 0.7), *AUGMENT[2:]], **given)
    fr.resume(path, X, Y, augment=AUGMENT, **given)
    cancelled(path)
    header, tensors = container.read(path, "checkpoint")
    del header["fit"]["augment"]
    container.write(path, "checkpoint", header, tensors)
    fr.resume(path, X, Y, **given)


def test_augmentations_of_ones_own_must_be_given_again(path, kept):
    settings = {"epochs": 3, "batch_size": 13, "augment": [noisy, *AUGMENT]}
    nets = [network() for _ in range(2)]
    expected = outcome(nets[0], nets[0].fit(X, Y, **settings))
    nets[1].fit(X, Y, callbacks=[fr.Checkpoint(path, every=2, unit="steps")], **settings)
    for file in list(kept):
        assert outcome(*fr.resume(file, X, Y, augment=[noisy, *AUGMENT])) == expected
    with pytest.raises(fr.CheckpointMismatchError, match="augment: no file holds noisy"):
        fr.resume(path, X, Y)


def test_a_second_fit_can_be_resumed(path):
    nets = [network() for _ in range(2)]
    for net in nets:
        net.fit(X, Y, epochs=2, batch_size=20)
    expected = outcome(nets[0], nets[0].fit(X, Y, callbacks=[STOPPING], **SETTINGS))
    cancelled(path, nets[1])
    assert outcome(*fr.resume(path, X, Y, validation=VALIDATION, sample_weight=WEIGHTS)) == expected


def test_every_so_many_epochs(path, kept):
    net = network()
    net.fit(X, Y, epochs=7, batch_size=13, callbacks=[fr.Checkpoint(str(path), every=3)])
    steps = [container.read(file)[0]["training"]["step"] for file in kept]
    assert steps == [15, 30, 35]


def test_a_divergence_after_the_resumption_keeps_the_same_weights(path, kept):
    def diverged(train):
        with pytest.raises(fr.DivergenceError) as caught:
            train()
        return caught.value.args

    settings = {"epochs": 400, "batch_size": 20, "optimizer": fr.SGD(0.9)}
    nets = [fr.Network([fr.Dense(1)], loss="squared_error", seed=0, dtype="float64") for _ in range(2)]
    y = X[:, 0]
    expected = diverged(lambda: nets[0].fit(X, y, callbacks=[nothing], **settings))
    writer = fr.Checkpoint(path, every=7, unit="steps")
    assert diverged(lambda: nets[1].fit(X, y, callbacks=[writer], **settings)) == expected
    for file in (kept[0], kept[1], kept[-1]):
        net = fr.Network([fr.Dense(1)], loss="squared_error", seed=0, dtype="float64")
        assert diverged(lambda file=file, net=net: fr.resume(file, X, y, network=net)) == expected
        assert net._model.weights.tobytes() == nets[0]._model.weights.tobytes()


def test_after_ctrl_c_the_last_checkpoint_is_whole_and_goes_on(path):
    rows = RNG.normal(size=(4000, 50))
    net = fr.Network([fr.Dense(50, "tanh"), fr.Dense(1)], loss="squared_error", seed=0)
    settings = {"epochs": 10**6, "batch_size": 40, "callbacks": [fr.Checkpoint(path, every=30, unit="steps")]}
    for after in (0.2, 0.23, 0.28):
        timer = threading.Timer(after, _thread.interrupt_main)
        timer.start()
        with pytest.raises(KeyboardInterrupt):
            net.reset().fit(rows, rows[:, 0], **settings)
        resumed = files.rebuild(*container.read(path, "checkpoint"))
        assert resumed._state.step % 30 == 0
        steps = resumed._state.step
        twin = fr.Network([fr.Dense(50, "tanh"), fr.Dense(1)], loss="squared_error", seed=0)
        twin.fit(rows, rows[:, 0], epochs=settings["epochs"], batch_size=40, callbacks=[EndAfter(steps)])
        assert twin._model.weights.tobytes() == resumed._model.weights.tobytes()
        assert twin._state.buffers.tobytes() == resumed._state.buffers.tobytes()


class EndAfter:
    def __init__(self, steps):
        self.every_steps = steps

    def start(self, run):
        return self

    def after_steps(self, run):
        run.cancel()


def numbers(name, change):
    return lambda header, tensors: tensors.update({name: change(tensors[name])})


def in_memory(name, value):
    return lambda header, tensors: header["memory"].update({name: value})


PIECES = {
    "parameters": numbers("parameters.0.bias", lambda array: array + 1),
    "first moments": numbers("optimizer.0.0.weight", np.zeros_like),
    "second moments": numbers("optimizer.1.0.weight", np.ones_like),
    "updates": numbers("optimizer.scalars", np.zeros_like),
    "order of rows": lambda header, tensors: header["training"].update(epoch=0),
    "dropout": lambda header, tensors: header["training"].update(step=0),
    "place in the epoch": numbers("memory.results", lambda array: array[:-1]),
    "figures of the epoch": numbers("memory.results", lambda array: 2 * array),
    "figures of before": numbers("memory.history.figures", lambda array: array + 1),
    "best weights": numbers("run.kept.0.weight", np.zeros_like),
    "whose they are": in_memory("kept_epoch", 0),
    "best value": numbers("memory.callbacks.0.best", lambda array: array + 1),
    "best epoch": lambda header, tensors: header["memory"]["callbacks"]["0"].update(best_epoch=-1),
    "the end": in_memory("stopped", True),
}


@pytest.mark.parametrize("piece", PIECES)
def test_each_piece_that_is_remembered_counts(path, piece):
    """Or the tests above would not show that it is."""
    given = {"validation": VALIDATION, "sample_weight": WEIGHTS, "callbacks": [STOPPING]}
    _, history = cancelled(path, at=5 * AMID + 2, optimizer=OPTIMIZERS[3])
    assert history.n_epochs == AMID
    expected = outcome(*fr.resume(path, X, Y, **given))
    changed(path, PIECES[piece])
    assert outcome(*fr.resume(path, X, Y, **given)) != expected


def changed(path, change):
    """Rewrite a checkpoint with other content."""
    header, tensors = container.read(path)
    change(header, tensors)
    del header["kind"], header["fastreg"]
    container.write(path, "checkpoint", header, tensors)


# ---- what ends, and goes on


def test_a_finished_training_is_returned(path):
    net = network()
    history = net.fit(X, Y, callbacks=[STOPPING, fr.Checkpoint(path)], **SETTINGS)
    before = path.read_bytes()
    resumed = fr.resume(path, X, Y, validation=VALIDATION, sample_weight=WEIGHTS)
    assert outcome(*resumed) == outcome(net, history)
    assert resumed.history["seconds"] == history["seconds"]
    assert path.read_bytes() == before
    net.fit(X, Y, epochs=2)
    resumed.network.fit(X, Y, epochs=2)
    assert resumed.network._model.weights.tobytes() == net._model.weights.tobytes()


def test_who_resumes_goes_on_writing(path, kept):
    cancelled(path)
    first = container.read(path)[0]
    fr.resume(path, X, Y, validation=VALIDATION, sample_weight=WEIGHTS)
    assert [container.read(file)[0]["training"]["step"] for file in kept][:3] == [14, 21, 28]
    last = container.read(path)[0]
    assert last["training"]["step"] == container.read(kept[-1])[0]["training"]["step"] > 28
    assert {key: last[key] for key in ("fit", "data", "checkpoint")} == {
        k: first[k] for k in ("fit", "data", "checkpoint")
    }


def test_who_passes_no_checkpoint_writes_none(made, kept):
    fr.resume(made, X, Y, validation=VALIDATION, sample_weight=WEIGHTS, callbacks=[STOPPING])
    assert kept == []


def test_cancelled_and_resumed_again_and_again(path):
    alone = network()
    expected = outcome(alone, alone.fit(X, Y, callbacks=[STOPPING], **SETTINGS))
    cancelled(path)
    for _ in range(100):
        net = network()
        watcher = fr.Checkpoint(path, every=4, unit="steps")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoint, "write", lambda *content, net=net: (container.write(*content), net.cancel()))
            resumed = fr.resume(path, X, Y, network=net, **SETTINGS | {"callbacks": [STOPPING, watcher]})
        if resumed.history.ended != "cancelled":
            break
    assert outcome(*resumed)[:3] == expected[:3]


def test_seconds_are_those_of_both_processes(path):
    cancelled(path, at=4)  # of 5 steps
    _, tensors = container.read(path)
    history = fr.resume(path, X, Y, validation=VALIDATION, sample_weight=WEIGHTS).history
    assert history["seconds"][0] > tensors["memory.seconds"] > 0


def test_the_network_that_is_given_is_trained(made):
    expected = outcome(*fr.resume(made, X, Y, validation=VALIDATION, sample_weight=WEIGHTS))
    cancelled(made)
    for net in (network(), network().build(5), cancelled(made)[0], trained(network())):
        view = net.build(5).parameters["0.weight"]
        resumed = fr.resume(made, X, Y, network=net, **SETTINGS | {"callbacks": [STOPPING]})
        assert resumed.network is net
        assert np.shares_memory(view, net.parameters["0.weight"])
        assert outcome(*resumed) == expected


def trained(net):
    net.fit(X, Y, epochs=1, optimizer=fr.SGD(0.1))
    return net


def test_the_progress_bar_begins_where_the_training_does(made, capsys):
    fr.resume(made, X, Y, validation=VALIDATION, sample_weight=WEIGHTS, verbose=1)
    shown = capsys.readouterr()
    assert "2/12" in shown.out + shown.err
    assert "epoch 1/12" not in shown.out


# ---- what no file can hold


class Memory:
    """A callback that adds up what it sees, and remembers it."""

    def __init__(self):
        self.watchers = []

    def start(self, run):
        self.watchers.append(Sum())
        return self.watchers[-1]


class Sum:
    def __init__(self):
        self.n, self.total, self.name, self.seen, self.parts = 0, np.float64(0), "", np.empty(0), {"last": 0.0}

    def __call__(self, run):
        loss = run.history["loss"][-1]
        self.n, self.total, self.name = self.n + 1, self.total + loss, self.name + "x"
        self.seen, self.parts = np.append(self.seen, loss), {"last": loss}

    def memory(self):
        return dict(vars(self))

    def recall(self, memory):
        vars(self).update(memory)


def test_callbacks_of_ones_own_are_given_again_and_have_their_memory(path):
    alone, other = Memory(), Memory()
    network().fit(X, Y, **SETTINGS | {"callbacks": [alone]})
    cancelled(path, at=18, callbacks=[other])
    fr.resume(path, X, Y, **SETTINGS | {"callbacks": [other]})
    one, two = alone.watchers[0], other.watchers[1]
    assert (one.n, one.total, one.name, one.parts) == (two.n, two.total, two.name, two.parts)
    assert one.seen.tolist() == two.seen.tolist()


@pytest.mark.parametrize("value", [None, [1], {1}, nothing])
def test_a_memory_of_other_things_is_refused(path, value):
    callback = Memory()
    callback.start = lambda run: type("Bad", (), {"memory": lambda self: {"thing": value}, "recall": None})()
    with pytest.raises(ValueError, match="memory.callbacks.0.thing is .*a checkpoint holds numbers, texts and arrays"):
        network().fit(X, Y, epochs=1, callbacks=[callback, fr.Checkpoint(path)])


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"callbacks": [nothing]}, "callbacks: no file holds nothing; pass callbacks=[...] again, all of them"),
        ({"callbacks": [STOPPING, Memory()]}, "callbacks: no file holds Memory; pass"),
        ({"metrics": [share]}, "metrics: no file holds share; pass metrics=[...] again, all of them"),
    ],
)
def test_what_no_file_can_hold_must_be_given_again(path, settings, message):
    cancelled(path, **settings)
    given = {"validation": VALIDATION, "sample_weight": WEIGHTS}
    with pytest.raises(fr.CheckpointMismatchError) as caught:
        fr.resume(path, X, Y, **given)
    assert message in str(caught.value)
    fr.resume(path, X, Y, **given, **settings)


# ---- mismatches


def other_content(array, place):
    array = array.copy()
    array[place] = array[place] + 1e-6
    return array


MISMATCHES = {
    "X: shape (61, 5) -> (60, 5)": {"X": X[:60], "y": Y[:60]},
    "X: shape (61, 5) -> (61, 4)": {"X": X[:, :4]},
    "content of X differs": {"X": other_content(X, (60, 4))},
    "content of y differs": {"y": np.append(Y[:-1], (Y[-1] + 1) % 3)},
    "y: shape (61,) -> (61, 3)": {"y": np.eye(3)[Y]},
    "content of sample_weight differs": {"sample_weight": WEIGHTS + 1},
    "sample_weight: given -> none": {"sample_weight": None},
    "validation: val, other -> none": {"validation": None},
    "validation: val, other -> other, val": {"validation": dict(reversed(VALIDATION.items()))},
    "validation 'other': X: shape (21, 5) -> (20, 5)": {"validation": VALIDATION | {"other": (X[41:], Y[41:])}},
    "content of validation 'val': y differs": {"validation": VALIDATION | {"val": (X[:20] + 0.5, Y[:20] * 0)}},
    "epochs: 12 -> 13": {"epochs": 13},
    "batch_size: 13 -> 12": {"batch_size": 12},
    "batch_size: 13 -> 61": {"batch_size": "auto"},
    "shuffle: True -> False": {"shuffle": False},
    "optimizer.learning_rate: 0.001 -> 0.1": {"optimizer": fr.Adam(0.1)},
    "optimizer: Adam(learning_rate=0.001, beta1=0.9, beta2=0.999, epsilon=1e-08, epsilon_hat=False) -> SGD(": {
        "optimizer": fr.SGD(0.1)
    },
    "metrics: ['accuracy'] -> []": {"metrics": []},
    "metrics[0]: 'accuracy' -> share": {"metrics": [share]},
    "callbacks[0].patience: 3 -> 4": {"callbacks": [fr.EarlyStopping(patience=4)]},
    "callbacks: [EarlyStopping(monitor='val_loss', patience=3, ": {"callbacks": []},
    "mode='auto', restore_best=True, warmup=0)] -> [EarlyStopping(": {"callbacks": [STOPPING, nothing]},
    "layers[1].weight_penalty.parts[1].strength: 0.001 -> 0.1": {"network": network(strength=0.1)},
    "seed: 1 -> 2": {"network": network(seed=2)},
    "dtype: 'float32' -> 'float64'": {"network": network(dtype="float64")},
    "engine: 'compiled' -> 'reference'": {"network": network(engine="reference")},
    "penalties: [] -> [(pattern='*.bias', penalty=L2(strength=0.1))]": {
        "network": network(penalties={"*.bias": fr.L2(0.1)})
    },
}


@pytest.mark.parametrize("difference", MISMATCHES)
def test_what_differs_is_named_and_nothing_changes(made, difference):
    data = {"X": X, "y": Y, "validation": VALIDATION, "sample_weight": WEIGHTS}
    given = data | MISMATCHES[difference]
    net = given.setdefault("network", network().build(5))
    built = net._model and net._model.weights.tobytes()
    before = made.read_bytes()
    with pytest.raises(fr.CheckpointMismatchError) as caught:
        fr.resume(made, given.pop("X"), given.pop("y"), **given)
    assert difference in str(caught.value)
    assert str(caught.value).startswith(f"{made}: made by another training (then -> now): ")
    assert made.read_bytes() == before
    assert net._state is None
    assert (net._model and net._model.weights.tobytes()) == built


def test_the_same_numbers_of_another_type_are_the_same_data(made):
    data = X.astype("float32"), Y.astype(float)
    settings = {"validation": VALIDATION, "sample_weight": WEIGHTS.tolist(), "network": network()}
    fr.resume(made, data[0].tolist(), data[1], **settings)


def test_several_differences_are_all_said_and_can_be_pickled(made):
    with pytest.raises(fr.CheckpointMismatchError) as caught:
        fr.resume(made, X, Y[::-1], epochs=3, validation=VALIDATION)
    expected = ("content of y differs", "sample_weight: given -> none", "epochs: 12 -> 3")
    assert caught.value.differences == expected
    for twin in (pickle.loads(pickle.dumps(caught.value)), copy.copy(caught.value)):
        assert str(twin) == str(caught.value)
        assert twin.differences == expected


def test_initial_weights_given_as_arrays_are_compared(path):
    def initialized(value):
        init = np.full((5, 3), value)
        return fr.Network([fr.Dense(3, init=init)], loss="cross_entropy", seed=0)

    cancelled(path, initialized(0.5))
    given = {"validation": VALIDATION, "sample_weight": WEIGHTS}
    with pytest.raises(fr.CheckpointMismatchError, match="content of array.0, an init of the layers, differs"):
        fr.resume(path, X, Y, network=initialized(0.25), **given)
    fr.resume(path, X, Y, network=initialized(0.5), **given)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"X": X[:, 0]}, "Expected 2D array"),
        ({"X": np.full_like(X, np.nan)}, "Input X contains NaN"),
        ({"y": Y[:60]}, "inconsistent numbers of samples"),
        ({"network": fr.Dense(3)}, "network must be a Network or None, got Dense"),
        ({"n_threads": 0}, "n_threads must be an int >= 1"),
        ({"epochs": 0}, "epochs must be an int >= 1"),
        ({"callbacks": [STOPPING, 3]}, "callbacks[1] is 3"),
        ({"metrics": ["r2"]}, "'r2' does not fit loss"),
    ],
)
def test_what_is_wrong_by_itself_is_no_matter_of_the_file(made, given, message):
    given = {"X": X, "y": Y, "validation": VALIDATION, "sample_weight": WEIGHTS} | given
    with pytest.raises(ValueError) as caught:
        fr.resume(made, given.pop("X"), given.pop("y"), **given)
    assert message in str(caught.value)
    assert not isinstance(caught.value, fr.ModelFileError)


# ---- files that are none


def test_models_and_checkpoints_are_told_apart(made):
    with pytest.raises(fr.ModelFileError, match="a checkpoint, not a model: read it with fastreg.resume"):
        fr.load(made)
    fr.save(network(), made)
    with pytest.raises(fr.ModelFileError, match="a model, not a checkpoint: read it with fastreg.load"):
        fr.resume(made, X, Y)


def test_info_shows_a_checkpoint(made):
    said = files.info(made)
    assert "trained for 1 epochs, 7 steps, last with Adam" in said
    assert "checkpoint: {'every': 7, 'unit': 'steps'}" in said


def set_in(place, value):
    def change(header, tensors):
        *path, last = place
        for key in path:
            header = header[key]
        header[last] = value

    return change


def replace_tensor(name, array):
    return lambda header, tensors: tensors.update({name: np.array(array)})


FORGERIES = {
    "header.memory has no 'claimed'": lambda header, tensors: header["memory"].pop("claimed"),
    "header.memory has 'more'": set_in(["memory", "more"], 1),
    "header.memory.claimed must be true or false": set_in(["memory", "claimed"], 1),
    "header.memory.kept_epoch must be an integer": set_in(["memory", "kept_epoch"], True),
    "kept_epoch -2 or the seconds of 2 steps cannot be": set_in(["memory", "kept_epoch"], -2),
    "the seconds of 0 steps cannot be": replace_tensor("memory.results", np.zeros((0, 3))),
    "best_epoch -2 cannot be": set_in(["memory", "callbacks", "0", "best_epoch"], -2),
    "header.memory.callbacks.0 must be an object": set_in(["memory", "callbacks", "0"], 3),
    "must be one of EarlyStopping, ReduceOnPlateau, got {'kind': 'Checkpoint'}": set_in(
        ["fit", "callbacks"], [{"kind": "Checkpoint"}]
    ),
    "header.fit.callbacks[0] must be one of EarlyStopping": set_in(
        ["fit", "callbacks"], [{"kind": "L2", "strength": 1.0}]
    ),
    "header.fit.callbacks[0].function must be a text": set_in(["fit", "callbacks"], [{"function": 3}]),
    "watches a figure that this fit does not record": set_in(
        ["fit", "callbacks"], [{"kind": "EarlyStopping", "monitor": "a_loss"}]
    ),
    "header.fit.epochs must be an integer": set_in(["fit", "epochs"], "12"),
    "epochs must be an int >= 1": set_in(["fit", "epochs"], 0),
    "1 epochs and 2 steps are more than there are": set_in(["fit", "epochs"], 1),
    "header.fit.batch_size is 62, but X has the shape [61, 5]": set_in(["fit", "batch_size"], 62),
    "batch_size must be an int >= 1": set_in(["fit", "batch_size"], 0),
    "header.fit.batch_size is 13, but X has the shape []": set_in(["data", "X", "shape"], []),
    "unknown metric 'precise'": set_in(["fit", "metrics"], ["precise"]),
    "header.data.X.sha256 must be a text": set_in(["data", "X", "sha256"], None),
    "header.checkpoint.unit must be one of": set_in(["checkpoint", "unit"], "hours"),
    "every must be an int >= 1": set_in(["checkpoint", "every"], 0),
    "header.training must be an object, got None": set_in(["training"], None),
    "tensor 'memory.lowest' is missing": lambda header, tensors: tensors.pop("memory.lowest"),
    "tensor 'memory.results' is float64 of shape (2,), but": replace_tensor("memory.results", [1.0, 2.0]),
    "1 epochs and 5 steps are more than there are": replace_tensor("memory.results", np.zeros((5, 3))),
    "tensor 'memory.history.figures' is float64 of shape (1, 2), but": replace_tensor(
        "memory.history.figures", [[1.0, 2.0]]
    ),
    "13 epochs and 2 steps": replace_tensor("memory.history.figures", np.zeros((13, 12))),
    "tensor 'memory.seconds' is float32 of shape (), but": replace_tensor("memory.seconds", np.float32(1)),
    "tensor 'run.kept.0.bias' is missing": lambda header, tensors: tensors.pop("run.kept.0.bias"),
    "tensor 'run.kept.0.bias' has shape (1,)": replace_tensor("run.kept.0.bias", np.zeros(1, "float32")),
    "tensor 'run.average.0.bias' belongs to nothing in the training": replace_tensor("run.average.0.bias", [1.0]),
}


@pytest.mark.parametrize("message", FORGERIES)
def test_forged_files_are_refused_and_nothing_changes(made, message):
    changed(made, FORGERIES[message])
    net = network().build(5)
    before = net._model.weights.tobytes()
    with pytest.raises(fr.ModelFileError) as caught:
        fr.resume(made, X, Y, network=net, validation=VALIDATION, sample_weight=WEIGHTS)
    assert message in str(caught.value)
    assert str(caught.value).startswith(f"{made}: ")
    assert net._state is None
    assert net._model.weights.tobytes() == before


# ---- what goes wrong while they are written


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"path": 3}, "path must be the name of a file, got 3"),
        ({"every": 0}, "every must be an int >= 1, got 0"),
        ({"every": True}, "every must be an int >= 1"),
        ({"path": ""}, "path must be the name of a file, got ''"),
        ({"path": "a\0b"}, "path must be the name of a file, got 'a\\\\x00b'"),
        ({"unit": "hours"}, "unit"),
    ],
)
def test_bad_settings(path, settings, message):
    with pytest.raises(ValueError, match=message):
        fr.Checkpoint(**{"path": path} | settings)


def test_what_no_file_can_hold_is_said_before_the_first_epoch(path):
    net = fr.Network([fr.Dense(3, init=lambda shape, uniform: np.zeros(shape))], loss="cross_entropy", seed=0)
    with pytest.raises(ValueError, match="init is .* cannot be saved"):
        net.fit(X, Y, callbacks=[fr.Checkpoint(path)])
    assert net._state is None


def test_a_folder_that_is_missing_is_found_before_the_first_epoch(tmp_path):
    net = network()
    with pytest.raises(FileNotFoundError) as caught:
        net.fit(X, Y, callbacks=[fr.Checkpoint(tmp_path / "no" / "c.frg")])
    assert caught.value.filename == str(tmp_path / "no")
    assert net._state is None


@pytest.mark.parametrize("every", [2**62, 2**70])
def test_a_number_that_no_file_can_hold_is_said_before_the_first_epoch(path, every):
    net = network()
    with pytest.raises(ValueError):
        net.fit(X, Y, epochs=1, callbacks=[fr.Checkpoint(path, every=every, unit="steps")])
    assert (net._state, path.exists()) == (None, False)


def test_a_header_that_is_too_long_is_found_before_the_first_epoch(path):
    net = fr.Network([fr.Dense(1) for _ in range(1500)], loss="squared_error", seed=0)
    with pytest.raises(ValueError, match="a header at most 1,048,576"):
        net.fit(X[:, :1], Y, epochs=1, callbacks=[fr.Checkpoint(path)])
    assert net._state is None


def test_a_thousand_layers_can_be_resumed(path):
    net = fr.Network([fr.Dense(1) for _ in range(1000)], loss="squared_error", seed=0)
    history = net.fit(X[:, :1], Y, epochs=1, callbacks=[fr.Checkpoint(path)])
    assert outcome(*fr.resume(path, X[:, :1], Y)) == outcome(net, history)


def test_a_path_where_nothing_can_be_written_is_found_before_the_first_epoch(tmp_path, monkeypatch):
    (tmp_path / "folder").mkdir()
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "c.frg").write_bytes(b"kept")
    os.mkfifo(tmp_path / "pipe")
    net, access = network(), os.access
    monkeypatch.setattr("os.access", lambda path, mode: str(path) != str(tmp_path / "c.frg") and access(path, mode))
    for name in ("folder", "new/", "loop", "c.frg", "pipe"):
        with pytest.raises(OSError) as caught:
            net.fit(X, Y, epochs=1, callbacks=[fr.Checkpoint(f"{tmp_path}/{name}")])
        assert caught.value.filename == f"{tmp_path}/{name}"
        assert "previous" not in str(caught.value)  # nothing was begun
    monkeypatch.setattr("os.access", lambda path, mode: str(path) != str(tmp_path) and access(path, mode))
    with pytest.raises(PermissionError):
        net.fit(X, Y, epochs=1, callbacks=[fr.Checkpoint(tmp_path / "new")])
    assert net._state is None


def test_a_path_of_bytes(path):
    net = network()
    history = net.fit(X, Y, epochs=1, callbacks=[fr.Checkpoint(os.fsencode(path))])
    assert outcome(*fr.resume(os.fsencode(path), X, Y)) == outcome(net, history)


def test_a_disk_that_fails_ends_the_training_and_the_previous_checkpoint_goes_on(path, monkeypatch):
    alone = network()
    expected = outcome(alone, alone.fit(X, Y, callbacks=[STOPPING], **SETTINGS))
    cancelled(path)
    before = path.read_bytes()
    given = {"validation": VALIDATION, "sample_weight": WEIGHTS}
    with monkeypatch.context() as patch:

        def full(descriptor):
            raise OSError(28, "No space left on device")

        patch.setattr("os.fsync", full)
        with pytest.raises(OSError, match="No space left on device; previous file kept") as caught:
            fr.resume(path, X, Y, **given)
    assert caught.value.filename == str(path)
    assert path.read_bytes() == before
    assert outcome(*fr.resume(path, X, Y, **given)) == expected


def test_the_path_stays_where_it_was(tmp_path, monkeypatch):
    (tmp_path / "elsewhere").mkdir()
    monkeypatch.chdir(tmp_path)
    network().fit(X, Y, epochs=1, callbacks=[fr.Checkpoint("c.frg"), lambda run: monkeypatch.chdir("elsewhere")])
    assert [file.name for file in tmp_path.iterdir() if file.is_file()] == ["c.frg"]


def test_a_training_in_another_thread_can_be_checkpointed_and_resumed(made):
    expected = outcome(*fr.resume(made, X, Y, validation=VALIDATION, sample_weight=WEIGHTS))
    cancelled(made)
    found = []

    def resume():
        found.append(outcome(*fr.resume(made, X, Y, validation=VALIDATION, sample_weight=WEIGHTS)))

    thread = threading.Thread(target=resume)
    thread.start()
    thread.join()
    assert found == [expected]
