"""Augmentation and mixing: exact on small images, random as promised, the same in both engines and by any threads."""

from math import prod

import numpy as np
import pytest

import fastreg as fr
from fastreg import augment, kernels, reference
from fastreg._core.engine import Engine
from fastreg.layout import aligned_zeros
from fastreg.plan import lower
from fastreg.state import State

MODULES = pytest.mark.parametrize("module", [kernels, reference], ids=["kernels", "reference"])
ENGINES = {"compiled": Engine, "reference": reference.Engine}
RNG = np.random.default_rng(7)
X = RNG.normal(size=(90, 48))  # images of 4 by 4 pixels and three channels
LABELS = np.argmax(X[:, :3], axis=1)
WEIGHTS = np.arange(90) % 4 / 2
IMAGE = np.arange(12.0).reshape(3, 4)
EVERY = [  # one of each kind
    fr.RandomFlip(0.5, 0.3), fr.RandomRotate90(), fr.RandomShift(2), fr.RandomCrop(1), fr.CenterCrop(0.5), fr.Cutout(2),
    fr.Brightness(0.5), fr.Contrast(0.5), fr.ColorJitter(), fr.PixelNoise(0.2), fr.RandAugment(2, 7),
    fr.Mixup(0.5, 0.8), fr.CutMix(shape=(4, 4, 3)), fr.CutMix(0.5, 0.7),
]  # fmt: skip


def changed(module, kernel, image, *numbers, count=1, channels=1, **keys):
    """`count` copies of an image of (height, width), each changed by a kernel: (count, height, width)."""
    x = np.repeat(image.reshape(1, -1), count, axis=0)
    out = np.full_like(x, np.nan)
    getattr(module, kernel)(out, x, (*image.shape[:2], channels), *numbers, **{"seed": 5} | keys)
    return out.reshape(count, *image.shape)


def same(images, image):
    return (images == image).all(axis=tuple(range(1, images.ndim)))


def is_probable(count, n, p, sigmas=4.5):
    """Whether `count` of n is what a probability of p gives; by chance not once in 10^5 times."""
    return abs(count - n * p) <= sigmas * np.sqrt(n * p * (1 - p)) + 1e-9


# ---- exact


@MODULES
def test_flips_are_exact(module):
    assert same(changed(module, "random_flip", IMAGE, 1.0, 0.0, count=9), IMAGE[:, ::-1]).all()
    assert same(changed(module, "random_flip", IMAGE, 0.0, 1.0, count=9), IMAGE[::-1]).all()
    assert same(changed(module, "random_flip", IMAGE, 1.0, 1.0, count=9), IMAGE[::-1, ::-1]).all()
    assert same(changed(module, "random_flip", IMAGE, 0.0, 0.0, count=9), IMAGE).all()


@MODULES
def test_channels_stay_together(module):
    image = np.arange(24.0).reshape(3, 4, 2)
    assert same(changed(module, "random_flip", image, 1.0, 0.0, channels=2), image[:, ::-1]).all()


def every(images, *wanted):
    """Whether each image is one of those wanted, and each of those is among them."""
    found = np.stack([same(images, image) for image in wanted])
    return found.any(axis=0).all() and found.any(axis=1).all()


@MODULES
def test_rotations_are_exact(module):
    square = np.arange(9.0).reshape(3, 3)
    for k in range(4):
        assert same(changed(module, "random_rotate", square, 1 << k, count=5), np.rot90(square, k)).all()
    assert every(changed(module, "random_rotate", square, 15, count=99), *(np.rot90(square, k) for k in range(4)))
    assert every(changed(module, "random_rotate", IMAGE, 5, count=99), IMAGE, np.rot90(IMAGE, 2))
    with pytest.raises(ValueError, match="square images"):
        changed(kernels, "random_rotate", IMAGE, 15)


