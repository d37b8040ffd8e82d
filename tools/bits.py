"""Do all compilers, instruction levels and machines compute the same bits?

    python tools/bits.py                 build and run tests/c/bits.c with every compiler found
    python tools/bits.py --portability   compile for Linux, macOS and Windows on x86-64 and arm64, run nothing

Compilers: $CC, cc, gcc, clang and zig (`pip install ziglang`), which also builds for arm64 (run by qemu-user).
Exit status 1 where levels with FMA hardware differ in a bit, where those without differ by more than
rounding, or where a target does not compile without a warning.
"""

import argparse
import ast
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
import tempfile
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]
SETUP, PROGRAM, KERNELS = ROOT / "setup.py", ROOT / "tests" / "c" / "bits.c", ROOT / "src_c"
WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter")  # the kernels of a family share a signature
TOLERANCE = {"float32": 1e-5, "float64": 1e-12}  # of a sum of magnitudes, relative, for levels without FMA
HOST = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


@dataclass(frozen=True)
class Toolchain:
    """A compiler for one kind of machine, and how its programs are run here."""

    name: str
    compiler: tuple[str, ...]
    machine: str = HOST
    runner: tuple[str, ...] = ()
    plain: bool = False  # without vector extensions, as for a compiler that lacks them


@dataclass(frozen=True)
class Measurement:
    """What a program found for one level and dtype: {kernel or network: (hash, sum of magnitudes)}."""

    toolchain: Toolchain
    level: str
    dtype: str
    found: dict[str, tuple[str, float]]

    @property
    def fused(self):
        """Whether this level has FMA hardware, so that its bits must be those of all others that have."""
        return not self.toolchain.plain and (self.level != "baseline" or self.toolchain.machine == "aarch64")

    @property
    def hash(self):
        return sha256("".join(h for h, _ in self.found.values()).encode()).hexdigest()[:16]

    def __str__(self):
        return f"{self.toolchain.name:25} {self.level:9} {self.dtype}"


# ---- compilers ---------------------------------------------------------------------------------------------


def zig():
    """The command of zig's C compiler, or None."""
    if importlib.util.find_spec("ziglang"):
        return (sys.executable, "-m", "ziglang", "cc")
    found = shutil.which("zig")
    return (found, "cc") if found else None


def version(command):
    """A compiler's family and version, as it says itself."""
    text = subprocess.run([*command, "--version"], capture_output=True, text=True, check=True).stdout
    number = re.search(r"\d+\.\d+(\.\d+)?", text)
    return f"{'clang' if 'clang' in text else 'gcc'} {number.group() if number else ''}".strip()


def native_compilers():
    """$CC, cc, gcc and clang, as far as they are there and not the same."""
    clangs = ["clang", *(f"clang-{number}" for number in range(30, 10, -1))]
    commands = [shlex.split(os.environ.get("CC", "")), ["cc"], ["gcc"], [*filter(shutil.which, clangs)][:1]]
    found = {}
    for command in commands:
        path = shutil.which(command[0]) if command else None
        if path and os.path.realpath(path) not in found:
            found[os.path.realpath(path)] = Toolchain(version(command), tuple(command))
    return list(found.values())


def cross_compiler(machine):
    """Zig for Linux on `machine`, where its programs can be run here; else None."""
    emulators = (f"qemu-{machine}", f"qemu-{machine}-static")
    runner = "" if machine == HOST else next(filter(None, map(shutil.which, emulators)), None)
    if sys.platform != "linux" or not zig() or runner is None:
        return None
    command = (*zig(), "-target", f"{machine}-linux-musl", "-static")
    return Toolchain(f"zig {version(zig())} {machine}", command, machine, (runner,) if runner else ())


def toolchains():
    """All that builds programs that run here; the first compiler once more without vector extensions."""
    found = [*native_compilers(), *filter(None, map(cross_compiler, ("x86_64", "aarch64")))]
    plain = [Toolchain(f"{t.name} plain C", t.compiler, t.machine, t.runner, plain=True) for t in found[:1]]
    return found + plain


# ---- building ----------------------------------------------------------------------------------------------


def flags_of_setup(machine):
    """(flags of every C file, {level: its flags}), from two functions of setup.py: to import it is to build."""
    tree = ast.parse(SETUP.read_text(encoding="utf-8"))
    tree.body = [node for node in tree.body if getattr(node, "name", None) in ("common_flags", "levels")]
    names = {
        "platform": SimpleNamespace(machine=lambda: machine),
        "sysconfig": SimpleNamespace(get_platform=lambda: ""),
        "os": SimpleNamespace(environ={}),
    }
    exec(compile(tree, str(SETUP), "exec"), names)
    return names["common_flags"]("unix"), names["levels"]("unix")


def jobs(toolchain):
    """(name of the object, source, its own flags): the kernels for each level and dtype, and the rest."""
    common, levels = flags_of_setup(toolchain.machine)
    common = [*common, *WARNINGS, f"-I{KERNELS}", *["-DFR_SCALAR"] * toolchain.plain]
    yield "bits", PROGRAM, common
    yield "dispatch", KERNELS / "dispatch.c", [*common, *["-DFR_X86_LEVELS=1"] * (len(levels) > 1)]
    for level, flags in levels.items():
        for dtype, macros in {"f32": [], "f64": ["-DFR_F64"]}.items():
            yield f"{level}_{dtype}", KERNELS / "level.c", [*common, f"-DFR_LEVEL={level}", *macros, *flags]


def build(toolchain, folder):
    """Compile and link; return the program, its objects and what the compiler had to say."""

    def run(*arguments):
        command = [*toolchain.compiler, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        return done.stderr

    def compile_one(job):
        name, source, flags = job
        return run(*flags, "-c", source, "-o", objects[name])

    work = list(jobs(toolchain))
    objects = {name: Path(folder) / f"{name}.o" for name, _, _ in work}
    program = Path(folder) / "program"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = "".join(pool.map(compile_one, work))
    said += run(*objects.values(), "-lm", "-o", program)
    return program, objects, said


# ---- bits --------------------------------------------------------------------------------------------------


def measure(toolchain):
    """Build and run; return a Measurement for each level and dtype."""
    with tempfile.TemporaryDirectory() as folder:
        program, _, _ = build(toolchain, folder)
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
                program, objects, said = build(toolchain, folder)
                kernels = sum(path.stat().st_size for name, path in objects.items() if name != "bits")
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
