"""Learning curves: the right lines and marks at the right epochs, and nothing of matplotlib's own state touched."""

import subprocess
import sys

import numpy as np
import pytest

import fastreg as fr
from fastreg.plot import AugmentationDisplay, LearningCurveDisplay

matplotlib = pytest.importorskip("matplotlib", reason="figures are drawn by matplotlib")
from matplotlib.figure import Figure  # noqa: E402

LOSS, VAL = [3.0, 2.0, 1.5, 1.0, 0.5, 0.25, 0.1], [2.0, 1.25, 1.0, 1.5, 1.75, 2.0, 2.5]


def history_of(kept_epoch=None, **columns):
    columns = {"loss": LOSS, "penalty": [0.0] * 7, "objective": LOSS, "val_loss": VAL} | columns
    history = fr.History(name for name, values in columns.items() if values is not None)
    history.extend({name: values for name, values in columns.items() if values is not None})
    history.kept_epoch = kept_epoch
    return history


def draw(ax=None, unit=None, patience=3, **columns):
    """Return the display, drawn for real: what cannot be rendered fails here."""
    display = LearningCurveDisplay.from_history(history_of(**columns), ax=ax, unit=unit, patience=patience)
    display.figure_.canvas.draw()
    return display


def line(ax, label):
    """The one line whose label begins so, as its points."""
    (found,) = (line for line in ax.lines if line.get_label().startswith(label))
    return np.transpose(found.get_data()).tolist()


def test_both_losses_over_epochs_counted_from_1():
    display = draw()
    assert line(display.ax_, "training") == [[e + 1, value] for e, value in enumerate(LOSS)]
    assert line(display.ax_, "validation") == [[e + 1, value] for e, value in enumerate(VAL)]


def test_the_gap_is_shaded_and_its_end_told():
    ax = draw().ax_
    (shade,) = ax.collections
    box = shade.get_datalim(ax.transData)
    assert (box.x0, box.x1, box.y0, box.y1) == (1, 7, 0.1, 3.0)
    middle = np.column_stack([range(2, 7), np.add(LOSS, VAL)[1:6] / 2])
    (outline,) = shade.get_paths()
    assert outline.contains_points(middle).all()
    assert not outline.contains_points(middle + (0, 2)).any()
    assert shade.get_label() == "gap, +2.4 at the end"


def test_best_and_overfit_epoch_are_marked():
    ax = draw().ax_
    assert line(ax, "best epoch 3, 1") == [[3, 1.0]]
    assert [x for x, _ in line(ax, "overfits after epoch 3")] == [3, 3]


def test_the_best_epoch_may_be_another():
    """Early stopping may have watched another figure."""
    ax = draw(kept_epoch=5).ax_
    assert line(ax, "best epoch 6, 2") == [[6, 2.0]]
    assert [x for x, _ in line(ax, "overfits after epoch 3")] == [3, 3]


def test_no_overfitting_no_mark():
    labels = [line.get_label() for line in draw(patience=5).ax_.lines]
    assert not any("overfits" in label for label in labels)
    assert any("best" in label for label in labels)


def test_without_validation():
    display = draw(val_loss=None)
    assert line(display.ax_, "best epoch 7") == [[7, 0.1]]
    assert not display.ax_.collections
    assert len(display.ax_.lines) == 2


def test_the_penalty_has_a_panel_of_its_own():
    penalty = [0.5, 0.4, 0.3, 0.3, 0.2, 0.2, 0.1]
    display = draw(penalty=penalty, unit="nats")
    assert display.figure_.axes == [display.ax_, display.penalty_ax_]
    (drawn,) = display.penalty_ax_.lines
    assert drawn.get_ydata().tolist() == penalty
    assert (display.ax_.get_ylabel(), display.penalty_ax_.get_ylabel()) == ("mean loss (nats)", "penalty (nats)")
    assert (display.ax_.get_xlabel(), display.penalty_ax_.get_xlabel()) == ("", "epoch")
    assert display.ax_.get_xlim() == display.penalty_ax_.get_xlim()


def test_without_penalty_no_panel():
    display = draw()
    assert display.penalty_ax_ is None
    assert display.figure_.axes == [display.ax_]
    assert (display.ax_.get_xlabel(), display.ax_.get_ylabel()) == ("epoch", "mean loss")


def test_the_legend_names_all_that_is_drawn():
    texts = [text.get_text() for text in draw().ax_.get_legend().get_texts()]
    assert [text.split(",")[0] for text in texts] == [
        "training", "validation", "gap", "overfits after epoch 3", "best epoch 3",
    ]  # fmt: skip


def test_given_axes():
    one = Figure().subplots()
    display = draw(ax=one, penalty=[1.0] * 7)
    assert (display.ax_, display.penalty_ax_, display.figure_) == (one, None, one.figure)
    assert one.figure.axes == [one]
    pair = Figure().subplots(2, 1)
    display = draw(ax=pair)
    assert (display.ax_, display.penalty_ax_) == tuple(pair)
    assert pair[1].lines[0].get_xydata().tolist() == [[e, 0.0] for e in range(1, 8)]


def test_axes_in_a_subfigure():
    outer = Figure(layout="constrained")
    display = draw(ax=outer.subfigures(1, 2)[0].subplots())
    assert display.figure_ is outer


def test_the_axes_grow_with_what_is_drawn_later():
    ax = draw().ax_
    assert ax.get_ylim()[0] == 0
    ax.plot([1, 7], [1, 50])
    assert ax.get_ylim()[1] > 50


def test_values_that_are_no_numbers():
    display = draw(val_loss=[float("nan")] * 7, loss=[*LOSS[:6], float("nan")])
    assert not any("best" in line.get_label() for line in display.ax_.lines)


