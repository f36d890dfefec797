"""Least squares by Levenberg and Marquardt, for all resamples of a series at once."""

import numpy as np

STEPS = 80
# No row has gained more than this part for so many steps: done.
GAIN, PATIENCE = 1e-10, 4
# Keeps exp() of a parameter or of a trial step finite.
LARGEST_LOG = 200.0


def fit(law, x, Y):
    """Return parameters (B, P) and sums of squares (B,) of the law for each row of Y, shape (B, K)."""
    starts = np.asarray(law.starts(x, Y[0]), dtype=float)  # (S, P)
    one = _descend(law, x, np.repeat(Y[:1], len(starts), axis=0), starts)
    best = one[0][np.nanargmin(one[1])]
    # The resamples are close to the sample: its solution is their start.
    return _descend(law, x, Y, np.repeat(best[None], len(Y), axis=0))


def _descend(law, x, Y, theta):
    """Levenberg-Marquardt for all rows at once, with difference quotients."""
    theta, P = theta.copy(), theta.shape[1]
    damping = np.full(len(theta), 1e-2)

    def residuals(theta):
        with np.errstate(all="ignore"):
            value = law.log_value(x, np.clip(theta, -LARGEST_LOG, LARGEST_LOG)[..., None]) - Y
        return np.where(np.isfinite(value), value, 1e6)

    r = residuals(theta)
    squares = (r**2).sum(axis=1)
    quiet = 0
    for _ in range(STEPS):
        h = 1e-6 * np.maximum(1e-3, np.abs(theta))
        J = np.stack(
            [(residuals(theta + h * (np.arange(P) == j)) - r) / h[:, j : j + 1] for j in range(P)], -1
        )
        H = np.einsum("bkp,bkq->bpq", J, J)
        scale = np.einsum("bpp->bp", H) + 1e-12
        H = H + (damping[:, None] * scale)[:, :, None] * np.eye(P)
        step = np.linalg.solve(H, np.einsum("bkp,bk->bp", J, r)[..., None])[..., 0]
        trial = theta - np.clip(step, -5, 5)
        r_trial = residuals(trial)
        s_trial = (r_trial**2).sum(axis=1)
        good = s_trial < squares
        gained = (squares - s_trial > GAIN * squares + 1e-20).any()
        quiet = 0 if gained else quiet + 1
        if quiet > PATIENCE:
            break
        theta[good], r[good], squares[good] = trial[good], r_trial[good], s_trial[good]
        damping = np.clip(np.where(good, damping / 5, damping * 4), 1e-12, 1e8)
    return theta, squares
