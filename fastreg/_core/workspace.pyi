from typing import Self, final

@final
class Workspace:
    def __new__(
        cls, widths: tuple[int, ...], rows: int, itemsize: int, n_params: int, n_outputs: int, scratch: int
    ) -> Self: ...
