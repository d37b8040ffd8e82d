#!/bin/sh
# Is there what the build needs: Python >= 3.11 with venv and its headers, and a C11 compiler?
# If not, say what is missing and the one line that installs it, and exit with 2.
python=${PYTHON:-python3}
missing= debian= fedora= arch= alpine=

need() { # what it is, then its package on each system
    missing="$missing${missing:+, }$1"
    debian="$debian $2" fedora="$fedora $3" arch="$arch $4" alpine="$alpine $5"
}

if ! "$python" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    need "Python 3.11 or newer (as $python; another one: make PYTHON=...)" python3 python3 python python3
fi
if ! "$python" -c 'import venv, ensurepip' 2>/dev/null; then
    need "Python's venv and ensurepip" python3-venv python3 python python3
fi

work=$(mktemp -d) || exit 1
trap 'rm -rf "$work"' EXIT
cc=${CC:-$("$python" -c 'import sysconfig; print(sysconfig.get_config_var("CC") or "cc")' 2>/dev/null)}
include=$("$python" -c 'import sysconfig; print(sysconfig.get_path("include"))' 2>/dev/null)
printf '#include <stdio.h>\n_Static_assert(1, "C11");\nint main(void) { return puts("hello") < 0; }\n' >"$work/hello.c"
printf '#include <Python.h>\n' >"$work/headers.c"
if ! ${cc:-cc} -std=gnu11 "$work/hello.c" -o "$work/hello" >/dev/null 2>&1; then
    need "a C11 compiler (${cc:-cc})" "gcc libc6-dev" gcc gcc "gcc musl-dev"
fi
# Without a compiler the header itself is looked for.
if ! ${cc:-cc} -std=gnu11 -I"$include" -fsyntax-only "$work/headers.c" >/dev/null 2>&1 &&
    ! { [ ! -e "$work/hello" ] && [ -e "$include/Python.h" ]; }; then
    need "Python's C headers" python3-dev python3-devel python python3-dev
fi
[ -z "$missing" ] && exit 0

as_root=
[ "$(id -u)" = 0 ] || as_root="sudo "
if command -v apt-get >/dev/null; then
    line="${as_root}apt-get update && ${as_root}apt-get install -y$debian"
elif command -v dnf >/dev/null; then
    line="${as_root}dnf install -y$fedora"
elif command -v pacman >/dev/null; then
    line="${as_root}pacman -S --needed --noconfirm$arch"
elif command -v apk >/dev/null; then
    line="${as_root}apk add$alpine"
elif command -v brew >/dev/null; then
    line="xcode-select --install; brew install python@3.13"
else
    line="install Python 3.11 or newer with its headers, and GCC or Clang"
fi
printf 'Missing: %s.\nInstall with: %s\n' "$missing" "$line" >&2
exit 2
