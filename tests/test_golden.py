"""Golden files: what earlier versions saved is read, predicts the same, and trains on in the same bits."""

import numpy as np
import pytest

import fastreg as fr
import fuzz_files
import golden
from fastreg import container

FILES = sorted(golden.FOLDER.glob("*/*.frg"))
CHECKPOINTS = [path for path in FILES if path.stem.startswith("checkpoint-")]
MODELS = [path for path in FILES if path not in CHECKPOINTS]


def name_of(path):
    return "/".join(path.parts[-2:])


def on_fma():
    """Whether this level has the bits of the golden figures; the others agree within rounding."""
    config = fr.show_config("dict")
    return config["level"] != "baseline" or "aarch64" in config["machine"] or "arm64" in config["machine"]


def agree(found, expected):
    if on_fma():
        assert found.tobytes() == expected.tobytes()
    else:
        np.testing.assert_allclose(found, expected, rtol=1e-4, atol=1e-5)


def test_every_version_has_its_files():
    assert {path.parent.name for path in FILES} == {str(v) for v in range(1, container.VERSION + 1)}
    names = {path.stem for path in FILES if path.parent.name == str(container.VERSION)}
    assert names == golden.networks().keys() | golden.TRAININGS.keys()


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_a_golden_file_predicts_and_trains_on_as_it_did(path):
    expected = np.load(path.with_suffix(".npz"))
    network = fr.load(path)
    assert network.forward(golden.X).dtype == expected["now"].dtype
    agree(network.forward(golden.X), expected["now"])
    golden.networks()[path.stem].fit(network)
    agree(network.forward(golden.X), expected["later"])


@pytest.mark.parametrize("path", MODELS, ids=name_of)
def test_a_golden_file_says_what_its_network_is(path):
    network, made = fr.load(path), golden.networks()[path.stem].network
    assert repr(network) == repr(made)
    assert fuzz_files.says_so(path, network)  # and settings that came later have their defaults


@pytest.mark.parametrize("path", CHECKPOINTS, ids=name_of)
def test_a_golden_checkpoint_is_resumed_to_the_bits_that_it_ended_with(path):
    expected = np.load(path.with_suffix(".npz"))
    ended = golden.resume(path.read_bytes(), expected)
    assert ended.keys() == set(expected) - {"X", "y", "X_val", "y_val", "sample_weight"}
    for name, array in ended.items():
        assert array.dtype == expected[name].dtype
        agree(array, expected[name])
