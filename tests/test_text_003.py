"""Text 003: its own programs and what the engine makes of them; and all four texts on `fastreg.functional`."""

import ast
import contextlib
import functools
import io
import re
import runpy
import warnings
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr
from fastreg import functional

TEXTS = Path(__file__).parent / "texts"
EXAMPLES = Path(__file__).parent.parent / "examples"
NUMBER = re.compile(r"-?\d+\.\d*(?:e[-+]?\d+)?")

# What stands on top of each program in place of its own functions. Text 002 leaves its softmax to earlier articles;
# the one in its program here is that of a batch.
IMPORTS = {
    "text_000": """
from fastreg.functional import regularized_loss as compute_loss, sigmoid, sigmoid_derivative
""",
    "text_001": """
from fastreg.functional import cross_entropy as cross_E, cross_entropy_derivative as cross_E_grad
from fastreg.functional import relu, relu_derivative as relu_dash, softmax, softmax_derivative as softmax_dash
""",
    "text_002": """
from functools import partial
from fastreg.functional import softmax as softmax_along
softmax = partial(softmax_along, axis=1)
""",
    "text_003": """
from fastreg.functional import create_dropout_masks, dropout, l1_gradient, l1_penalty, l2_gradient, l2_penalty
from fastreg.functional import augment_batch, smooth_labels
""",
}
REPLACED = {
    "text_000": {"compute_loss", "sigmoid", "sigmoid_derivative"},
    "text_001": {"cross_E", "cross_E_grad", "relu", "relu_dash", "softmax", "softmax_dash"},
    "text_002": {"softmax"},
    "text_003": {"create_dropout_masks", "dropout", "l1_gradient", "l1_penalty", "l2_gradient", "l2_penalty"}
    | {"augment_batch", "smooth_labels"},
}


def source_of(name):
    return (TEXTS / f"{name}.py").read_text(encoding="utf-8")


def without_functions(source, names):
    """Return the program without its own definitions of `names`, every other line as it was."""
    lines = source.splitlines(keepends=True)
    found = [node for node in ast.parse(source).body if isinstance(node, ast.FunctionDef) and node.name in names]
    assert {node.name for node in found} == names
    for node in reversed(found):
        del lines[node.lineno - 1 : node.end_lineno]
    return "".join(lines)


def execute(source):
    """Run a program as `python file` does; return what it prints and its names."""
    namespace, out = {"__name__": "__main__"}, io.StringIO()
    with warnings.catch_warnings(), contextlib.redirect_stdout(out):
        warnings.filterwarnings("ignore", message="Polyfit may be poorly conditioned")
        exec(compile(source, "<program>", "exec"), namespace)
    return out.getvalue(), namespace


@functools.cache
def printed_by_itself(name):
    return execute(source_of(name))[0]


@functools.cache
def printed_with_functional(name):
    text, namespace = execute(IMPORTS[name] + without_functions(source_of(name), REPLACED[name]))
    home = functional.__name__
    for used in REPLACED[name]:
        function = getattr(namespace[used], "func", namespace[used])  # of a partial
        assert function.__module__ == home, used
    return text


def numbers(text):
    return np.array([float(number) for number in NUMBER.findall(text)])


def words(text):
    return [re.sub(r"\s+", " ", NUMBER.sub("#", line)) for line in text.splitlines()]


# ---- the texts' own lines, with the import on top -------------------------------------------------------------------


@pytest.mark.parametrize("name", sorted(IMPORTS))
def test_own_lines_print_the_same_words(name):
    """All but the decimal numbers, and the blanks beside them: exactly."""
    ours, wanted = printed_with_functional(name), printed_by_itself(name)
    assert words(ours) == words(wanted)
    assert len(numbers(wanted)) > 0


