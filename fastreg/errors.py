"""What fastreg raises besides plain ValueErrors and RuntimeErrors."""


class NotBuiltError(ValueError):
    """A network was asked for something that it has only after `fit` or `build(n_inputs)`."""


class DivergenceError(ValueError):
    """The loss of a batch, or a weight, became NaN or infinite during training.

    The network keeps its best weights: those of the best epoch where `EarlyStopping` watches, otherwise those
    at the end of the epoch with the lowest training objective, or from before this `fit` if there is none.

    Parameters
    ----------
    epoch, batch : int
        Where it happened, counted from 0. (The printed text counts from 1.)
    last_loss : float or None
        The last finite loss of a batch; None if the very first batch diverged.
    kept : int or None
        The epoch, counted from 0, whose weights the network has now; None for those from before this `fit`.
    """

    def __init__(self, epoch, batch, last_loss=None, kept=None):
        super().__init__(epoch, batch, last_loss, kept)
        self.epoch, self.batch, self.last_loss, self.kept = epoch, batch, last_loss, kept

    def __str__(self):
        last = "no finite loss before" if self.last_loss is None else f"last finite loss {self.last_loss:.3g}"
        kept = "from before this fit" if self.kept is None else f"of epoch {self.kept + 1}"
        return (
            "training diverged: loss or weights are not finite"
            f" at epoch {self.epoch + 1}, batch {self.batch + 1} ({last})."
            f" The weights {kept} are kept. Lower the learning_rate, or scale X and y"
        )


class ModelFileError(ValueError):
    """A file is not what it should be: no fastreg file, damaged, cut off, newer than this version, or made up.

    Nothing else is raised for bad bytes; what the file system refuses is an OSError.
    """


class CheckpointMismatchError(ModelFileError):
    """A checkpoint is of another training than the one that `resume` was asked for. Nothing was changed.

    Parameters
    ----------
    path : str
    differences : tuple of str
        What differs, each as "name: in the checkpoint -> now" or in words.
    """

    def __init__(self, path, differences):
        super().__init__(path, differences)
        self.path, self.differences = path, tuple(differences)

    def __str__(self):
        return f"{self.path}: made by another training (then -> now): {'; '.join(self.differences)}"


class ModelStateError(ValueError):
    """The parameters of a fitted estimator are no network any more: NaN or infinite, or of shapes that do not fit."""
