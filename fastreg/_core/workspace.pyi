from typing import Self, final

@final
class Workspace:
    def __new__(
        cls,
        widths: tuple[int, ...],
        rows: int,
        itemsize: int,
        n_params: int,
        n_outputs: int,
        partials: int,
        scratch: int,
        threads: int,
        nonzeros: int = 0,
        columns: int = 0,
        n_masked: int = 0,
        spare: int = 0,
        mixes: bool = False,
    ) -> Self: ...
