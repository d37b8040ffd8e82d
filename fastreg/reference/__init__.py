"""The plan's second interpreter: pure NumPy, in place. Oracle of every test, and the honest baseline.

Each kernel of `fastreg.kernels` has its twin here, with the same name, signature and meaning; `Engine` is
the twin of the compiled engine. Arrays must be C-contiguous; outputs come first and are written in place.
"""

from fastreg.reference.augment import *  # noqa: F403  (the same)
from fastreg.reference.engine import Engine as Engine
from fastreg.reference.kernels import *  # noqa: F403  (every public function there is a twin)
from fastreg.reference.mix import *  # noqa: F403
from fastreg.reference.noise import drop_path as drop_path
from fastreg.reference.noise import feature_mask as feature_mask
from fastreg.reference.noise import gaussian_noise as gaussian_noise
from fastreg.reference.noise import multiplicative_noise as multiplicative_noise
from fastreg.reference.noise import swap_noise as swap_noise
from fastreg.reference.philox import dropout as dropout
from fastreg.reference.philox import dropout_mask as dropout_mask
from fastreg.reference.philox import random_words as random_words
from fastreg.reference.philox import shuffle as shuffle
