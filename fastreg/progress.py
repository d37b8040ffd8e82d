"""What `verbose=1` shows: a bar where tqdm is installed, else a line per epoch. It is one more callback."""


class Progress:
    """Shows how far training has come, and its newest figures."""

    def start(self, run):
        try:
            from tqdm import tqdm
        except ImportError:
            return _lines
        return _Bar(tqdm(total=run.epochs, unit="epoch"))


class _Bar:
    """One bar, of one run."""

    def __init__(self, bar):
        self.bar = bar
        self.close = bar.close

    def __call__(self, run):
        self.bar.set_postfix(_newest(run), refresh=False)
        self.bar.update(run.epoch + 1 - self.bar.n)  # a training may go on from a checkpoint


def _lines(run):
    figures = "  ".join(f"{name} {value}" for name, value in _newest(run).items())
    print(f"epoch {run.epoch + 1}/{run.epochs}  {figures}", flush=True)


def _newest(run):
    """Return the newest figures as texts."""
    hidden = ("learning_rate", "seconds", "penalty")
    return {name: f"{values[-1]:.4g}" for name, values in run.history.items() if name not in hidden}
