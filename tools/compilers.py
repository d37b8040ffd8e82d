"""The C compilers found here, and the kernels built with each as setup.py builds them.

Compilers: $CC, cc, gcc, clang and zig (`pip install ziglang`), which also builds for arm64 (run by qemu-user).
"""

import ast
import importlib.util
import os
import platform
import re
import shlex
import shutil
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace

ROOT = Path(__file__).parents[1]
SETUP, KERNELS, PROGRAMS = ROOT / "setup.py", ROOT / "src_c", ROOT / "tests" / "c"
WARNINGS = ("-Wall", "-Wextra", "-Wno-unused-parameter")  # the kernels of a family share a signature
HOST = {"amd64": "x86_64", "arm64": "aarch64"}.get(platform.machine().lower(), platform.machine().lower())


@dataclass(frozen=True)
class Toolchain:
    """A compiler for one kind of machine, and how its programs are run here."""

    name: str
    compiler: tuple[str, ...]
    machine: str = HOST
    runner: tuple[str, ...] = ()
    plain: bool = False  # without vector extensions, as for a compiler that lacks them

    def fused(self, level):
        """Whether this level has FMA hardware, so that its bits must be those of all others that have."""
        return not self.plain and (level != "baseline" or self.machine == "aarch64")


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


def missing_sources():
    """Names of what is not beside this file, as where a wheel is tested."""
    return [path.name for path in (SETUP, KERNELS, PROGRAMS) if not path.exists()]


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


def jobs(toolchain, source, macros, also):
    """(name of the object, source, its own flags): what is compiled for each level and dtype, and the rest."""
    common, levels = flags_of_setup(toolchain.machine)
    common = [*common, *WARNINGS, f"-I{KERNELS}", *["-DFR_SCALAR"] * toolchain.plain]
    several = ["-DFR_X86_LEVELS=1"] * (len(levels) > 1)
    yield "program", source, [*common, *several, *macros]
    yield "dispatch", KERNELS / "dispatch.c", [*common, *several]
    for level, flags in levels.items():
        for dtype, wide in {"f32": [], "f64": ["-DFR_F64"]}.items():
            for name, text in {"kernels": KERNELS / "level.c", **also}.items():
                yield f"{name}_{level}_{dtype}", text, [*common, f"-DFR_LEVEL={level}", *wide, *flags]


def build(toolchain, folder, source, macros=(), libraries=(), also=None):
    """Compile and link the kernels with the program in `source`, which knows the macros, and with `also`, sources by
    name that are compiled for each level too; return the program, all objects by name, and what the compiler said."""

    def run(*arguments):
        command = [*toolchain.compiler, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        if done.returncode:
            raise RuntimeError(f"{' '.join(command)}\n{done.stderr}")
        return done.stderr

    def compile_one(job):
        name, source, flags = job
        return run(*flags, "-c", source, "-o", objects[name])

    work = list(jobs(toolchain, source, macros, also or {}))
    objects = {name: Path(folder) / f"{name}.o" for name, _, _ in work}
    program = Path(folder) / "program"
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        said = "".join(pool.map(compile_one, work))
    said += run(*objects.values(), *libraries, "-lm", "-o", program)
    return program, objects, said
