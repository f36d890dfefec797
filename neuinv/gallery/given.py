"""``GivenMatrices``: a finite family, the matrices of a file or a tensor."""

import torch

from neuinv._checks import check_matrices
from neuinv.gallery.base import MatrixFamily
from neuinv.gallery.facts import Facts
from neuinv.gallery.files import read_matrices
from neuinv.gallery.registry import FamilySpec


class GivenMatrices(MatrixFamily):
    """The family of finitely many given matrices, drawn without replacement.

    It declares no tags and no bounds: nothing is known of it but its members.

    Parameters
    ----------
    matrices : Tensor, shape (n, n) or (count, n, n)
        The members; copied, in float64 on the CPU.
    name : str
        What to call the family.

    Attributes
    ----------
    matrices : Tensor, shape (count, n, n)
        All members, float64.
    count : int
        How many.
    stored_dtype : torch.dtype
        Of the matrices as they were given or stored.

    Raises
    ------
    TypeError, ValueError
        No batch of finite real square matrices.
    """

    def __init__(self, matrices, name="given"):
        check_matrices(matrices, "matrices")
        if matrices.ndim > 3:
            raise ValueError(f"matrices has shape {tuple(matrices.shape)}; pass (n, n) or (count, n, n).")
        self.matrices = matrices.detach().cpu().double().clone().reshape(-1, *matrices.shape[-2:])
        self.count = len(self.matrices)
        self.stored_dtype = matrices.dtype
        spec = FamilySpec(name, self._choose, (), {}, "", "", f"{self.count} given matrices")
        super().__init__(spec, {}, Facts(), matrices.shape[-1])

    @classmethod
    def read(cls, path):
        """Return the family of the matrices in a file, named after it."""
        matrices, file = read_matrices(path)
        return cls(matrices, file.name)

    def __repr__(self):
        return f"GivenMatrices({self.name!r}, count={self.count}, n={self.n})"

    def _choose(self, batch, generator):
        if batch > self.count:
            raise ValueError(
                f"{self.name} holds {self.count} matrices and batch is {batch}; ask for at most {self.count}."
            )
        order = torch.rand(self.count, generator=generator, dtype=torch.float64).argsort(stable=True)
        return self.matrices[order[:batch]]

    def with_parameters(self, **changes):
        """Return the family itself; given matrices have no parameters to change.

        Raises
        ------
        ValueError
            A parameter is given.
        """
        if changes:
            raise ValueError(f"{self.name} has no parameter {next(iter(changes))!r}; its matrices are given.")
        return self