def test_own_lines_of_text_000():
    """Loss and prediction exactly as printed; the weights, printed with all their digits, to 1e-12 relative."""
    ours, wanted = printed_with_functional("text_000").splitlines(), printed_by_itself("text_000").splitlines()
    assert len(wanted) == 10
    for line, wanted_line in zip(ours, wanted, strict=True):
        (head, weights), (wanted_head, wanted_weights) = (s.split(", Weights=") for s in (line, wanted_line))
        assert head == wanted_head
        np.testing.assert_allclose(numbers(weights), numbers(wanted_weights), rtol=1e-12, atol=0)


def test_own_lines_of_text_001():
    """The losses of 1,000 epochs, printed with all their digits, to 1e-12 relative; the arrays to the last printed."""
    ours, wanted = printed_with_functional("text_001"), printed_by_itself("text_001")
    assert len(numbers(wanted)) > 1000
    np.testing.assert_allclose(numbers(ours), numbers(wanted), rtol=1e-12, atol=1.1e-8)
    losses = [numbers("".join(re.findall("loss before training is .*\n", text))) for text in (ours, wanted)]
    assert losses[1].shape == (1000,)
    np.testing.assert_allclose(*losses, rtol=1e-12, atol=0)


def test_own_lines_of_text_002():
    """Fifteen decimals: to 1e-12."""
    ours, wanted = (numbers(f("text_002")) for f in (printed_with_functional, printed_by_itself))
    assert len(wanted) == 2 * (1 + 7 * 4 + 2)
    np.testing.assert_allclose(ours, wanted, rtol=0, atol=1e-12)


def test_own_lines_of_text_003():
    """Exactly, character for character: the masks are the same bits, so the augmentation draws on from the same."""
    assert printed_with_functional("text_003") == printed_by_itself("text_003")


def test_stripping_takes_the_functions_and_nothing_else():
    source = "a = 1\n\n\ndef f(x):\n    return x  # gone\n\n\ndef g():\n    return f(2)\n"
    assert without_functions(source, {"f"}) == "a = 1\n\n\n\n\ndef g():\n    return f(2)\n"
    with pytest.raises(AssertionError):
        without_functions(source, {"h"})


# ---- text 003's own programs ----------------------------------------------------------------------------------------


@functools.cache
def figures():
    with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
        warnings.filterwarnings("ignore", message="Polyfit may be poorly conditioned")
        return runpy.run_path(str(TEXTS / "text_003.py"))["run"]()


def test_kept_output_is_what_the_program_prints():
    """Exactly; but the polynomials of degree 15 and 19 agree between machines to four decimals only."""
    kept, printed = (TEXTS / "text_003.txt").read_text().splitlines(), printed_by_itself("text_003").splitlines()
    loose = [line.startswith(("Degree 15:", "Degree 19:")) for line in kept]
    assert sum(loose) == 2
    for line, kept_line, is_loose in zip(printed, kept, loose, strict=True):
        if is_loose:
            np.testing.assert_allclose(numbers(line), numbers(kept_line), rtol=0, atol=1.01e-4)
        else:
            assert line == kept_line


def test_the_polynomials_warn():
    with pytest.warns(match="Polyfit may be poorly conditioned"), contextlib.redirect_stdout(io.StringIO()):
        runpy.run_path(str(TEXTS / "text_003.py"))["overfitting"]()


# ---- the examples: the same with fastreg ----------------------------------------------------------------------------


@functools.cache
def ours(name, engine):
    """What the example returns."""
    path = EXAMPLES / f"text_003_{name}.py"
    if not path.is_file():
        pytest.skip(f"no {path.name}: the tests run away from the source tree, without its examples folder")
    with contextlib.redirect_stdout(io.StringIO()):
        return runpy.run_path(str(path))["main"](engine)


@pytest.fixture(params=["reference", "compiled"])
def engine(request):
    return request.param


def test_polynomials_are_the_texts(engine):
    for degree, wanted in figures()["overfitting"].items():
        np.testing.assert_allclose(ours("overfitting", engine)[degree][:2], wanted, rtol=1e-12)