def moved(image, down, right, fill):
    """The image on a large canvas, seen from elsewhere."""
    height, width = image.shape
    canvas = np.pad(image, 9, constant_values=fill)
    return canvas[9 - down : 9 - down + height, 9 - right : 9 - right + width]


@MODULES
def test_shifts_are_exact(module):
    wanted = [moved(IMAGE, down, right, -1.0) for down in (-1, 0, 1) for right in (-2, -1, 0, 1, 2)]
    assert every(changed(module, "random_shift", IMAGE, 1, 2, -1.0, count=400), *wanted)
    far = changed(module, "random_shift", IMAGE, 9, 9, -1.0, count=400)
    seen = [moved(IMAGE, down, right, -1.0) for down in range(-9, 10) for right in range(-9, 10)]
    assert np.stack([same(far, image) for image in seen]).any(axis=0).all()
    assert same(far, np.full_like(IMAGE, -1)).any()  # quite out of sight


@MODULES
def test_crops_and_cutouts_are_exact(module):
    image = np.arange(1.0, 21.0).reshape(4, 5)
    middle = np.full_like(image, 9)
    middle[1:3, 1:4] = image[1:3, 1:4]
    assert every(changed(module, "center_crop", image, 1, 1, 0.5, 9.0, count=60), image, middle)
    wanted = []
    for row in range(4):
        for column in range(5):
            wanted.append(image.copy())
            wanted[-1][max(row - 1, 0) : row + 1, max(column - 1, 0) : column + 1] = 0
    assert every(changed(module, "cutout", image, 2, count=400), *wanted)
    assert same(changed(module, "cutout", image, 0, count=9), image).all()


@MODULES
def test_light_is_changed_by_its_formulas(module):
    image = RNG.normal(size=(3, 4)) + 2
    brighter = changed(module, "color_jitter", image, 0.5, count=500) - image
    assert np.ptp(brighter, axis=(1, 2)).max() < 1e-14
    assert -0.5 < brighter.min() < -0.48 < 0.48 < brighter.max() < 0.5
    stronger = (changed(module, "color_jitter", image, 0.0, 0.3, count=500) - image.mean()) / (image - image.mean())
    assert np.ptp(stronger, axis=(1, 2)).max() < 1e-12
    assert 0.7 < stronger.min() < 0.72 < 1.28 < stronger.max() < 1.3
    colors = RNG.normal(size=(2, 3, 3))
    grey = (colors @ [0.299, 0.587, 0.114])[..., None]
    saturated = (changed(module, "color_jitter", colors, 0.0, 0.0, 0.3, count=500, channels=3) - grey) / (colors - grey)
    assert np.ptp(saturated, axis=(1, 2, 3)).max() < 1e-11
    assert 0.7 < saturated.min() < 0.72 < 1.28 < saturated.max() < 1.3


@MODULES
def test_noise_is_normal_and_each_number_has_its_own(module):
    noise = changed(module, "pixel_noise", np.full((20, 30), 7.0), 0.5, count=40) - 7
    assert abs(noise.mean()) < 4 * 0.5 / np.sqrt(noise.size)
    assert noise.std() == pytest.approx(0.5, rel=4 / np.sqrt(2 * noise.size))
    assert is_probable((np.abs(noise) > 1).sum(), noise.size, 0.0455003)
    assert len(np.unique(noise)) > 0.99 * noise.size
    assert abs(np.corrcoef(noise[:-1].ravel(), noise[1:].ravel())[0, 1]) < 0.03


@MODULES
def test_rand_augment_does_each_of_its_nine_ways_as_often(module):
    image = RNG.normal(size=(20, 20)) + 3
    made, n = changed(module, "rand_augment", image, 0.5, count=3000), 3000
    assert is_probable(same(made, image).sum(), n, 2 / 9)  # nothing, and the saturation of what has no colours
    for sign in (-1, 1):
        for down, right in ((sign * 4, 0), (0, sign * 4)):  # of 4.5, to even
            assert is_probable(same(made, moved(image, down, right, 0.0)).sum(), n, 1 / 18)
        assert is_probable(same(made, image * (1 + sign * 0.45)).sum(), n, 1 / 18)
    np.testing.assert_allclose(changed(module, "rand_augment", image, 0.0, count=50), image[None].repeat(50, 0))