def test_one_epoch():
    columns = {name: [1.0] for name in ("loss", "penalty", "objective", "val_loss")}
    assert draw(**columns).ax_.get_legend() is not None


def test_it_can_be_saved_and_shown_in_a_notebook(tmp_path):
    display = draw()
    display.figure_.savefig(tmp_path / "curve.pdf")
    assert (tmp_path / "curve.pdf").read_bytes().startswith(b"%PDF")
    assert display._repr_png_().startswith(b"\x89PNG")
    assert LearningCurveDisplay(loss=[1.0])._repr_png_() is None


def test_matplotlib_keeps_its_state():
    """Neither settings nor backend nor pyplot's figures."""
    code = (
        "import matplotlib, sys; matplotlib.use('Agg'); before = dict(matplotlib.rcParams)\n"
        "import numpy as np, fastreg as fr\n"
        "net = fr.Network([fr.Dense(2, weight_penalty=fr.L2(.1))], loss='cross_entropy', seed=0)\n"
        "X, y = np.ones((4, 3)), np.array([0, 1, 0, 1])\n"
        "history = net.fit(X, y, epochs=8, validation=(X, y))\n"
        "fr.plot.LearningCurveDisplay.from_history(history)._repr_png_()\n"
        "assert dict(matplotlib.rcParams) == before\n"
        "print('matplotlib.pyplot' in sys.modules)"
    )
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=False)
    assert result.stdout.strip() == "False", result.stderr


def test_a_figure_of_pyplot_is_shown_by_pyplot():
    """In a notebook it would otherwise appear twice."""
    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, ax = plt.subplots()
    assert draw(ax=ax)._repr_png_() is None
    plt.close(figure)


@pytest.mark.parametrize(
    ("ax", "message"),
    [([1, 2, 3], "ax must be an Axes, or a pair .* got 3"), ([], "ax must be an Axes, or a pair .* got 0")],
)
def test_bad_axes(ax, message):
    with pytest.raises(ValueError, match=message):
        LearningCurveDisplay.from_history(history_of(), ax=ax)


def test_what_is_no_history():
    with pytest.raises(ValueError, match=r"history must be the History that fit returns, got \{'loss'"):
        LearningCurveDisplay.from_history({"loss": [1.0]})
    with pytest.raises(ValueError, match="there is no epoch to draw"):
        LearningCurveDisplay.from_history(fr.History(["loss", "objective"]))


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="needs matplotlib; install it with: pip install matplotlib"):
        LearningCurveDisplay.from_history(history_of())


def test_the_numbers_alone_will_do():
    display = LearningCurveDisplay(loss=np.array(LOSS), val_loss=np.array(VAL), best_epoch=2, penalty=np.ones(7))
    assert display.plot() is display
    assert line(display.ax_, "best epoch 3") == [[3, 1.0]]
    assert display.penalty_ax_ is not None


# ---- augmentations


def test_a_gallery_has_a_row_for_each_technique_and_the_original_first():
    image = np.random.default_rng(0).uniform(size=(4, 6))
    techniques = [fr.RandomFlip(1.0), fr.Brightness(0.3), fr.RandAugment()]
    display = AugmentationDisplay.from_images(image, techniques, n_versions=3, seed=1)
    assert display.axes_.shape == (3, 4)
    drawn = [[ax.images[0].get_array() for ax in axes] for axes in display.axes_]
    low, high = image.min(), image.max()
    for row in drawn:
        np.testing.assert_allclose(row[0], (image - low) / (high - low), atol=1e-6)
    np.testing.assert_allclose(drawn[0][1], drawn[0][0][:, ::-1], atol=1e-6)
    assert [axes[0].get_ylabel().split("\n")[0] for axes in display.axes_] == [type(t).__name__ for t in techniques]
    assert [ax.get_title() for ax in display.axes_[0]] == ["original", "epoch 1", "epoch 2", "epoch 3"]
    assert display._repr_png_().startswith(b"\x89PNG")


def test_a_gallery_of_a_row_and_of_colours():
    row = np.random.default_rng(0).uniform(size=48)
    display = AugmentationDisplay.from_images(row, [fr.ColorJitter()], n_versions=2)
    assert display.axes_[0, 0].images[0].get_array().shape == (4, 4, 3)
    AugmentationDisplay.from_images(row, [fr.Cutout(shape=(6, 8))], shape=(6, 8))
    with pytest.raises(ValueError, match="no augmentation to show"):
        AugmentationDisplay({}).plot()


def test_a_gallery_of_one_technique_and_of_equal_ones():
    image = np.random.default_rng(0).uniform(size=(4, 6))
    assert AugmentationDisplay.from_images(image, fr.RandomFlip(), n_versions=1).axes_.shape == (1, 2)
    equal = AugmentationDisplay.from_images(image, [fr.Brightness()] * 3, n_versions=1)
    labels = [axes[0].get_ylabel() for axes in equal.axes_]
    assert labels == ["Brightness\ndelta=0.2", "Brightness\ndelta=0.2\n#2", "Brightness\ndelta=0.2\n#3"]


def test_what_no_gallery_shows():
    image = np.zeros((4, 6))
    with pytest.raises(ValueError, match=r"Mixup\(alpha=0.2, probability=1.0\) mixes the rows of a batch"):
        AugmentationDisplay.from_images(image, [fr.RandomFlip(), fr.Mixup()])
    with pytest.raises(ValueError, match="n_versions must be an int >= 1, got 0"):
        AugmentationDisplay.from_images(image, fr.RandomFlip(), n_versions=0)