def test_a_network_overfits_and_a_penalty_prevents_it(engine):
    """Without a penalty it memorizes as degree 19 does; with one it is as near to the sine as the best degree."""
    table = ours("overfitting", engine)
    memorized, true_error, zeros = table["no penalty"]
    assert memorized < 0.002
    assert true_error > 0.07
    assert zeros == 0
    best_degree = min(table[degree][1] for degree in (1, 3, 5, 15, 19))
    for name in ("L2(0.01)", "L1(0.005)"):
        assert table[name][0] > 10 * memorized
        assert table[name][1] < 1.05 * best_degree
    assert table["L2(0.01)"][1] < table["L2(0.001)"][1] < true_error
    assert table["L2(0.001)"][2] == 0
    assert table["L1(0.005)"][2] > 1000  # of 1,088


def test_l2_steps(engine):
    """The text's rows exactly; through the kernels to the bit, by weight decay of twice the strength to rounding."""
    wanted, (table, _, _) = figures()["l2_regularization"], ours("l2_and_l1", engine)
    np.testing.assert_array_equal(table["no_reg"], wanted["no_reg"])
    np.testing.assert_array_equal(table["L2"], wanted["l2"])
    np.testing.assert_allclose(table["kernels"], wanted["l2"], rtol=1e-14, atol=0)
    np.testing.assert_allclose(table["decay"], wanted["l2"], rtol=1e-13, atol=0)


def test_l1_steps(engine):
    """The text's two rows exactly, the second under its wrong name; the true L2 is another and has no zeros."""
    wanted, (_, table, _) = figures()["l1_regularization"], ours("l2_and_l1", engine)
    np.testing.assert_array_equal(table["L1"], wanted["l1"])
    np.testing.assert_array_equal(table["text's L2"], wanted["l2"])
    start = np.array([2.0, 0.5, -0.3, 0.1, -1.5])
    shrunk = start * (1 - 0.1 * 2 * 0.1) ** np.arange(1, 21)[:, np.newaxis]
    np.testing.assert_allclose(table["L2"], shrunk, rtol=1e-14)
    assert (table["L1"][-1] == 0).tolist() == [False, False, False, True, False]
    assert table["text's L2"][-1].all()


def test_l1_steps_of_a_network(engine):
    """Each row as a penalty of a network; zeros in the same steps. The proximal step has the same zero."""
    _, table, trained = ours("l2_and_l1", engine)
    for name, rows in table.items():
        np.testing.assert_allclose(trained[name], rows, rtol=1e-14, atol=1e-16)
        np.testing.assert_array_equal(trained[name] == 0, rows == 0)
    assert (trained["proximal"][-1] == 0).tolist() == [False, False, False, True, False]
    np.testing.assert_allclose(trained["proximal"], table["L1"], rtol=0, atol=0.011)  # one step apart at zero


def test_l1_zeroes_strictly_below_the_step(engine):
    """|w| = lr lambda stays, the next smaller number becomes 0: powers of two, so that nothing is rounded."""
    layers = [fr.Dense(1, weight_penalty=fr.L1(0.5, method="clip"))]
    net = fr.Network(layers, loss="squared_error", dtype="float64", engine=engine)
    net.build(n_inputs=3)
    net.parameters["0.weight"] = np.array([[0.25], [0.25 - 2.0**-54], [-0.25]])
    net.fit(np.zeros((1, 3)), np.zeros(1), epochs=1, optimizer=fr.SGD(0.25))
    np.testing.assert_array_equal(net.parameters["0.weight"].ravel(), [0.125, 0, -0.125])


def test_dropout_passes_and_masks_have_the_texts_bits(engine):
    wanted, result = figures(), ours("dropout", engine)
    np.testing.assert_array_equal(result["passes"], wanted["dropout_passes"]["passes"])
    np.testing.assert_array_equal(result["inference"], wanted["dropout_passes"]["inference"])
    assert [len(mask) for mask in result["masks"]] == [784, 512, 256, 128, 10]
    for mask, wanted_mask in zip(result["masks"], wanted["dropout_masks"], strict=True):
        np.testing.assert_array_equal(mask, wanted_mask)


