"""Some epochs that are trained without a look at their figures between them, and how far they have come."""

import numpy as np

from fastreg.kernels import shuffle


class Lap:
    """The batches of a few epochs, one after the other, and what their steps measured.

    Attributes
    ----------
    order : int64 (n_epochs * n_rows,)
        Row numbers. With `shuffled`, those of each epoch are a pure function of `seed` and its number, from `epoch` on.
    bounds : int64 (n_steps + 1,)
        Where in `order` batches begin, and the last one ends.
    epochs : int64 (n_steps,)
        The number of each step's epoch, which keys augmentations.
    results : float64 (n_steps, 3)
        Of each step the sums of w_i l_i and of w_i, and the penalty, before its update.
    done : int
        Steps that were made.
    seconds : float
        That they took.
    """

    def __init__(self, n_epochs, n_rows, batch_size, shuffled, seed, epoch):
        order = np.empty((n_epochs, n_rows), np.int64)
        if shuffled and n_rows > 1:
            for i, rows in enumerate(order):
                shuffle(rows, seed=seed, step=epoch + i)
        else:
            order[...] = np.arange(n_rows)
        self.order = order.reshape(-1)
        self.n_epochs, self.n_steps = n_epochs, n_epochs * -(-n_rows // batch_size)
        self.bounds = np.empty(self.n_steps + 1, np.int64)
        epochs, batches = np.arange(n_epochs, dtype=np.int64), np.arange(0, n_rows, batch_size, dtype=np.int64)
        np.add(n_rows * epochs[:, None], batches, out=self.bounds[:-1].reshape(n_epochs, -1))
        self.bounds[-1] = order.size
        self.epochs = np.repeat(epoch + epochs, len(batches))
        self.results = np.zeros((self.n_steps, 3))
        self.done, self.seconds = 0, 0.0

    def results_by_epoch(self):
        """Return the results of the epochs that were trained to their end: (epochs, steps, 3)."""
        by_epoch = self.results.reshape(self.n_epochs, -1, 3)
        return by_epoch[: self.done // by_epoch.shape[1]]

    def recall(self, results, seconds):
        """Stand where so many steps had these results."""
        self.done, self.seconds = len(results), seconds
        self.results[: self.done] = results
