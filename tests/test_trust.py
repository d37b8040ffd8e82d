"""The proofs of trust in small: damaged files, broken saves, killed trainings. `make fuzz` and `make kills` do more."""

import os
import shutil
import sys
from collections import Counter

import pytest

import fastreg as fr
import fuzz_files
import kill_runs
import kill_saves
from fastreg import files


@pytest.fixture(scope="module")
def sources():
    return fuzz_files.originals()


# ---- damaged and forged files


@pytest.mark.parametrize("reader", [fr.load, fuzz_files.resume])
def test_damaged_and_forged_files_are_refused_or_sound(sources, reader):
    sources = [source for source in sources if fuzz_files.reader(source) is reader]
    assert len(sources) == 4
    counts, bad = fuzz_files.examine(range(3000), 1, sources)
    assert bad == []
    assert counts["refused"] > 2500
    assert counts["sound"] > 10  # some forgeries are networks, or nothing would look for silent changes


def test_info_refuses_them_too(sources, tmp_path):
    refused = 0
    for number in range(1000):
        (tmp_path / "m.frg").write_bytes(fuzz_files.mutant(2, number, sources)[0])
        try:
            assert "checksum ok" in files.info(tmp_path / "m.frg")
        except fr.ModelFileError:
            refused += 1
    assert 800 < refused < 1000


def test_every_change_changes_something(sources):
    """Damages and forgeries that leave the bytes alone would prove nothing."""
    for change in fuzz_files.DAMAGES:
        rngs = [fuzz_files.random.Random(number) for number in range(20)]
        assert sum(change(rng, sources[1]) != sources[1] for rng in rngs) > 10, change.__name__
    header = fuzz_files.container.strict.parse(sources[1][16 : 16 + int.from_bytes(sources[1][12:16], "little")])
    text = fuzz_files.json.dumps(header)
    for change in fuzz_files.FORGERIES:
        rngs = [fuzz_files.random.Random(number) for number in range(20)]
        texts = [change(rng, fuzz_files.json.loads(text)) for rng in rngs]
        assert sum(t not in (text, text.encode()) for t in texts) > 10, change.__name__


@pytest.mark.parametrize("kind", ["models", "checkpoints"])
@pytest.mark.parametrize("word", ["other", "silent"])
def test_what_goes_wrong_is_found(sources, word, kind):
    sources = sources[:4] if kind == "models" else sources[4:]
    assert fuzz_files.examine(range(300), 1, sources, load=fuzz_files.CONTROL[word])[0][word] > 0


@pytest.mark.parametrize("word", ["death", "hang"])
def test_a_child_that_ends_or_hangs_is_found(word):
    counts, bad, _ = fuzz_files.in_child(5, 7, 1, load=word, patience=3.0)
    assert counts == Counter({word: 2})
    assert bad == [(5, word), (6, word)]


def test_a_child_counts_and_measures():
    counts, bad, memory = fuzz_files.in_child(0, 200, 1)
    assert (counts.total(), bad) == (200, [])
    assert memory < fuzz_files.LIMIT
    assert memory > 0 or sys.platform != "linux"


def test_memory_is_seen(sources, tmp_path):
    if sys.platform != "linux":
        pytest.skip("resident sets are read from Linux")
    (tmp_path / "m.frg").write_bytes(b"no file of fastreg")

    def load(path):
        bytearray(100 << 20)
        return fr.load(path)

    assert fuzz_files.judge(tmp_path / "m.frg", False, False, load)[1] > 90 << 20


# ---- saves that are ended, or fail

needs_strace = pytest.mark.skipif(shutil.which("strace") is None, reason="strace ends and fails the system calls")


@pytest.fixture(params=kill_saves.SAVERS)
def place(request, tmp_path):
    return kill_saves.Place(tmp_path, request.param)


@needs_strace
def test_a_save_that_is_ended_leaves_a_whole_file(place):
    results = list(kill_saves.kills(place))
    assert [result for result in results if result[2] != "ok"] == []
    assert {point.split()[0] for point, _, _ in results} == set(kill_saves.CALLS)
    assert {what.split()[0] for _, what, _ in results} == {"previous", "new"}


@needs_strace
def test_a_full_disk_keeps_the_previous_file(place):
    results = list(kill_saves.failures(place, ["ENOSPC"]))
    assert [result for result in results if result[2] != "ok"] == []
    assert {point.split()[0] for point, _, _ in results} == set(kill_saves.CALLS)


@needs_strace
def test_a_naive_saver_is_found_out(tmp_path):
    place = kill_saves.Place(tmp_path, "naive")
    assert "torn" in [word for _, _, word in kill_saves.kills(place)]
    assert all(word != "ok" for _, _, word in kill_saves.failures(place, ["ENOSPC"]))


# ---- trainings that are killed, and resumed


@pytest.mark.skipif(os.name != "posix", reason="a process is killed by a signal")
def test_killed_and_resumed_a_training_ends_in_the_same_bits():
    words = kill_runs.examine(12)
    assert len(words) == len(kill_runs.OPTIMIZERS) * len(kill_runs.TRAININGS)
    assert set(map(repr, words.values())) == {repr(Counter(identical=2))}


@pytest.mark.skipif(os.name != "posix", reason="a process is killed by a signal")
def test_a_training_that_ends_otherwise_is_found(tmp_path):
    other = kill_runs.said(kill_runs.process("train", "dropout", "Adam", 1))
    expected = kill_runs.said(kill_runs.process("train", "dropout", "Nesterov", 1))
    words = [kill_runs.attempt(kill_runs.random.Random(0), "dropout", "Adam", e, tmp_path) for e in (other, expected)]
    assert words == ["identical", "different"]
