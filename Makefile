# `make` alone prints the targets. Everything runs in .venv, which `make test` and `make demo` create themselves.
PYTHON ?= python3
CC ?= cc
PY = .venv/bin/python
PIP = $(PY) -m pip --disable-pip-version-check --quiet
SOURCES = setup.py pyproject.toml $(wildcard src_c/*.[ch] fastreg/_core/*.pyx fastreg/_core/*.pxd)
# The packages of one extra of pyproject.toml, one a line.
EXTRA = $(PY) -c "import sys, tomllib; p = tomllib.load(open('pyproject.toml', 'rb'))['project']; \
	print(*p['optional-dependencies'][sys.argv[1]], sep='\n')"

.DEFAULT_GOAL := help
.PHONY: help prerequisites demo test bench peers cost products limits custom lint lint-python lint-cython lint-c lint-types bits ulp \
	threads fuzz kills docs asan clean

help:
	@echo "make demo    no regularization against L2, L1, dropout and all three, compiled and in NumPy"
	@echo "make test    build in an own virtual environment and run the whole suite"
	@echo "make bench   the six workloads against a hand-written NumPy loop: table, JSON, picture; then each kernel"
	@echo "make peers   the same against scikit-learn, PyTorch and JAX as well, on one thread and on two: minutes"
	@echo "make cost    the time of a step as width, depth, batch and rows grow, beside NumPy and JAX: minutes"
	@echo "make lint    ruff, cython-lint, clang-format, mypy, and the stubs against what is compiled"
	@echo "make docs    the reference pages in build/docs"
	@echo "make bits    the same weights from every compiler, level and machine found here, bit for bit"
	@echo "make ulp     exp, log, tanh, sigmoid and erf against exact results: every float32, some float64; minutes"
	@echo "make threads the same weights for any number of threads, in all combinations, under load; Ctrl-C: minutes"
	@echo "make products  the products' share of the FMA peak, and sizes that fall out of line"
	@echo "make limits  dropout's share of a step, one prediction, the import, memory, two threads against one"
	@echo "make noise   is noise distributed as it says, and does it keep expectations: p-values"
	@echo "make custom  what a loss written in Python costs"
	@echo "make regularizers  what each technique costs and gains by itself: docs/regularizers.md; a quarter of an hour"
	@echo "make presets the presets for tables beside scikit-learn's MLP and gradient boosting: docs/presets.md; minutes"
	@echo "make fuzz    200,000 damaged and forged models and checkpoints: deaths, hangs, silent changes, memory; minutes"
	@echo "make kills   saves that are ended, or fail, at each of their writes, flushes and renames (needs strace);"
	@echo "             trainings that are killed at random and resumed, 200 times: minutes"
	@echo "make sklearn-suite   scikit-learn's own tests of its MLPs, and its checks of estimators, on fastreg's: minutes"
	@echo "make sklearn-oracle  every combination of settings against scikit-learn, number for number: minutes"
	@echo "make sklearn-speed   both on real tables, one core: the times of equal epochs, scores, the default run: minutes"
	@echo "make asan    the suite under AddressSanitizer and UndefinedBehaviorSanitizer"
	@echo "make clean   remove what was built, and the virtual environment"

demo: .venv/.installed
	mkdir -p build
	$(PY) -m fastreg demo --picture build/demo.png

test: .venv/.installed
	$(PY) -m pytest

# The report chooses its own BLAS settings, and so does the suite.
bench: .venv/.installed
	$(PY) bench/report.py
	$(PY) -m pytest bench --benchmark-json=build/benchmarks.json \
		--benchmark-columns=min,median,iqr,rounds --benchmark-sort=name

peers: .venv/.peers
	$(PY) bench/peers_report.py

cost: .venv/.peers
	$(PY) bench/cost.py

# The hooks of .pre-commit-config.yaml run these four one by one.
lint: lint-python lint-cython lint-c lint-types

lint-python: .venv/.linters
	$(PY) -m ruff check .
	$(PY) -m ruff format --check .

# cython-lint calls pycodestyle by name, and finds its settings from an absolute path.
lint-cython: .venv/.linters
	PATH="$(CURDIR)/.venv/bin:$$PATH" cython-lint $(CURDIR)/fastreg

lint-c: .venv/.linters
	.venv/bin/clang-format --dry-run -Werror src_c/*.[ch]

lint-types: .venv/.linters
	$(PY) -m mypy
	$(PY) -m mypy.stubtest --concise --mypy-config-file pyproject.toml \
		--allowlist tools/stubtest_allowlist.txt fastreg

# Clang comes with ziglang, arm64 with qemu-user as well, where they are installed.
bits: .venv/.installed
	$(PY) tools/bits.py

ulp: .venv/.installed
	$(PY) tools/ulp.py

threads: .venv/.installed
	$(PY) tools/threads.py

limits: .venv/.installed
	$(PY) bench/limits.py

custom: .venv/.installed
	$(PY) bench/custom.py

.PHONY: noise regularizers presets
noise: .venv/.installed
	$(PY) tools/noise.py

# The tables but for digits lie in ../shared/data; without them the others are left out.
regularizers: .venv/.installed
	$(PY) bench/regularizers.py

presets: .venv/.installed
	$(PY) bench/presets_report.py

fuzz: .venv/.installed
	$(PY) tools/fuzz_files.py

# From tools/, so that no settings of this project reach scikit-learn's tests.
sklearn-suite: .venv/.installed
	cd tools && ../$(PY) -m pytest -c /dev/null -p no:cacheprovider -p drop_in --pyargs sklearn.neural_network.tests.test_mlp
	SCIPY_ARRAY_API=1 $(PY) tools/sklearn_checks.py

sklearn-oracle: .venv/.installed
	$(PY) tools/sklearn_oracle.py

# The tables but for digits lie in ../shared/data; without them the others are left out.
sklearn-speed: .venv/.installed
	$(PY) bench/sklearn_report.py

kills: .venv/.installed
	$(PY) tools/kill_saves.py
	$(PY) tools/kill_runs.py

# Three minutes of one core, undisturbed where the shares are to be believed.
products: .venv/.installed
	$(PY) bench/products.py

docs: .venv/.installed
	mkdir -p build/docs
	cd build/docs && ../../$(PY) -c "import pydoc, fastreg; pydoc.writedoc('fastreg'); \
		pydoc.writedocs(fastreg.__path__[0], 'fastreg.')"

# A copy of the tree is built with the sanitizers, so that the editable build stays as it is. Left out are tests
# of other processes' time and system calls, which the sanitizers only slow down. Two busy cores take half an hour for the others.
SANITIZE = -g -O1 -fno-omit-frame-pointer -fsanitize=address,undefined -fno-sanitize-recover=undefined -fno-wrapv
asan: .venv/.installed
	rm -rf build/asan && mkdir -p build/asan/tree
	tar -cf - --exclude='*.so' --exclude=__pycache__ LICENSE README.md MANIFEST.in setup.py pyproject.toml \
		src_c fastreg tests tools bench examples | tar -xf - -C build/asan/tree
	CFLAGS="$(SANITIZE)" LDFLAGS="-fsanitize=address,undefined" \
		$(PIP) install --no-deps --target build/asan/site ./build/asan/tree
	rm -r build/asan/tree/fastreg
	cd build/asan/tree && PYTHONPATH=../site PYTHONMALLOC=malloc OPENBLAS_NUM_THREADS=1 \
		ASAN_OPTIONS=detect_leaks=0:allocator_may_return_null=1:strict_init_order=1 \
		UBSAN_OPTIONS=print_stacktrace=1:halt_on_error=1 \
		LD_PRELOAD="$$($(CC) -print-file-name=libasan.so):$$($(CC) -print-file-name=libubsan.so)" \
		../../../$(PY) -m pytest -p no:cacheprovider -s -k "not (idle_threads or that_is_ended or full_disk_keeps or killed_and_resumed)"

clean:
	rm -rf .venv build dist *.egg-info fastreg/_core/*.so .pytest_cache .mypy_cache .ruff_cache .hypothesis .benchmarks
	find . -name __pycache__ -type d -prune -exec rm -rf {} +

prerequisites:
	@PYTHON="$(PYTHON)" sh tools/check_prerequisites.sh

.venv/.created: | prerequisites
	$(PYTHON) -m venv --clear .venv
	@touch $@

# An editable install builds in place; it is repeated whenever a source of the extension changes.
.venv/.installed: .venv/.created $(SOURCES)
	$(PIP) install --editable '.[test]'
	@touch $@

.venv/.linters: .venv/.installed pyproject.toml
	$(EXTRA) lint | xargs $(PIP) install
	@touch $@

.venv/.peers: .venv/.installed pyproject.toml
	$(EXTRA) peers | xargs $(PIP) install
	@touch $@
