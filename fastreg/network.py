"""The network: layers, their parameters, and what one does with them."""

from contextlib import contextmanager
from threading import Lock, get_ident

import numpy as np

from fastreg.balance import row_factors
from fastreg.checks import check_name
from fastreg.data import as_count, as_dataset, as_seed, as_table, as_validation, is_finite
from fastreg.errors import NotBuiltError
from fastreg.layers import some_width
from fastreg.losses import as_loss
from fastreg.metrics import as_metrics
from fastreg.model import Model, Spec, interpreter
from fastreg.optimizers import Adam
from fastreg.plan import lower
from fastreg.settings import Settings
from fastreg.state import State
from fastreg.summary import summary
from fastreg.targets import predictions, truths
from fastreg.train import Run

_OF_THIS_PROCESS = ("_lock", "_changes", "_changer", "_run", "_model")


class Network:
    """A multilayer perceptron, trained by a compiled engine.

    Parameters
    ----------
    layers : sequence of layers
        Dense, Activation, Residual, BatchNorm, LayerNorm, and noise: Dropout, DropConnect, GaussianNoise,
        MultiplicativeNoise, FeatureMask, SwapNoise.
    loss : Loss, or the name of one with its defaults
        "cross_entropy", "binary_cross_entropy", "squared_error", "absolute_error", "huber", "quantile", "poisson".
        A last "softmax" or "sigmoid" is part of the cross-entropy that belongs to it.
    penalties : dict, optional
        Of name patterns such as "*.bias" to penalties, which replace the layers' own. The last match counts.
    dtype : {"float32", "float64"}
        In which everything is computed; data of another dtype is converted once.
    seed : int in [0, 2**64), optional
        Of initial weights, order of rows and noise. The same seed gives the same bits. None draws one.
    engine : {"compiled", "reference"}
        The reference is plain NumPy.

    Attributes
    ----------
    parameters : mapping of names ("0.weight", (inputs, units); "0.bias", (units,); ...) to views
        Assigning to a name copies new values in.

    Raises
    ------
    ValueError
        For layers that do not fit the loss, a pattern that matches no parameter, or an unknown name.
    ImportError
        If the compiled engine was not built.

    Examples
    --------
    >>> net = Network([Dropout(0.2), Dense(64, "relu", weight_penalty=L1(1e-5)), Dense(10)],
    ...               loss="cross_entropy")
    >>> history = net.fit(X, y, epochs=50, validation=(X_val, y_val), callbacks=[EarlyStopping()])
    """

    def __init__(self, layers, *, loss, penalties=None, dtype="float32", seed=None, engine="compiled"):
        if not np.iterable(layers):
            raise ValueError(f"layers must be a sequence such as [Dense(10)], got {layers!r}")
        layers, loss = tuple(layers), as_loss(loss)
        dtype = lower(
            layers, loss, some_width(layers), dtype, penalties=penalties
        ).dtype  # says now what is wrong with them
        interpreter(check_name("engine", engine, ("compiled", "reference")))
        self._spec = Spec(layers, loss, dict(penalties or {}), dtype, engine)
        self.seed = as_seed(seed)
        self._model: Model | None = None
        self._state: State | None = None
        self._run: Run | None = None
        self._lock = Lock()  # held by whoever changes the network
        self._changes = 0  # how often somebody began to
        self._changer: int | None = None  # the thread that does

    def build(self, n_inputs):
        """Draw the initial weights for tables of `n_inputs` columns, as `fit` does by itself.

        A network that is built already, for as many columns, stays as it is. Returns the network.
        """
        n_inputs = as_count("n_inputs", n_inputs)
        with self._alone():
            if self._model is None:
                self._model = Model(self._spec, n_inputs, seed=self.seed)
        if self._model.n_inputs != n_inputs:
            raise ValueError(f"n_inputs={n_inputs}, but the network was built for {self._model.n_inputs}")
        return self

    def reset(self, seed=None):
        """Start over, with initial weights of `seed` (None: the same again) and no optimizer state.

        Returns the network. Views of its parameters stay valid.
        """
        seed = self.seed if seed is None else as_seed(seed)
        with self._alone():
            if self._model:
                self._model.draw(seed)
            self.seed, self._state = seed, None
        return self

    @property
    def parameters(self):
        return self._built().parameters

    def summary(self):
        """Return a table of the layers with their parameters, shapes, sizes and penalties, as text."""
        return summary(self._spec.layers, self._built().plan, self._built().penalties)

    def fit(
        self,
        X,
        y,
        *,
        epochs=10,
        batch_size="auto",
        optimizer=None,
        validation=None,
        callbacks=(),
        metrics=(),
        augment=(),
        shuffle=True,
        sample_weight=None,
        class_weight=None,
        n_threads=None,
        verbose=0,
    ):
        """Train, from where the network is; `reset` starts over.

        With an equal optimizer its state goes on too: twice `fit(epochs=5)` has the bits of `fit(epochs=10)`. Schedules
        go from their beginning to their end in each fit.

        Parameters
        ----------
        X : array of shape (n, inputs)
            Never modified, and not copied if it is a row-contiguous array of the network's dtype.
        y : array of shape (n,) or (n, outputs)
            cross_entropy: labels 0..C-1, or a matrix whose rows sum to 1. binary_cross_entropy: targets in
            [0, 1]. poisson: numbers >= 0. Others: numbers; quantile: one column for all levels.
        epochs : int >= 1
        batch_size : int >= 1, or "auto" for min(200, n)
        optimizer : SGD, Adam or AdamW; None is Adam(1e-3)
        validation : pair (X_val, y_val), or dict of named pairs
            Measured after each epoch, with all units and without updates.
        callbacks : list of callables, `callback(run) -> bool | None`
            Called after each epoch; True ends the training. See `fastreg.callbacks`.
        metrics : sequence of names, or callables `f(y_true, prediction) -> float`
            Of classifications "accuracy", "log_loss", "auc", "brier", "ece" (see `fastreg.metrics`); of others "r2",
            "mae", and under `Quantile` "pinball". The row weights do not count in them. Of targets that are rows of
            probabilities y_true is the most probable class, of soft sigmoid targets whether they are above 0.5.
        augment : list of RandomFlip, Mixup, ..., or callables `f(X, y, rng) -> (X, y)`
            How rows are changed before the network sees them: what `fastreg.augment` has, in this order, in each batch
            and in compiled code; before that, callables once an epoch on the whole table (X, (n, inputs), and y are
            read-only; so many rows must come back). A callable costs its own time and a check of what it returns, and
            lets one epoch at a time run without the interpreter. rng is a NumPy generator keyed by seed and epoch.
            Images are rows here, `images.reshape(len(images), -1)`; augmentations know their shape, or are told.
        shuffle : bool
            Whether each epoch has its own order of rows, or all the given one.
        sample_weight : array of shape (n,), optional
            Multiplies the loss of each row; none negative, not all 0.
        class_weight : dict of codes to weights, or "balanced", optional
            Multiplies the row weights in training, not in validation. Classes that a dict lacks have 1. "balanced":
            rows of a class weigh n / (classes of y * rows of the class). y must be 1-D codes.
        n_threads : int >= 1, optional
            At most so many, and no more than the process may use (affinity, container, OMP_NUM_THREADS); None:
            all of those. A step too small to share has one. Results never depend on it, bit for bit.
        verbose : int
            1 shows a progress bar (where tqdm is installed; lines otherwise).

        Returns
        -------
        History
            Of this call.

        Raises
        ------
        ValueError
            For bad input, which changes nothing.
        DivergenceError
            If a loss or weight becomes NaN or infinite; the best weights are kept.
        RuntimeError
            If `fit` is already running on this network.
        KeyboardInterrupt
            After Ctrl-C. The network stays usable, with its best weights where `EarlyStopping` kept them.
        """
        settings = Settings(
            epochs=epochs, batch_size=batch_size, optimizer=Adam() if optimizer is None else optimizer,
            callbacks=callbacks, metrics=as_metrics(metrics, self._spec.loss), augment=augment, shuffle=shuffle,
            class_weight=class_weight, n_threads=n_threads, verbose=verbose,
        )  # fmt: skip
        with self._alone():
            self._run = self._prepare(X, y, sample_weight, validation, settings)
            try:
                return self._run.train()
            finally:
                self._run = None

    def partial_fit(self, X, y, *, batch_size="auto", optimizer=None, sample_weight=None, n_threads=None):
        """Train for one pass over the rows in the given order, as `fit` with `epochs=1, shuffle=False`.

        `optimizer=None` is that of the last fit, with its state; Adam(1e-3) if there was none.
        """
        if optimizer is None and self._state is not None:
            optimizer = self._state.optimizer
        return self.fit(
            X, y, epochs=1, batch_size=batch_size, optimizer=optimizer, shuffle=False,
            sample_weight=sample_weight, n_threads=n_threads,
        )  # fmt: skip

    def cancel(self):
        """End the `fit` that is running on this network before its next batch; it returns its History.

        Any thread, signal handler or callback may call this. Without a running fit nothing happens.
        """
        run = self._run
        if run is not None:
            run.cancel()

    def forward(self, X):
        """Return the raw outputs, (n, outputs), of the table X: logits under a cross-entropy.

        Thousands of rows are shared by as many threads as the process may use, here and in all predictions.
        """
        model = self._built()
        return model.inference.outputs(as_table("X", X, model.plan.dtype, model.n_inputs))

    def predict(self, X, samples=None, return_std=False):
        """Return predictions for the rows of X.

        cross_entropy: codes (n,). binary_cross_entropy: 0 or 1, (n,) if y was 1-D, else (n, outputs).
        poisson: means, exp(outputs). Others: the outputs. Both (n,) if y was 1-D and there is one output, else
        (n, outputs). Codes are int64.

        Parameters
        ----------
        X : array of shape (n, inputs)
        samples : int >= 1, optional
            Predict by the mean of so many passes with dropout and all other noise on, "Monte Carlo dropout" (Gal &
            Ghahramani, 2016); of a classification by the mean probabilities. Norms use their running statistics. Each
            row has random numbers of its own: those of the network's seed, the sample and its place in X.
        return_std : bool
            Whether to return also the standard deviation over the samples: of each output, or of the probability of
            what is predicted (cross_entropy) or of 1 (binary_cross_entropy).

        Returns
        -------
        array, or (array, array) with `return_std`
        """
        model, loss = self._built(), self._spec.loss
        if samples is None:
            _check_unsampled(return_std)
            return predictions(self._finite_outputs(X), loss, model.flat)
        mean, std = self._sampled(X, samples)
        answers = truths(mean, loss, model.flat)
        if loss.link == "softmax":
            std = np.take_along_axis(std, answers[:, None], axis=1)
        return (answers, std.reshape(answers.shape)) if return_std else answers

    def predict_proba(self, X, samples=None, return_std=False):
        """Return probabilities for the rows of X.

        cross_entropy: (n, classes). binary_cross_entropy: (n, 2), of 0 and of 1, if y was 1-D; else
        (n, outputs). With `samples` they are means over passes with noise, and with `return_std` their standard
        deviations follow; see `predict`.
        """
        loss, model = self._spec.loss, self._built()
        if loss.link not in ("softmax", "sigmoid"):
            raise ValueError(f"predict_proba is for classification; this network has loss {loss.name!r}")
        pair = loss.link == "sigmoid" and model.flat
        if samples is None:
            _check_unsampled(return_std)
            p = self._finite_outputs(X)
            getattr(model.kernels, loss.link)(p, p)
            return np.concatenate([1 - p, p], axis=1) if pair else p
        p, std = self._sampled(X, samples)
        if pair:
            p, std = np.concatenate([1 - p, p], axis=1), np.concatenate([std, std], axis=1)
        return (p, std) if return_std else p

    def evaluate(self, X, y, *, sample_weight=None, metrics=()):
        """Return {"loss", "penalty", "objective", <metrics>} for the rows of X, nothing dropped.

        The parameters are those of `fit`; objective = loss + penalty.
        """
        model, metrics = self._built(), as_metrics(metrics, self._spec.loss)
        X = as_table("X", X, model.plan.dtype, model.n_inputs)
        data = as_dataset(X, y, sample_weight, self._spec.loss, model.plan)
        loss, penalty = model.inference.loss(data), model.inference.penalty()
        figures = {"loss": loss, "penalty": penalty, "objective": loss + penalty}
        return figures | model.inference.metrics(data, metrics)

    def __repr__(self):
        layers, loss, dtype = list(self._spec.layers), self._spec.loss.name, str(self._spec.dtype)
        return f"Network({layers}, loss={loss!r}, dtype={dtype!r}, seed={self.seed})"

    def __getstate__(self):
        self._watch()
        state = {name: value for name, value in vars(self).items() if name not in _OF_THIS_PROCESS}
        model = self._model
        return state, model and (model.n_inputs, model.weights, model.flat)

    def __setstate__(self, saved):
        state, numbers = saved
        vars(self).update(state, _lock=Lock(), _changes=0, _changer=None, _run=None, _model=None)
        self._state = self._state and self._state.copy()
        if numbers:
            self._model = Model(self._spec, numbers[0], seed=None)
            self._model.weights[...], self._model.flat = numbers[1:]

    def _finite_outputs(self, X):
        """Return the raw outputs of X, none of them NaN or infinite: a class of such outputs means nothing."""
        outputs = self.forward(X)
        if not is_finite(outputs):
            row = int(np.argmin(np.isfinite(outputs).all(axis=1)))
            broken = [name for name, values in self.parameters.items() if not np.isfinite(values).all()]
            why = f"parameter {broken[0]!r} is not" if broken else "scale X, or use dtype='float64'"
            raise ValueError(f"the outputs of row {row} of X are not finite: {why}")
        return outputs

    def _sampled(self, X, samples):
        """Return mean and standard deviation of the linked outputs over passes with noise, all finite."""
        model, samples = self._built(), as_count("samples", samples)
        X = as_table("X", X, model.plan.dtype, model.n_inputs)
        link = getattr(model.kernels, self._spec.loss.link)
        mean, std = model.inference.sampled(X, link, self.seed, samples)
        if not (is_finite(mean) and is_finite(std)):
            self._finite_outputs(X)
            raise ValueError("outputs of samples of X are not finite: scale X, or use dtype='float64'")
        return mean, std

    def _built(self):
        if self._model is None:
            raise NotBuiltError("this network has no parameters yet: call fit(X, y) or build(n_inputs) first")
        return self._model

    def _prepare(self, X, y, sample_weight, validation, settings):
        """Check the data and return the `Run`. The network changes when nothing can be wrong any more."""
        spec = self._spec
        X = as_table("X", X, spec.dtype, self._model and self._model.n_inputs)
        model = self._model or Model(spec, X.shape[1], seed=self.seed)
        data = as_dataset(X, y, sample_weight, spec.loss, model.plan)
        data = data.balance(row_factors(settings.class_weight, data.targets, spec.loss, model.plan.n_outputs))
        engine = model.engine(data.labels, settings.optimizer, settings.augmentations)
        state = State.after(self._state, engine.plan, settings.optimizer)
        sets = as_validation(validation, spec.loss, model.plan)
        run = Run(
            network=self, model=model, engine=engine, state=state, seed=self.seed,
            data=data, sets=sets, settings=settings,
        )  # fmt: skip
        self._model, self._state, model.flat = model, state, data.flat
        return run

    @contextmanager
    def _alone(self):
        """Hold the lock that lets one thread at a time change this network."""
        if not self._lock.acquire(blocking=False):
            raise RuntimeError("fit is already running on this object")
        self._changes, self._changer = self._changes + 1, get_ident()
        try:
            yield
        finally:
            self._changer = None
            self._lock.release()

    def _watch(self):
        """Return a check that no other thread has begun to change the network; it was made once already.

        It waits for nobody, so that neither a handler of a signal nor a forked child can hang in it.
        """
        changes = self._changes

        def unchanged():
            if self._changer not in (None, get_ident()) or self._changes != changes:
                raise RuntimeError(
                    "fit is running on this object in another thread; a callback of it may save or copy it"
                )

        unchanged()
        return unchanged


def _check_unsampled(return_std):
    if return_std:
        raise ValueError("return_std=True needs samples, such as samples=50")
