"""The command line: `fastreg demo`, `fastreg info FILE` and `fastreg config`, or `python -m fastreg ...`."""

import argparse
import sys

import fastreg as fr
from fastreg import demo, files


def main(arguments=None):
    """Run one command; return the exit status."""
    parser = argparse.ArgumentParser(prog="fastreg", description="Regularized networks on CPUs.")
    commands = parser.add_subparsers(dest="command", required=True)
    help = "what regularization does on two tables of real data, and how long it takes, compiled and in NumPy"
    demonstrate = commands.add_parser("demo", help=help, description=help)
    demonstrate.add_argument("--splits", type=_splits, default=demo.SPLITS, help="of the rows, default %(default)s")
    demonstrate.add_argument("--picture", default=demo.PICTURE, help="where to write it, default %(default)s")
    help = "check a file that fastreg wrote, and say what is in it"
    commands.add_parser("info", help=help, description=help).add_argument("file")
    commands.add_parser("config", help="say which instruction level and versions are in use")
    chosen = parser.parse_args(arguments)
    if chosen.command == "demo":
        return demo.run(chosen.splits, chosen.picture)
    return _info(chosen.file) if chosen.command == "info" else fr.show_config()


def _info(path):
    try:
        print(files.info(path))
    except (fr.ModelFileError, OSError) as error:
        print(f"fastreg info: {error}", file=sys.stderr)
        return 1
    return 0


def _splits(text):
    if not text.isdecimal() or int(text) < 1:
        raise argparse.ArgumentTypeError(f"must be an integer >= 1, got {text!r}")
    return int(text)


if __name__ == "__main__":
    sys.exit(main())
