"""Contract 10 among processes and other people's threads: nothing hangs, and every result has the bits of one thread.

Run as a program, this file is what the processes do that the tests start: `python tests/test_processes.py CELL`. A cell
returns answers: the seed of a training, the hash of what came out, how many workers its process has then.
"""

import hashlib
import json
import multiprocessing
import os
import signal
import subprocess
import sys
import threading
import time
import traceback
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

import fastreg as fr
import fastreg.threads

SECONDS = 60  # after which processes that hang are aborted, and tell where they were
PROMPT = 5  # seconds that a process may take to end while a thread trains: unloading takes some tenths
SEEDS = range(6)
THREADS = 8
FORKS = 6
TASKS = Path("/proc/self/task")
# Since Python 3.12 a fork is warned of where the process has other threads. That it goes well is what is tested here.
WARNINGS = ("-W", "error", "-W", "ignore:This process (pid=:DeprecationWarning")

pytestmark = pytest.mark.skipif(not hasattr(os, "fork"), reason="processes are those of POSIX")


# ---- trainings worth sharing


def table(rows, inputs):
    X = np.random.default_rng(0).normal(size=(rows, inputs)).astype("float32")
    return X, X[:, 0] * X[:, 1]


def train(data, n_threads, seed, units, **settings):
    """The hash of weights and predictions; with n_threads=1 nothing asks for the pool."""
    fastreg.threads.usable_threads = lambda: THREADS if n_threads > 1 else 1  # whatever this machine has
    layers = [fr.Dense(units, "relu"), fr.Dropout(0.3), fr.Dense(units), fr.Dense(1)]
    net = fr.Network(layers, loss="squared_error", seed=seed)
    net.fit(*data, n_threads=n_threads, **settings)
    return hashlib.sha256(net._model.weights.tobytes() + net.predict(data[0]).tobytes()).hexdigest()


def answer(seed, n_threads=THREADS):
    """Some milliseconds: two epochs of three steps."""
    return seed, train(table(700, 300), n_threads, seed, 200, epochs=2, batch_size=256), workers()


def long_answer(n_threads=THREADS, data=None):
    """Some tenths of a second: steps in which signals are looked at many times."""
    return "long", train(data or table(3000, 600), n_threads, 0, 600, epochs=4, batch_size=1500), workers()


def workers():
    """How many threads this process has that Python does not know, where /proc tells."""
    return len(list(TASKS.iterdir())) - threading.active_count() if TASKS.exists() else None


# ---- children


def fork(task):
    """Fork a child that writes the answers of a task, and is gone; return where to read them."""
    source, sink = os.pipe()
    if not os.fork():
        leave(sink, task)
    os.close(sink)
    return source


def leave(sink, task):
    try:
        os.write(sink, json.dumps(task()).encode())
    except BaseException:
        traceback.print_exc()
    os._exit(0)


def read(source):
    """A child's answers, once it has ended."""
    with open(source) as pipe:
        answers = json.load(pipe)
    os.wait()
    return answers


# ---- cells


def cell_one_thread():
    return [long_answer(1), *(answer(seed, 1) for seed in SEEDS)]


def cell_fork_before_the_pool():
    child = read(fork(lambda: [answer(0)]))
    return [*child, answer(1)]


def cell_fork_after_the_pool():
    """A child, its own child after it, and the parent after both."""
    return [answer(0), *read(fork(lambda: [answer(1), *read(fork(lambda: [answer(2)])), answer(3)])), answer(4)]


def cell_fork_within_a_step():
    """A signal handler forks. Each child goes on with the step; every second one first trains something else, and has a
    thread that does so meanwhile."""
    sources, sinks, nested = [], [], []
    thread = threading.Thread(target=lambda: nested.extend(answer(seed) for seed in SEEDS))

    def handle(number, frame):
        source, sink = os.pipe()
        if os.fork():
            os.close(sink)
            sources.append(source)
            if len(sources) < FORKS:
                signal.setitimer(signal.ITIMER_REAL, 0.01)
            return
        sinks.append(sink)
        if len(sources) % 2:
            nested.append(answer(0))
            thread.start()

    data = table(3000, 600)
    answer(0, 1)  # imports all there is: no fork is to fall into that
    signal.signal(signal.SIGALRM, handle)
    signal.setitimer(signal.ITIMER_REAL, 0.01)
    answers = [long_answer(data=data)]
    signal.setitimer(signal.ITIMER_REAL, 0)
    if sinks:  # a child
        if nested:
            thread.join()
        leave(sinks[0], lambda: answers + nested)
    return answers + [one for source in sources for one in read(source)]


def cell_fork_by_another_thread():
    """One thread trains, and the main thread forks; then the other way round."""
    answers = [answer(0, 1)]  # imports all there is: a child forked amid an import may wait for it for ever

    def forks():
        for seed in SEEDS:
            answers.extend(read(fork(lambda seed=seed: [answer(seed)])))

    def trains(over):
        while not over.is_set():
            answers.append(long_answer())

    for first, second in ((trains, forks), (forks, trains)):
        over = threading.Event()
        run = {trains: lambda over=over: trains(over), forks: lambda over=over: (forks(), over.set())}
        thread = threading.Thread(target=run[first])
        thread.start()
        run[second]()
        thread.join()
    return answers


def cell_pool(method):
    """Parent and children, with the pool in use before and after."""
    before = answer(0)
    with multiprocessing.get_context(method).Pool(2) as pool:
        answers = pool.map(answer, SEEDS, chunksize=1)
        pool.close()
        pool.join()
    return [before, *answers, answer(1)]