@MODULES
def test_boxes_and_columns_are_kept_in_their_share(module):
    keep = np.empty(6 * 10 * 3)
    for step in range(200):
        share = module.cutmix(keep, (6, 10, 3), 0.7, seed=1, step=step)
        image = keep.reshape(6, 10, 3)
        assert share == pytest.approx(keep.mean())
        assert share >= 1 - 0.3 - 1e-9
        assert (image == image[..., :1]).all()
        rows, columns = (image == 0).any(axis=(1, 2)), (image == 0).any(axis=(0, 2))
        assert (image[..., 0] == 0).sum() == rows.sum() * columns.sum()  # one box
    wide = np.empty(20_000)
    share = module.cutmix_features(wide, (1, 20_000, 1), 0.7, seed=1)
    assert share == wide.mean()
    assert is_probable(wide.sum(), 20_000, 0.7)
    assert set(wide) == {0, 1}


@MODULES
def test_a_blend_of_whole_shares_has_the_bits_of_its_rows(module):
    x, partner, keep = RNG.normal(size=(5, 9)), RNG.normal(size=(5, 9)), (np.arange(9) % 2).astype(float)
    out = np.empty_like(x)
    module.blend(out, x, partner, keep)
    assert np.array_equal(out, np.where(keep == 1, x, partner))


# ---- random as promised


@MODULES
def test_flips_have_their_probabilities_and_are_independent(module):
    flipped, n = changed(module, "random_flip", IMAGE, 0.3, 0.6, count=4000), 4000
    for image, p in ((IMAGE, 0.7 * 0.4), (IMAGE[:, ::-1], 0.3 * 0.4), (IMAGE[::-1], 0.7 * 0.6)):
        assert is_probable(same(flipped, image).sum(), n, p)


@MODULES
def test_the_fate_of_a_row_is_a_function_of_seed_epoch_number_and_row(module):
    keys = {"seed": 2**63, "epoch": 2**32 - 1, "number": 3}
    whole, rows = changed(module, "random_flip", IMAGE, count=64, **keys), np.arange(64)[::-3].copy()
    part = changed(module, "random_flip", IMAGE, count=len(rows), rows=rows, **keys)
    assert np.array_equal(part, whole[rows])
    for key in keys:
        other = changed(module, "random_flip", IMAGE, count=64, **keys | {key: 1})
        assert not np.array_equal(other, whole)


@pytest.mark.parametrize("alpha", [0.05, 0.2, 1.0, 4.0])
def test_shares_are_beta_distributed(alpha):
    stats = pytest.importorskip("scipy.stats")
    shares = np.array([kernels.mixing(alpha, 1.0, 9, seed=3, step=step)[0] for step in range(3000)])
    edges = np.array([0.5, 20.5, *(np.arange(1, 16) * 4096 + 0.5), 65515.5, 65535.5]) / 65536  # where it is rounded
    expected = 3000 * np.diff(stats.beta(alpha, alpha).cdf(edges), prepend=0, append=1)
    counts = np.diff(np.searchsorted(np.sort(shares), edges), prepend=0, append=3000)
    enough = expected >= 5
    counts, expected = (np.append(each[enough], each[~enough].sum()) for each in (counts, expected))
    kept = expected > 0
    assert stats.chisquare(counts[kept], expected[kept]).pvalue > 1e-3
    assert (65536 * shares % 1 == 0).all()


