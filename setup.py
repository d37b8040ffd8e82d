"""Builds the compiled core: each kernel once per instruction level and dtype, then the extension modules.

The levels' objects (src_c/level.c with different flags) are linked into `fastreg._core.table` alone; the other modules
reach them through its table. FASTREG_DEBUG=1 turns Cython's checks on; CFLAGS and LDFLAGS are honoured as usual.
"""

import os
import platform
import sys
import sysconfig
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from Cython.Build import cythonize
from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

DEBUG = os.environ.get("FASTREG_DEBUG") == "1"
HEADERS = [str(p) for p in sorted(Path("src_c").glob("*.h"))]
KERNEL_SOURCES = [str(p) for p in sorted(Path("src_c").glob("*.c"))]

DIRECTIVES = {
    "language_level": 3,
    "boundscheck": DEBUG,
    "wraparound": False,
    "initializedcheck": DEBUG,
    "cdivision": True,
    "freethreading_compatible": True,
    "autotestdict": False,
    "embedsignature": True,
}


def levels(compiler):
    """Instruction levels for this machine's family, lowest first, with the flags that switch them on."""
    x86 = platform.machine().lower() in ("x86_64", "amd64")
    fat = "universal2" in sysconfig.get_platform() or len(os.environ.get("ARCHFLAGS", "").split("-arch")) > 2
    if compiler == "msvc" or not x86 or fat:
        return {"baseline": []}
    avx2 = ["-mavx2", "-mfma"]
    avx512 = ["-mavx512f", "-mavx512dq", "-mavx512bw", "-mavx512vl", "-mprefer-vector-width=512"]
    return {"baseline": [], "avx2": avx2, "avx512": avx2 + avx512}


def common_flags(compiler):
    """Flags of every C file. Contraction is off: a fused multiply-add happens only where it is written."""
    if compiler == "msvc":
        return ["/O2", "/std:c11", "/fp:precise"]
    return ["-std=gnu11", "-O3", "-g0", "-ffp-contract=off", "-fvisibility=hidden"]


class BuildExt(build_ext):
    """build_ext that first compiles the kernels for every level and dtype."""

    def build_extension(self, ext):
        kind = self.compiler.compiler_type
        ext.extra_compile_args = common_flags(kind)
        if ext.name == "fastreg._core.table":
            ext.extra_objects = self.kernel_objects(kind)
            ext.extra_link_args = ["-pthread"] if os.name == "posix" else []
        super().build_extension(ext)

    def kernel_objects(self, kind):
        """Compile level.c for each level and dtype, dispatch.c and pool.c once; return the objects."""
        several = [("FR_X86_LEVELS", "1")] if len(levels(kind)) > 1 else []
        jobs = [("src_c/dispatch.c", "dispatch", several, []), ("src_c/pool.c", "pool", [], [])]
        for level, flags in levels(kind).items():
            for dtype, macros in {"f32": [], "f64": [("FR_F64", "1")]}.items():
                jobs.append(("src_c/level.c", f"{level}_{dtype}", [("FR_LEVEL", level), *macros], flags))
        with ThreadPoolExecutor(os.cpu_count()) as pool:
            return [path for paths in pool.map(self.compile_kernel, jobs) for path in paths]

    def compile_kernel(self, job):
        source, name, macros, flags = job
        return self.compiler.compile(
            [source],
            output_dir=str(Path(self.build_temp) / name),
            macros=macros,
            include_dirs=["src_c"],
            extra_postargs=common_flags(self.compiler.compiler_type) + flags,
            depends=KERNEL_SOURCES + HEADERS,
        )


def extension(name):
    return Extension(
        f"fastreg._core.{name}",
        [f"fastreg/_core/{name}.pyx"],
        include_dirs=["src_c"],
        depends=KERNEL_SOURCES + HEADERS + sorted(str(p) for p in Path("fastreg/_core").glob("*.pxd")),
    )


# Editable builds run from the root, where `fastreg` is the source folder; Cython finds table.pxd through it.
sys.path.insert(0, os.getcwd())
setup(
    ext_modules=cythonize(
        [extension(name) for name in ("table", "mixing", "kernels", "program", "workspace", "step", "engine")],
        build_dir="build/cython",
        compiler_directives=DIRECTIVES,
        force=DEBUG,
    ),
    cmdclass={"build_ext": BuildExt},
)