def cell_fork():
    return cell_pool("fork")


def cell_spawn():
    return cell_pool("spawn")


def cell_forkserver():
    return cell_pool("forkserver")


def cell_loky():
    import joblib

    before = answer(0)
    return [before, *joblib.Parallel(2, backend="loky")(joblib.delayed(answer)(seed) for seed in SEEDS), answer(1)]


def cell_joblib_threads():
    import joblib

    fits = (joblib.delayed(answer)(seed, n_threads) for seed in SEEDS for n_threads in (2, 8))
    return [*joblib.Parallel(4, backend="threading")(fits), answer(0)]


def cell_executor():
    """Four fits begin at once, again and again: one of them gets the pool, the others compute alone."""
    together = threading.Barrier(4)

    def fit(i):
        together.wait()
        return answer(i % len(SEEDS), (2, 8)[i % 2]) if i % 4 else long_answer()

    with ThreadPoolExecutor(4) as executor:
        answers = list(executor.map(fit, range(16)))
    return [*answers, answer(0)]


def cell_end_amid_a_run():
    end_while(lambda: train(table(3000, 600), THREADS, 0, 600, epochs=1, batch_size=1500))


def cell_end_amid_small_runs():
    end_while(lambda: answer(0))


def cell_end_amid_one_long_run():
    end_while(lambda: train(table(700, 300), THREADS, 0, 200, epochs=10**6, batch_size=256))


def end_while(task):
    """Leave the interpreter while a daemon thread trains; tell when."""

    def forever():
        while True:
            task()

    threading.Thread(target=forever, daemon=True).start()
    while workers() == 0:
        time.sleep(0.01)
    time.sleep(0.1)
    print(json.dumps(time.time()), flush=True)
    sys.exit()


# ---- running them


def run(cell):
    """What a cell prints, and when its process has ended."""
    paths = [str(Path(fr.__file__).parents[1]), os.environ.get("PYTHONPATH", "")]
    env = {name: value for name, value in os.environ.items() if name != "OMP_NUM_THREADS"}
    env |= {"PYTHONPATH": os.pathsep.join(filter(None, paths)), "OPENBLAS_NUM_THREADS": "1", "PYTHONFAULTHANDLER": "1"}
    command = [sys.executable, *WARNINGS, str(Path(__file__).resolve()), cell]
    pipes = {"stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with subprocess.Popen(command, env=env, text=True, start_new_session=True, **pipes) as process:
        try:
            output, errors = process.communicate(timeout=SECONDS)
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGABRT)  # all that the cell has started: each prints its stacks
            pytest.fail(f"{cell} hangs\n{process.communicate()[1]}")
    assert (process.returncode, errors) == (0, ""), errors
    return json.loads(output), time.time()


@pytest.fixture(scope="module")
def expected():
    answers, _ = run("one_thread")
    bits = {seed: found for seed, found, _ in answers}
    assert len(set(bits.values())) == len(answers) == 1 + len(SEEDS)
    assert all(made in (0, None) for *_, made in answers)
    return bits


@pytest.fixture
def answers_of(expected):
    """Run a cell; return its answers once they are known to have the bits of one thread."""

    def checked(cell):
        answers, _ = run(cell)
        assert [(seed, bits) for seed, bits, _ in answers] == [(seed, expected[seed]) for seed, *_ in answers]
        return answers

    return checked


def made(answers):
    """The numbers of workers; where nobody counts, as many as there should be."""
    return [THREADS - 1 if found is None else found for *_, found in answers]


# ---- processes


@pytest.mark.parametrize(("cell", "answers"), [("fork_before_the_pool", 2), ("fork_after_the_pool", 5)])
def test_a_forked_child_makes_its_own_workers(answers_of, cell, answers):
    assert made(answers_of(cell)) == [THREADS - 1] * answers


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_a_process_pool_may_train(answers_of, method):
    assert made(answers_of(method)) == [THREADS - 1] * (len(SEEDS) + 2)


def test_a_signal_handler_may_fork_within_a_step(answers_of):
    answers = answers_of("fork_within_a_step")
    assert [seed for seed, *_ in answers].count("long") == 1 + FORKS
    assert len(answers) == 1 + FORKS + FORKS // 2 * (1 + len(SEEDS))


def test_a_thread_may_fork_while_another_trains(answers_of):
    answers = answers_of("fork_by_another_thread")
    assert [seed for seed, *_ in answers].count("long") >= 2
    assert made([one for one in answers[1:] if one[0] != "long"]) == [THREADS - 1] * 2 * len(SEEDS)


def test_joblib_may_train_in_processes(answers_of):
    pytest.importorskip("joblib")
    assert len(answers_of("loky")) == len(SEEDS) + 2


# ---- threads


def test_joblib_may_train_in_threads(answers_of):
    pytest.importorskip("joblib")
    answers = answers_of("joblib_threads")
    assert len(answers) == 2 * len(SEEDS) + 1
    assert made(answers[-1:]) == [THREADS - 1]


def test_fits_at_once_share_one_pool(answers_of):
    answers = answers_of("executor")
    assert len(answers) == 17
    assert made(answers[-1:]) == [THREADS - 1]


@pytest.mark.parametrize("what", ["amid_a_run", "amid_small_runs", "amid_one_long_run"])
@pytest.mark.parametrize("again", range(2))
def test_a_process_ends_while_a_daemon_thread_trains(what, again):
    asked, ended = run(f"end_{what}")
    assert ended - asked < PROMPT


if __name__ == "__main__":
    found = globals()[f"cell_{sys.argv[1]}"]()
    print(json.dumps(found))
