"""Do all compilers, instruction levels and machines compute the same bits?

    python tools/bits.py                 build and run tests/c/bits.c with every compiler found
    python tools/bits.py --portability   compile for Linux, macOS and Windows on x86-64 and arm64, run nothing

Which compilers those are is told in tools/compilers.py. Exit status 1 where levels with FMA hardware differ in a bit,
where those without differ by more than rounding, or where a target does not compile without a warning.
"""

import argparse
import subprocess
import sys
import tempfile
from dataclasses import dataclass
from hashlib import sha256

from compilers import PROGRAMS, Toolchain, build, toolchains, zig

PROGRAM = PROGRAMS / "bits.c"
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of a sum of magnitudes, relative, for levels without FMA


@dataclass(frozen=True)
class Measurement:
    """What a program found for one level and dtype: {kernel or network: (hash, sum of magnitudes)}."""

    toolchain: Toolchain
    level: str
    dtype: str
    found: dict[str, tuple[str, float]]

    @property
    def fused(self):
        return self.toolchain.fused(self.level)

    @property
    def hash(self):
        return sha256("".join(h for h, _ in self.found.values()).encode()).hexdigest()[:16]

    def __str__(self):
        return f"{self.toolchain.name:25} {self.level:9} {self.dtype}"


# ---- bits --------------------------------------------------------------------------------------------------


def measure(toolchain):
    """Build and run; return a Measurement for each level and dtype."""
    with tempfile.TemporaryDirectory() as folder:
        program, _, _ = build(toolchain, folder, PROGRAM)
        command = [*toolchain.runner, str(program), *["baseline"] * toolchain.plain]
        output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    found = {}
    for level, dtype, name, bits, magnitude in map(str.split, output.splitlines()):
        found.setdefault((level, dtype), {})[name] = (bits, float(magnitude))
    return [Measurement(toolchain, *key, values) for key, values in found.items()]


def differences(measurements):
    """One line for each kernel and network that is not what the first level with FMA hardware says."""
    lines = []
    for m in measurements:
        same = [other for other in measurements if other.dtype == m.dtype]
        first = next((other for other in same if other.fused), same[0])
        for name, (bits, magnitude) in m.found.items():
            wanted, expected = first.found[name]
            close = abs(magnitude - expected) <= TOLERANCE[m.dtype] * expected
            if not close or (m.fused and bits != wanted):
                lines.append(f"{name}: {m} {bits} {magnitude:.9g}, {first} {wanted} {expected:.9g}")
    return lines


def show_bits():
    """Print the table of hashes; return whether anything differs."""
    measurements = []
    for toolchain in toolchains():
        for m in measure(toolchain):
            measurements.append(m)
            print(f"{m} {'FMA' if m.fused else '-  '} {m.hash}", flush=True)
    if not measurements:
        sys.exit("no C compiler found: install gcc or clang, or `pip install ziglang`")
    lines = differences(measurements)
    verdict = f"{len(lines)} differences" if lines else "all levels with FMA agree bit for bit, others to rounding"
    print(*lines, f"{len(measurements[0].found)} kernels and networks: {verdict}", sep="\n")
    return bool(lines)


# ---- portability -------------------------------------------------------------------------------------------


def show_portability():
    """Print size and warnings for each target; return whether there were any."""
    if not zig():
        sys.exit("no zig found: `pip install ziglang`")
    unclean = 0
    print(f"{'KiB of':24} kernels  program")
    for target in (
        f"{machine}-{system}" for system in ("linux-gnu", "macos", "windows-gnu") for machine in ("x86_64", "aarch64")
    ):
        toolchain = Toolchain(target, (*zig(), "-target", target), machine=target.split("-")[0])
        with tempfile.TemporaryDirectory() as folder:
            try:
                program, objects, said = build(toolchain, folder, PROGRAM)
                kernels = sum(path.stat().st_size for name, path in objects.items() if name != "program")
                sizes = f"{kernels / 1024:7.0f} {program.stat().st_size / 1024:8.0f}"
            except RuntimeError as error:
                sizes, said = "  fails", str(error)
        print(f"{target:24} {sizes}", said, sep="\n" if said else "", flush=True)
        unclean += bool(said)
    print(f"{unclean} targets with warnings or errors" if unclean else "all compile without a warning")
    return bool(unclean)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--portability", action="store_true", help="compile for all systems, run nothing")
    sys.exit(show_portability() if parser.parse_args().portability else show_bits())