def test_partners_are_any_other_row_and_some_batches_stay_unmixed():
    drawn = [kernels.mixing(1.0, 0.3, 5, seed=3, step=step) for step in range(4000)]
    shifts = np.array([shift for share, shift in drawn if shift])
    assert is_probable(len(shifts), 4000, 0.3)
    assert all(is_probable((shifts == shift).sum(), len(shifts), 0.25) for shift in range(1, 5))
    assert kernels.mixing(1.0, 1.0, 1, seed=3) == (1.0, 0)


@pytest.mark.parametrize("alpha", [1e-3, 0.2, 1.0, 30.0])
def test_mixing_equals_its_twin(alpha):
    for step in range(300):
        arguments = alpha, 0.9, 17
        assert kernels.mixing(*arguments, seed=step, step=step << 33) == reference.mixing(
            *arguments, seed=step, step=step << 33
        )


@pytest.mark.parametrize("bad", [(0.0, 1.0, 3), (1.0, 1.5, 3), (1.0, 1.0, -1)])
def test_mixing_refuses_what_means_nothing(bad):
    with pytest.raises(ValueError, match="mixing takes"):
        kernels.mixing(*bad, seed=0)


@MODULES
def test_the_loss_of_mixed_targets_is_that_of_both_rows_in_their_shares(module):
    z, partner, share = RNG.normal(size=(20, 3)), np.roll(np.arange(20), -7), 0.3
    targets = np.eye(3)[RNG.integers(0, 3, 20)]
    weights = WEIGHTS[:20].copy()
    mixed, mass = np.empty_like(targets), np.empty(20)
    module.blend_targets(mixed, targets, targets[partner], share, mass, weights, weights[partner])
    both = share * module.cross_entropy(None, z, targets, weights)
    both += (1 - share) * module.cross_entropy(None, z, targets[partner], weights[partner])
    assert module.cross_entropy(None, z, mixed, mass) == pytest.approx(both, rel=1e-12)
    assert mass.sum() == pytest.approx(weights.sum())
    assert np.isfinite(mixed).all()


# ---- in training


def network(engine="compiled", dtype="float64", **settings):
    layers = [fr.Dropout(0.2), fr.Dense(16, "relu"), fr.Dense(3)]
    return fr.Network(layers, loss="cross_entropy", seed=3, engine=engine, dtype=dtype, **settings)


def trained(engine="compiled", epochs=6, y=LABELS, **settings):
    net = network(engine)
    net.fit(X, y, **{"epochs": epochs, "batch_size": 32, "augment": EVERY} | settings)
    return np.concatenate([values.ravel() for values in net.parameters.values()])


@pytest.mark.parametrize("kind", EVERY, ids=lambda kind: type(kind).__name__)
@pytest.mark.parametrize("weights", [None, WEIGHTS])
def test_engines_agree(kind, weights):
    results = [trained(engine, augment=[kind], sample_weight=weights) for engine in ENGINES]
    np.testing.assert_allclose(*results, rtol=1e-9, atol=1e-11)
    assert not np.allclose(results[0], trained(augment=(), sample_weight=weights))


def test_all_at_once_agree_and_labels_are_their_one_hot_matrix():
    results = [
        trained(engine, y=y, augment=EVERY + EVERY[:2]) for engine in ENGINES for y in (LABELS, np.eye(3)[LABELS])
    ]
    np.testing.assert_array_equal(results[0], results[1])
    for result in results[2:]:
        np.testing.assert_allclose(result, results[0], rtol=1e-9, atol=1e-11)


def test_two_fits_have_the_bits_of_one():
    net, whole = network(), trained()
    for _ in range(2):
        net.fit(X, LABELS, epochs=3, batch_size=32, augment=EVERY)
    np.testing.assert_array_equal(np.concatenate([v.ravel() for v in net.parameters.values()]), whole)


def test_validation_and_evaluate_see_the_rows_as_they_are():
    net = network()
    history = net.fit(X, LABELS, epochs=2, augment=EVERY, validation=(X, LABELS), metrics=["accuracy"])
    figures = net.evaluate(X, LABELS, metrics=["accuracy"])
    assert history["val_loss"][-1] == figures["loss"]
    assert history["accuracy"][-1] == history["val_accuracy"][-1] == figures["accuracy"]


