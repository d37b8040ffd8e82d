"""The texts: their own programs, their kept outputs, the same trainings through fastreg on both engines."""

import contextlib
import functools
import io
import re
import runpy
from pathlib import Path

import numpy as np
import pytest

TEXTS = Path(__file__).parent / "texts"
EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBER = re.compile(r"-?\d+\.\d*(?:e[-+]?\d+)?")

# Text 001, NumPy legacy seed 42, float64: the objective before the update of an epoch, and after the last.
GOLDEN = {
    1: 0.6706580812513415,
    2: 0.5893512661311285,
    10: 0.2848733600078399,
    100: 0.20636304506994155,
    1000: 0.09853301118005588,
}
GOLDEN_FINAL = 0.09852507957744494
GOLDEN_Y_HAT = (0.0023116, 0.99306458, 0.00231223, 0.00231158)


@functools.cache
def program(name, *args):
    """Figures and printed text of a text's own program."""
    out = io.StringIO()
    with contextlib.redirect_stdout(out):
        figures = runpy.run_path(str(TEXTS / f"{name}.py"))["run"](*args)
    return figures, out.getvalue()


@functools.cache
def ours(name, engine):
    """Figures of the example that does the same with fastreg."""
    path = EXAMPLES / f"{name}.py"
    if not path.is_file():
        pytest.skip(f"no {path.name}: the tests run away from the source tree, without its examples folder")
    return runpy.run_path(str(path))["main"](engine)


@pytest.fixture(params=["reference", "compiled"])
def engine(request):
    return request.param


@pytest.mark.parametrize("name", ["text_000", "text_001", "text_002"])
def test_kept_output_is_what_the_program_prints(name, capsys):
    runpy.run_path(str(TEXTS / f"{name}.py"), run_name="__main__")
    printed, kept = capsys.readouterr().out, (TEXTS / f"{name}.txt").read_text()
    assert NUMBER.sub("#", printed) == NUMBER.sub("#", kept)
    # 2e-8: the arrays that text 001 prints carry eight decimals.
    np.testing.assert_allclose(numbers(printed), numbers(kept), rtol=1e-12, atol=2e-8)


def numbers(text):
    return np.array([float(number) for number in NUMBER.findall(text)])


def test_text_000_prints_its_ten_lines(engine):
    """Loss and prediction as printed, weights to 1e-12 relative."""
    lines = (TEXTS / "text_000.txt").read_text().splitlines()
    figures = ours("text_000_single_neuron", engine)
    assert len(lines) == len(figures) == 10
    for epoch, (line, (loss, pred, weights, _)) in enumerate(zip(lines, figures, strict=True)):
        head, printed_weights = line.split(", Weights=")
        assert f"Epoch {epoch + 1}: Loss={loss:.4f}, Pred={pred:.4f}" == head
        np.testing.assert_allclose(weights, numbers(printed_weights), rtol=1e-12)


def test_text_000_to_the_last_digits(engine):
    """Loss, prediction, weights and bias of every epoch against the program itself."""
    wanted, _ = program("text_000")
    for row, wanted_row in zip(ours("text_000_single_neuron", engine), wanted, strict=True):
        np.testing.assert_allclose(np.hstack(row), np.hstack(wanted_row), rtol=1e-12)


def test_text_001_program_has_the_golden_figures():
    figures, _ = program("text_001")
    check_golden(figures["losses"], figures["final_loss"], figures["y_hat"].ravel(), rtol=1e-12)


def test_text_001_golden_figures(engine):
    figures = ours("text_001_nesterov_l1_l2", engine)
    check_golden(figures["losses"], figures["final_loss"], figures["y_hat"], rtol=1e-9)


def check_golden(losses, final_loss, y_hat, rtol):
    assert losses.shape == (1000,)
    np.testing.assert_allclose([losses[epoch - 1] for epoch in GOLDEN], list(GOLDEN.values()), rtol=rtol)
    np.testing.assert_allclose(final_loss, GOLDEN_FINAL, rtol=rtol)
    np.testing.assert_allclose(y_hat, GOLDEN_Y_HAT, rtol=0, atol=5.1e-9)  # given to eight decimals


def test_text_001_every_epoch_and_parameter(engine):
    wanted, _ = program("text_001")
    figures = ours("text_001_nesterov_l1_l2", engine)
    np.testing.assert_allclose(figures["losses"], wanted["losses"], rtol=1e-9)
    np.testing.assert_allclose(figures["y_hat"], wanted["y_hat"].ravel(), rtol=1e-9)
    for i in range(3):
        parameters = figures["parameters"]
        np.testing.assert_allclose(parameters[f"{i}.weight"].T, wanted[f"w{i + 1}"], rtol=1e-9, atol=1e-11)
        np.testing.assert_allclose(parameters[f"{i}.bias"], wanted[f"b{i + 1}"].ravel(), rtol=1e-9, atol=1e-11)


@pytest.mark.parametrize("lambda_reg", [0.0, 0.01])
def test_text_002_every_epoch_and_parameter(engine, lambda_reg):
    """Data loss, penalty and objective apart, validation loss, and the weights at the end, to 1e-10."""
    wanted, _ = program("text_002", lambda_reg)
    figures = ours("text_002_l2", engine)[lambda_reg]
    pairs = {"loss": "data_loss", "penalty": "reg_loss", "objective": "total_loss", "val_loss": "val_loss"}
    pairs |= {"0.weight": "W1", "0.bias": "b1", "1.weight": "W2", "1.bias": "b2"}
    for name, wanted_name in pairs.items():
        np.testing.assert_allclose(figures[name], wanted[wanted_name], rtol=1e-10, atol=1e-12, err_msg=name)


def test_text_002_says_what_it_promises(engine):
    """Overfitting without it; with L2 a higher training loss, a lower validation loss, a smaller gap."""
    free, penalized = (ours("text_002_l2", engine)[strength] for strength in (0.0, 0.01))
    assert free["val_loss"][-1] > 1.3 * free["val_loss"].min()
    assert penalized["loss"][-1] > free["loss"][-1]
    assert penalized["val_loss"][-1] < 0.6 * free["val_loss"][-1]
    assert penalized["val_loss"][-1] - penalized["loss"][-1] < 0.5 * (free["val_loss"][-1] - free["loss"][-1])


def test_kernels_replace_the_lines_of_text_002_one_at_a_time(engine):
    """The plain loop is text 002's; after each replacement the figures are the same to 1e-10."""
    wanted, _ = program("text_002", 0.01)
    (losses, *_), steps = ours("numpy_loop_with_kernels", engine)
    n = len(losses)
    np.testing.assert_allclose(losses[:, 0], wanted["data_loss"][:n], rtol=1e-12)
    np.testing.assert_allclose(losses[:, 1], wanted["reg_loss"][:n], rtol=1e-12)
    assert len(steps) == 9
    assert {name: difference for name, _, difference in steps if not difference <= 1e-10} == {}
