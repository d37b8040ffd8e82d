"""The command line: `python -m fastreg demo` and `python -m fastreg config`."""

import argparse
import sys
from time import perf_counter

import fastreg as fr


def main(arguments=None):
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastreg", description="Regularized networks on CPUs.")
    commands = parser.add_subparsers(dest="command", required=True)
    commands.add_parser("demo", help="train a regularized network on handwritten digits, compiled and in NumPy")
    commands.add_parser("config", help="say which instruction level and versions are in use")
    chosen = parser.parse_args(arguments)
    return demo() if chosen.command == "demo" else fr.show_config()


def demo():
    """Train the same regularized network with both engines; print accuracy and times."""
    try:
        from sklearn.datasets import load_digits
        from sklearn.model_selection import train_test_split
    except ImportError:
        print("the demo needs scikit-learn's digits: pip install scikit-learn", file=sys.stderr)
        return 2
    X, y = load_digits(return_X_y=True)
    X_train, X_test, y_train, y_test = train_test_split(X / 16, y, test_size=0.25, random_state=0, stratify=y)
    X_fit, X_val, y_fit, y_val = train_test_split(X_train, y_train, test_size=0.2, random_state=0, stratify=y_train)
    print(
        f"digits: {len(X_fit)} rows to train on, {len(X_val)} to stop by, {len(X_test)} to test; 64 inputs, 10 classes"
    )
    seconds = {}
    for engine in ("compiled", "reference"):
        net = network(engine)
        start = perf_counter()
        history = net.fit(
            X_fit, y_fit, epochs=100, batch_size=32, optimizer=fr.SGD(0.05, momentum=0.9, nesterov=True),
            validation=(X_val, y_val), callbacks=[fr.EarlyStopping(patience=20)], n_threads=1, verbose=1,
        )  # fmt: skip
        seconds[engine] = perf_counter() - start
        report(engine, net, history, net.evaluate(X_test, y_test, metrics=["accuracy"]), seconds[engine])
    print(f"compiled is {seconds['reference'] / seconds['compiled']:.1f} times as fast as NumPy, one thread each")
    return 0


def network(engine):
    """Digits through 64 units: dropout on inputs and hidden units, L1 and L2 on the weights."""
    penalty = fr.L1(5e-5) + fr.L2(1e-4)
    return fr.Network(
        [
            fr.Dropout(0.1),
            fr.Dense(64, "relu", weight_penalty=penalty),
            fr.Dropout(0.2),
            fr.Dense(10, weight_penalty=penalty),
        ],
        loss="cross_entropy",
        dtype="float32",
        seed=0,
        engine=engine,
    )


def report(engine, net, history, test, seconds):
    """Print what one training has come to."""
    weights = [w for name, w in net.parameters.items() if name.endswith("weight")]
    zeros, size = sum((w == 0).sum() for w in weights), sum(w.size for w in weights)
    print(
        f"{engine:10}{history.n_epochs:4d} epochs, best {history.best_epoch + 1:3d}:"
        f"  test accuracy {test['accuracy']:.4f}, test loss {test['loss']:.4f},"
        f"  {zeros} of {size} weights exactly 0,  {seconds:.2f} s"
    )


if __name__ == "__main__":
    sys.exit(main())
