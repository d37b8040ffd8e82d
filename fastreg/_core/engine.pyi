from typing import Any, Self, final

import numpy as np
from numpy.typing import NDArray

from fastreg.csr import CSR

_Floats = NDArray[np.float32] | NDArray[np.float64]
_Table = _Floats | CSR
_Targets = _Floats | NDArray[np.int32]

@final
class Engine:
    def __new__(cls, plan: Any, params: _Floats) -> Self: ...
    @property
    def plan(self) -> Any: ...
    @property
    def params(self) -> _Floats: ...
    @property
    def steps_done(self) -> int: ...
    def forward(self, out: _Floats, x: _Table, *, threads: int = 1, seed: int | None = None, step: int = 0) -> None: ...
    def evaluate(
        self, x: _Table, targets: _Targets, weights: _Floats | None = None, *, threads: int = 1
    ) -> tuple[float, float]: ...
    def gradient(
        self,
        gradient: _Floats,
        x: _Table,
        targets: _Targets,
        weights: _Floats | None = None,
        *,
        seed: int = 0,
        step: int = 0,
        threads: int = 1,
    ) -> float: ...
    def penalty(self, gradient: _Floats | None = None, *, numbers: NDArray[np.float64] | None = None) -> float: ...
    def cancel(self) -> None: ...
    def run(
        self,
        x: _Table,
        targets: _Targets,
        weights: _Floats | None,
        order: NDArray[np.int64],
        bounds: NDArray[np.int64],
        rates: NDArray[np.float64],
        state: Any,
        results: NDArray[np.float64],
        *,
        seed: int,
        step: int,
        epochs: NDArray[np.int64] | None = None,
        threads: int = 1,
        stop_at_divergence: bool = True,
        numbers: NDArray[np.float64] | None = None,
    ) -> str: ...
