"""Fingerprints of the registered families: does a seed give the same matrices on this machine?

``python -m neuinv.gallery.fingerprint`` compares; with ``--write`` it replaces the committed
numbers, which is right only after a family was changed on purpose.
"""

import argparse
import json
import sys
from pathlib import Path

import torch

from neuinv.gallery.registry import family

FILE = Path(__file__).with_name("fingerprints.json")
TOLERANCE = 1e-9  # relative to the norm of the matrix
# a family that trains a network carries each rounding through all its steps
TOLERANCES = {"kfac": 1e-6}
BATCH = 3
SEED = 20

# the second setting of each family takes the branches that the defaults leave out
SETTINGS = {
    "diagonally-dominant": ({}, {"n": 5, "signs": "random"}),
    "fem-convection": ({}, {"mesh": 4, "nu_min": 1e-4, "nu_max": 1e-2}),
    "fem-darcy": ({}, {"mesh": 4, "spread": 2.0}),
    "fem-helmholtz": ({}, {"mesh": 4, "k_min": 1.0, "k_max": 9.0}),
    "gaussian": ({}, {"n": 5, "shift": 1.5}),
    "graph-resolvent": ({}, {"graph": "florentine", "z_min": -1.0, "z_max": 1.0}),
    "grcar": ({}, {"n": 7, "bands": 2}),
    "hilbert": ({}, {"n": 9}),
    "kernel": ({}, {"n": 12, "table": "wine", "nugget": 1e-4}),
    "kfac": ({}, {"factor": "gradient", "width": 8, "steps": 20, "damping": 1e-3}),
    "line": ({}, {"n": 5, "crosses": False, "line_seed": 3}),
    "markov": ({}, {"lake": "4x4", "gamma_min": 0.95, "gamma_max": 0.999}),
    "massive-mimo": ({}, {"users": 4, "aspect": 1.25, "correlation": 0.5, "ridge": 0.1}),
    "poisson": ({}, {"n": 9, "dimension": 2}),
    "power-grid-ac": ({}, {"low": 1.0, "high": 3.0, "common": True}),
    "power-grid-dc": ({}, {"case": 57, "spread": 0.2}),
    "prescribed-spectrum": ({}, {"n": 5, "kind": "det-positive", "spacing": "clustered"}),
    "scaled-identity": ({}, {"n": 3, "low": -1.0, "high": 1.0}),
    "shift": ({}, {"n": 5, "c_max": 0.25}),
    "toeplitz": ({}, {"n": 5, "kind": "random"}),
    "uniform": ({}, {"n": 3, "half_width": 1.0, "min_abs_det": 0.1}),
    "unit-det": ({}, {"n": 5, "kappa": 100.0}),
    "wilson-dirac": ({}, {"side": 3, "mass_min": -1.5, "mass_max": -0.5, "beta": 0.5}),
    "wishart": ({}, {"n": 5, "aspect": 1.0, "ridge": 0.1}),
}


def fingerprint(A):
    """Return a few numbers that tell batches of matrices apart.

    Parameters
    ----------
    A : Tensor, shape (batch, n, n)
        float64.

    Returns
    -------
    dict
        ``shape``, and per matrix its Frobenius ``norm``, two weighted ``sums`` of all entries
        with weights between -1 and 1, and the entries at the four ``corners``.
    """
    flat = A.flatten(1)
    place = torch.arange(1, flat.shape[1] + 1, dtype=torch.float64)
    weights = torch.stack([torch.cos(place), torch.sin(place * 2**0.5)])
    corners = A[:, [0, 0, -1, -1], [0, -1, 0, -1]]
    return {
        "shape": list(A.shape),
        "norm": flat.norm(dim=1).tolist(),
        "sums": (flat @ weights.mT).tolist(),
        "corners": corners.tolist(),
    }


def same(found, wanted, tolerance=TOLERANCE):
    """Whether two fingerprints agree up to ``tolerance`` times the norm of each matrix."""
    if found["shape"] != wanted["shape"]:
        return False
    scale = torch.tensor(wanted["norm"], dtype=torch.float64)
    for key in ("norm", "sums", "corners"):
        ours, theirs = (torch.tensor(side[key], dtype=torch.float64) for side in (found, wanted))
        difference = ours - theirs
        if not (difference.reshape(len(scale), -1).abs() <= tolerance * scale[:, None]).all():
            return False
    return True


def differing(found, wanted):
    """Return the settings whose fingerprints differ by more than their family's tolerance, or lack one.

    Parameters
    ----------
    found, wanted : dict
        Fingerprints by setting, as :func:`compute` and :func:`committed` return them.

    Returns
    -------
    list of str
    """
    keys = []
    for key in sorted(set(found) | set(wanted)):
        tolerance = TOLERANCES.get(key.split(" ")[0], TOLERANCE)
        if key not in found or key not in wanted or not same(found[key], wanted[key], tolerance):
            keys.append(key)
    return keys


def setting_name(name, parameters):
    """Return the key of a setting in the file."""
    return f"{name} {json.dumps(parameters, sort_keys=True)}"


def compute():
    """Return the fingerprints of all settings, a dict."""
    return {
        setting_name(name, parameters): fingerprint(family(name, **parameters).sample(BATCH, seed=SEED))
        for name, settings in SETTINGS.items()
        for parameters in settings
    }


def committed():
    """Return the committed fingerprints, a dict."""
    return json.loads(FILE.read_text())


def main(arguments=None):
    """Compare or write the fingerprints; return 1 when one differs."""
    parser = argparse.ArgumentParser(prog="python -m neuinv.gallery.fingerprint", description=__doc__)
    parser.add_argument("--write", action="store_true", help="replace the committed numbers")
    if parser.parse_args(arguments).write:
        lines = ",\n".join(f"{json.dumps(key)}: {json.dumps(value)}" for key, value in compute().items())
        FILE.write_text("{\n" + lines + "\n}\n")
        return 0
    different = differing(compute(), committed())
    for key in different:
        sys.stderr.write(f"{key} differs from its committed fingerprint.\n")
    return 1 if different else 0


if __name__ == "__main__":
    sys.exit(main())