def problem(augmentations, rows=500, side=40, dtype="float32"):
    """A plan on images large enough to be shared by threads, and its data."""
    rng, n = np.random.default_rng(0), side * side
    layers = [fr.Dense(8, "relu"), fr.Dense(3)]
    plan = lower(layers, "cross_entropy", n, dtype, optimizer=fr.SGD(0.1), labels=True, augment=tuple(augmentations))
    start = aligned_zeros(plan.layout.size, plan.dtype)
    start[...] = rng.normal(size=start.size) / side
    targets, weights = rng.integers(0, 3, rows).astype(np.int32), rng.uniform(size=rows).astype(dtype)
    return plan, start, (rng.normal(size=(rows, n)).astype(dtype), targets, weights)


def run(plan, params, data, threads=1, batch=300):
    order = np.random.default_rng(1).permutation(len(data[0]))
    bounds = np.array([0, batch, len(order)])
    results = np.empty((2, 3))
    engine, state = Engine(plan, params.copy()), State.after(None, plan, fr.SGD(0.1))
    engine.run(*data, order, bounds, np.full(2, 0.1), state, results, seed=1, step=5, epochs=np.array([3, 4]),
               threads=threads)  # fmt: skip
    return results.tobytes() + engine.params.tobytes()


def test_bits_do_not_depend_on_threads():
    augmentations = [each for each in EVERY if not isinstance(each, fr.ColorJitter)]
    arguments = problem([*augmentations[:-2], fr.CutMix(shape=(40, 40)), fr.CutMix()], rows=400)
    assert len({run(*arguments, threads=threads) for threads in (1, 2, 3, 5)}) == 1


def test_gradient_is_of_the_augmented_batch_in_both_engines():
    plan, params, data = problem([fr.RandomFlip(0.5, 0.5), fr.Mixup(1.0)], rows=20, side=5, dtype="float64")
    gradients = []
    for engine in ENGINES.values():
        gradient = np.empty_like(params)
        loss = engine(plan, params)
        gradients.append(np.append(gradient, loss.gradient(gradient, *data, seed=3, step=9)))
        gradients[-1][:-1] = gradient
    np.testing.assert_allclose(*gradients, rtol=1e-10, atol=1e-13)


def test_sparse_rows_and_inference_are_refused_by_such_a_plan():
    plan, params, data = problem([fr.Mixup()], rows=20, side=4)
    with pytest.raises(ValueError, match="for training alone"):
        Engine(plan, params).evaluate(*data)
    sparse = fr.csr.CSR(np.ones(1, np.float32), np.zeros(1, np.int32), np.array([0, 1]), 16)
    with pytest.raises(ValueError, match="sparse rows cannot be augmented"):
        Engine(plan, params).gradient(np.empty_like(params), sparse, data[1][:1])
    state = State.after(None, plan, fr.SGD(0.1))
    with pytest.raises(ValueError, match="epochs must have 2 entries"):
        Engine(plan, params).run(*data, np.arange(20), np.array([0, 9, 20]), np.full(2, 0.1), state, np.empty((2, 3)),
                                 seed=1, step=5, epochs=np.array([3]))  # fmt: skip


# ---- settings


