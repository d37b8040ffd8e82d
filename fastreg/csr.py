"""Rows of which only the non-zero numbers are kept."""

from dataclasses import dataclass

import numpy as np


@dataclass(frozen=True, eq=False)
class CSR:
    """A table in compressed rows, as the engines take it in the place of an array.

    Parameters
    ----------
    values : ndarray of float32 or float64 (n,)
    columns : ndarray of int32 (n,)
        Rising within each row.
    starts : ndarray of int64 (rows + 1,)
        Row r has the numbers `values[starts[r] : starts[r + 1]]`.
    n_columns : int
    """

    values: np.ndarray
    columns: np.ndarray
    starts: np.ndarray
    n_columns: int

    ndim = 2

    @property
    def dtype(self):
        return self.values.dtype

    @property
    def shape(self):
        return len(self), self.n_columns

    def __len__(self):
        return len(self.starts) - 1

    def __getitem__(self, rows):
        """Return the rows of these numbers, or of a slice."""
        rows = np.arange(len(self))[rows]
        counts = self.starts[rows + 1] - self.starts[rows]
        starts = np.append(0, np.cumsum(counts))
        places = np.arange(starts[-1]) + np.repeat(self.starts[rows] - starts[:-1], counts)
        return CSR(self.values[places], self.columns[places], starts, self.n_columns)

    def toarray(self):
        """Return the table with its zeros."""
        array = np.zeros(self.shape, self.dtype)
        array[np.repeat(np.arange(len(self)), np.diff(self.starts)), self.columns] = self.values
        return array
