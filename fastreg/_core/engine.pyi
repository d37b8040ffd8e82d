from typing import Any

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32] | NDArray[np.float64]
Targets = Floats | NDArray[np.int32]

class Engine:
    def __init__(self, plan: Any, params: Floats) -> None: ...
    @property
    def plan(self) -> Any: ...
    @property
    def params(self) -> Floats: ...
    @property
    def steps_done(self) -> int: ...
    def forward(self, out: Floats, x: Floats) -> None: ...
    def evaluate(self, x: Floats, targets: Targets, weights: Floats | None = None) -> tuple[float, float]: ...
    def gradient(
        self,
        gradient: Floats,
        x: Floats,
        targets: Targets,
        weights: Floats | None = None,
        *,
        seed: int = 0,
        step: int = 0,
    ) -> float: ...
    def penalty(self, gradient: Floats | None = None) -> float: ...
    def cancel(self) -> None: ...
    def run(
        self,
        x: Floats,
        targets: Targets,
        weights: Floats | None,
        order: NDArray[np.int64],
        bounds: NDArray[np.int64],
        rates: NDArray[np.float64],
        state: Any,
        results: NDArray[np.float64],
        *,
        seed: int,
        step: int,
    ) -> str: ...