def test_square_images_of_one_or_three_channels_need_no_shape():
    assert augment.as_image(None, 784) == (28, 28, 1)
    assert augment.as_image(None, 3072) == (32, 32, 3)
    assert augment.as_image((2, 6), 12) == (2, 6, 1)
    assert augment.as_image((2, 3, 2), 12) == (2, 3, 2)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: fr.RandomFlip(1.5), "RandomFlip horizontal must be"),
        (lambda: fr.RandomFlip(shape=(4,)), "RandomFlip shape must be"),
        (lambda: fr.RandomFlip(shape=(4, 0)), "RandomFlip shape must be"),
        (lambda: fr.Mixup(0), "Mixup alpha must be"),
        (lambda: fr.Mixup(1, 2), "Mixup probability must be"),
        (lambda: trained(augment=fr.Mixup()), "augment must be a list"),
        (lambda: trained(augment=[fr.Mixup]), r"augment\[0\] is .* no callable"),
        (lambda: trained(augment=["flip"]), r"augment\[0\] is 'flip', no callable"),
        (lambda: fr.RandomRotate90((0, 45)), "RandomRotate90 angles must be"),
        (lambda: fr.RandomRotate90(()), "RandomRotate90 angles must be"),
        (lambda: fr.RandomRotate90(shape=(2, 24)).changes(48), r"images of 2 x 24 pixels .* use angles=\(0, 180\)"),
        (lambda: fr.RandomShift(-1), "RandomShift pixels must be"),
        (lambda: fr.RandomCrop(1.5), "RandomCrop padding must be"),
        (lambda: fr.CenterCrop(0), "CenterCrop fraction must be"),
        (lambda: fr.Cutout(fill=float("nan")), "Cutout fill must be"),
        (lambda: fr.Brightness(-1), "Brightness delta must be"),
        (lambda: fr.ColorJitter().changes(16), "ColorJitter is for 3 channels, these images have 1"),
        (lambda: fr.PixelNoise(-1), "PixelNoise sigma must be"),
        (lambda: fr.RandAugment(0), "RandAugment n must be"),
        (lambda: fr.RandAugment(1, 11), "RandAugment magnitude must be"),
        (lambda: augment.apply(X, fr.Mixup()), "mixes the rows of a batch"),
        (lambda: augment.apply(X.reshape(-1, 6, 8), [fr.Mixup()]), "mixes the rows of a batch"),
        (lambda: augment.apply(X.reshape(-1, 6, 8), [fr.CutMix()]), "mixes the rows of a batch"),
        (lambda: fr.RandomShift(2**40), r"RandomShift pixels must be an int in 0\.\.2147483647, got 1099511627776$"),
        (lambda: fr.Cutout(2**31), r"Cutout size must be an int in 0\.\.2147483647, got 2147483648$"),
        (lambda: augment.apply(X, ["flip"]), "'flip' is no augmentation"),
        (lambda: augment.apply(X[0], fr.RandomFlip()), "images must be"),
        (lambda: trained(augment=[fr.RandomFlip(shape=(3, 4))]), r"shape=\(3, 4\), but the rows have 48 columns"),
        (lambda: augment.as_image(None, 20), r"pass shape=\(height, width"),
    ],
)
def test_wrong_settings_are_refused(make, message):
    with pytest.raises(ValueError, match=message):
        make()


def test_an_augmentation_without_changes_says_what_is_missing():
    with pytest.raises(NotImplementedError, match="must return a tuple of Change"):
        augment.Augmentation().changes(4)
    assert prod(augment.Image(2, 3, 4)) == 24


# ---- by hand


def test_applied_by_hand_images_are_those_of_the_training():
    images = X.reshape(90, 4, 4, 3)
    several = [fr.RandomFlip(), fr.RandomShift(1), fr.ColorJitter()]
    made = augment.apply(images, several, seed=3, epoch=2)
    np.testing.assert_array_equal(made.reshape(90, 48), augment.apply(X, several, seed=3, epoch=2))
    expected, spare = X.copy(), np.empty_like(X)
    for number, change in enumerate(change for each in several for change in each.changes(48)):
        getattr(reference, change.kernel)(
            spare, expected, change.image, *change.numbers, seed=3, epoch=2, number=number
        )
        expected, spare = spare, expected
    np.testing.assert_allclose(made.reshape(90, 48), expected, rtol=1e-12, atol=1e-12)
    assert augment.apply(np.arange(16, dtype=np.uint8).reshape(1, 4, 4), fr.RandomFlip(1)).tolist() == [
        np.arange(16).reshape(4, 4)[:, ::-1].tolist()
    ]


