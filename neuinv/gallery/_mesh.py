"""The triangulated unit square that the finite-element families share."""

from functools import lru_cache


@lru_cache(maxsize=8)
def unit_square(mesh):
    """Return linear elements on the unit square, cut into ``mesh`` x ``mesh`` squares of two triangles.

    Parameters
    ----------
    mesh : int
        Squares along each side.

    Returns
    -------
    basis : skfem.Basis
    inside : ndarray of int, shape ((mesh - 1)^2,)
        The interior nodes, row by row.
    """
    import numpy as np
    import skfem

    ticks = np.linspace(0, 1, mesh + 1)
    triangles = skfem.MeshTri.init_tensor(ticks, ticks)
    inside = triangles.interior_nodes()
    # the order of skfem's nodes is an accident of its mesh generator; rows of the grid are not
    x, y = triangles.p[:, inside]
    order = np.lexsort((np.round(x * mesh), np.round(y * mesh)))
    return skfem.Basis(triangles, skfem.ElementTriP1()), inside[order]
