"""Several trainings in one picture: the right lines, stars and names."""

import sys

import numpy as np
import pytest

import fastreg as fr
from fastreg.plot import ComparisonDisplay

pytest.importorskip("matplotlib", reason="figures are drawn by matplotlib")
from matplotlib.figure import Figure

VALUES = {"a": [3.0, 1.0, 2.0], "b": [2.0, 1.5], "c": [np.nan, np.nan]}


def history_of(**columns):
    columns = {"loss": np.zeros(len(next(iter(columns.values()))))} | columns
    history = fr.History(columns)
    history.extend(columns)
    return history


def histories(figure="val_loss"):
    return {name: history_of(**{figure: values}) for name, values in VALUES.items()}


def draw(figure="val_loss", **settings):
    display = ComparisonDisplay.from_histories(histories(figure), figure, **settings)
    display.figure_.canvas.draw()
    return display


def test_a_line_a_star_and_a_name_for_each():
    ax = draw(unit="nats").ax_
    names = [text.get_text() for text in ax.get_legend().get_texts()]
    assert names == ["a: 1 at epoch 2", "b: 1.5 at epoch 2", "c", "on the training rows"]
    lines = {line.get_label(): line.get_xydata().tolist() for line in ax.lines}
    assert lines[names[0]] == [[1, 3], [2, 1], [3, 2]]
    stars = [line.get_xydata().tolist() for line in ax.lines if line.get_marker() == "*"]
    assert stars == [[[2, 1]], [[2, 1.5]]]
    assert (ax.get_xlabel(), ax.get_ylabel()) == ("epoch", "val_loss (nats)")


def test_what_is_better_depends_on_the_figure():
    assert draw("val_auc").ax_.get_legend().get_texts()[0].get_text() == "a: 3 at epoch 1"
    assert draw("val_mine").ax_.get_legend().get_texts()[0].get_text() == "a"


def test_the_same_figure_on_the_training_rows_is_dotted():
    dotted = [line for line in draw().ax_.lines if line.get_linestyle() == ":" and len(line.get_xdata())]
    assert [len(line.get_xdata()) for line in dotted] == [3, 2, 2]
    assert not [line for line in draw("loss").ax_.lines if line.get_linestyle() == ":"]


def test_more_than_there_are_colours():
    many = {str(k): history_of(mine=[1.0, k]) for k in range(20)}
    lines = ComparisonDisplay.from_histories(many, "mine").ax_.lines
    assert len(lines) == 20
    assert len({(line.get_color(), line.get_linestyle()) for line in lines}) == 18


def test_given_axes_and_a_notebook():
    ax = Figure().subplots()
    assert draw(ax=ax).ax_ is ax
    assert draw()._repr_png_().startswith(b"\x89PNG")


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({}, r"histories must be a dict of names to what fit returned, got \{\}"),
        ([history_of(val_loss=[1.0])], "histories must be a dict"),
        ({"a": history_of(auc=[1.0])}, r"histories\['a'\] has no 'val_loss'"),
        ({"a": {"val_loss": [1.0]}}, r"histories\['a'\] has no 'val_loss'"),
    ],
)
def test_what_is_no_history_is_refused(given, message):
    with pytest.raises(ValueError, match=message):
        ComparisonDisplay.from_histories(given)


def test_without_matplotlib_it_says_how_to_get_it(monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(ImportError, match="ComparisonDisplay needs matplotlib"):
        draw()