def test_apply_is_what_the_network_sees():
    """One epoch on augmented rows, shuffled as ever, has the bits of a training that augments."""
    seen = augment.apply(X, fr.RandomFlip(), seed=3)
    net = network()
    net.fit(seen, LABELS, epochs=1, batch_size=32)
    own = np.concatenate([values.ravel() for values in net.parameters.values()])
    np.testing.assert_array_equal(own, trained(epochs=1, augment=[fr.RandomFlip()]))


# ---- functions of the user's own


def jitter(X, y, rng):
    return X + 0.1 * rng.normal(size=X.shape), y


def test_functions_are_called_once_an_epoch_on_the_whole_table_before_all_else():
    calls = []

    def note(X, y, rng):
        calls.append((X.shape, y.shape, X.flags.writeable, rng.integers(1 << 62)))
        return X * 2, y

    result = trained(augment=[fr.RandomFlip(), note], epochs=3)
    assert [call[:3] for call in calls] == [((90, 48), (90,), False)] * 3
    assert len({call[3] for call in calls}) == 3
    net = network()
    net.fit(2 * X, LABELS, epochs=3, batch_size=32, augment=[fr.RandomFlip()])
    np.testing.assert_array_equal(result, np.concatenate([v.ravel() for v in net.parameters.values()]))


def test_functions_get_the_same_numbers_again_and_others_each_for_itself():
    np.testing.assert_array_equal(trained(augment=[jitter]), trained(augment=[jitter]))
    assert not np.array_equal(trained(augment=[jitter]), trained(augment=[jitter, jitter]))


def test_targets_and_weights_go_with_the_rows():
    y = X[:, :2].copy()

    def swap(X, y, rng):
        assert y.shape == (90, 2)
        return X[::-1], y[::-1]

    nets = [fr.Network([fr.Dense(2)], loss="squared_error", seed=1, dtype="float64") for _ in range(2)]
    nets[0].fit(X, y, epochs=2, augment=[swap], sample_weight=WEIGHTS, shuffle=False)
    nets[1].fit(X[::-1], y[::-1], epochs=2, sample_weight=WEIGHTS, shuffle=False)
    assert nets[0].parameters["0.weight"].tobytes() == nets[1].parameters["0.weight"].tobytes()


@pytest.mark.parametrize(
    ("function", "message"),
    [
        (lambda X, y, rng: X, r"must return a pair \(X, y\)"),
        (lambda X, y, rng: (X[1:], y[1:]), "was given 90 rows"),
        (lambda X, y, rng: (X, np.eye(3)[y]), "kind of targets must stay"),
        (lambda X, y, rng: (X[:, 1:], y), "47 features"),
        (lambda X, y, rng: (X * np.nan, y), "X of <lambda> contains NaN"),
        (lambda X, y, rng: (X, y + 3), "y of <lambda>.* out of range"),
    ],
)
def test_what_functions_return_is_checked(function, message):
    with pytest.raises(ValueError, match=message):
        trained(augment=[function])


@pytest.mark.parametrize("engine", ["compiled", "reference"])
def test_own_functions_leave_weights_and_class_weights(engine):
    """Of a function that changes nothing, nothing may be seen."""
    figures = []
    for functions in ([], [lambda X, y, rng: (X.copy(), y.copy())]):
        net = fr.Network([fr.Dense(5, "relu"), fr.Dense(3)], loss="cross_entropy", seed=1, engine=engine)
        y = np.minimum(np.arange(len(X)) % 9, 2)
        history = net.fit(X, y, epochs=3, class_weight="balanced", sample_weight=WEIGHTS, augment=functions)
        figures.append(history["loss"])
    assert figures[0] == figures[1]