def test_dropout_of_the_engine(engine):
    """Its values are 0 or the scaled unit; a pass can be drawn again; its rates are the text's within 4 sigma."""
    result = ours("dropout", engine)
    scaled = 2 * np.array([1.0, 2.0, 3.0, 4.0, 5.0])
    assert ((result["engine_passes"] == 0) | (result["engine_passes"] == scaled)).all()
    assert len({row.tobytes() for row in result["engine_passes"]}) > 1
    np.testing.assert_array_equal(result["again"], result["engine_passes"][2])
    np.testing.assert_allclose(result["mean"], [1, 2, 3, 4, 5], rtol=4 / np.sqrt(10_000))
    for mask, rate in zip(result["engine_masks"], [0.2, 0.5, 0.5, 0.5, 0.0], strict=True):
        kept = np.count_nonzero(mask)
        assert abs(kept - (1 - rate) * mask.size) <= 4 * np.sqrt(mask.size * rate * (1 - rate))
        np.testing.assert_allclose(mask[mask > 0], 1 / (1 - rate), rtol=2e-5)  # a rate is a multiple of 1/65536
    assert result["same"]


def test_dropout_has_the_same_bits_on_both_engines():
    compiled, reference = ours("dropout", "compiled"), ours("dropout", "reference")
    np.testing.assert_array_equal(compiled["engine_passes"], reference["engine_passes"])
    for pair in zip(compiled["engine_masks"], reference["engine_masks"], strict=True):
        np.testing.assert_array_equal(*pair)


def test_early_stopping_on_the_simulated_curve(engine):
    wanted, result = figures()["early_stopping"], ours("early_stopping", engine)
    np.testing.assert_allclose(result["simulated"][0], wanted["train_losses"], rtol=1e-14)
    np.testing.assert_allclose(result["simulated"][1], wanted["val_losses"], rtol=1e-14)
    assert result["stop"] == (30, 40)
    assert wanted["best_epoch"] == 30
    assert fr.EarlyStopping(patience=100).on(wanted["val_losses"]) == (30, None)


def test_early_stopping_on_a_real_training(engine):
    """Stopped after the patience, with the weights of the best epoch; going on makes the validation loss worse."""
    result = ours("early_stopping", engine)
    (full, full_loss), (stopped, stopped_loss) = result["full"], result["stopped"]
    best = stopped.best_epoch
    assert len(full["loss"]) == 200
    assert len(stopped["loss"]) == best + 1 + 10
    np.testing.assert_array_equal(stopped["val_loss"], full["val_loss"][: best + 11])
    assert stopped_loss == pytest.approx(min(stopped["val_loss"]), rel=1e-12)
    assert full_loss > 1.3 * stopped_loss
    assert full["loss"][-1] < 0.2 * stopped["loss"][best]


def test_soft_labels(engine):
    """The code of the text, and its prose: [0.033, 0.033, 0.933] for class 2 of 3."""
    wanted, (soft, _) = figures()["label_smoothing"], ours("label_smoothing", engine)
    for smoothing in (0.1, 0.2):
        np.testing.assert_array_equal(soft["others", smoothing], wanted[smoothing])
        uniform = (1 - smoothing) * np.eye(3) + smoothing / 3
        np.testing.assert_allclose(soft["uniform", smoothing], uniform, rtol=1e-15)
    assert soft["uniform", 0.1][2].round(3).tolist() == [0.033, 0.033, 0.933]


def test_smoothing_makes_a_network_less_confident(engine):
    """The more the less, and nearer to its accuracy; the loss against plain labels is lower."""
    _, results = ours("label_smoothing", engine)
    confidence = {name: result[0] for name, result in results.items()}
    excess = {name: result[0] - result[1] for name, result in results.items()}
    for convention in ("others", "uniform"):
        assert confidence["hard labels"] > confidence[f"{convention} 0.1"] > confidence[f"{convention} 0.2"]
        assert excess[f"{convention} 0.1"] < 0.75 * excess["hard labels"]
        assert results[f"{convention} 0.1"][2] < 0.9 * results["hard labels"][2]
    assert confidence["uniform 0.1"] > confidence["others 0.1"]
