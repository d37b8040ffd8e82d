class Workspace:
    def __init__(
        self, widths: tuple[int, ...], rows: int, itemsize: int, n_params: int, n_outputs: int, scratch: int
    ) -> None: ...
