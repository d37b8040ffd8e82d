"""The command line: `python -m fastreg demo` and `python -m fastreg config`."""

import argparse
import sys

import fastreg as fr
from fastreg import demo


def main(arguments=None):
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m fastreg", description="Regularized networks on CPUs.")
    commands = parser.add_subparsers(dest="command", required=True)
    help = "what regularization does on two tables of real data, and how long it takes, compiled and in NumPy"
    demonstrate = commands.add_parser("demo", help=help, description=help)
    demonstrate.add_argument("--splits", type=_splits, default=demo.SPLITS, help="of the rows, default %(default)s")
    demonstrate.add_argument("--picture", default=demo.PICTURE, help="where to write it, default %(default)s")
    commands.add_parser("config", help="say which instruction level and versions are in use")
    chosen = parser.parse_args(arguments)
    return demo.run(chosen.splits, chosen.picture) if chosen.command == "demo" else fr.show_config()


def _splits(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
