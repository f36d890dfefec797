"""How many products one way to an inverse saves over others, member by member."""

import torch

__all__ = ["compare_products"]


def compare_products(learned, rivals, own):
    """Compare the products that a learned start takes with those of its rivals, median and worst.

    Parameters
    ----------
    learned : Tensor, shape (N,)
        Products of each member, those of the network included.
    rivals : dict of str to Tensor, shape (N,), or number
        Products of the same members on other ways; a number where all members take the same, None for a way
        that does not exist.
    own : float
        Products of the network itself.

    Returns
    -------
    dict of str to dict
        Under the name of each way, ``"learned"`` among them, the ``median`` and the ``worst`` (largest)
        number of products; and under ``"saved.NAME"`` of each rival the median and the least of the products
        saved by a member: ``net``, ``net_worst``, and without those of the network ``gross``,
        ``gross_worst``. Negative numbers are products lost.

    Raises
    ------
    ValueError
        A rival counts another number of members.

    Examples
    --------
    >>> rivals = {"norms": torch.tensor([8.0, 10.0, 8.0])}
    >>> found = compare_products(torch.tensor([5.0, 5.0, 9.0]), rivals, 1.0)
    >>> found["learned"], found["saved.norms"]["net"], found["saved.norms"]["gross_worst"]
    ({'median': 5.0, 'worst': 9.0}, 3.0, 0.0)
    """
    table = {"learned": _summary(learned)}
    for name, rival in rivals.items():
        if rival is None:
            table[name] = {"median": None, "worst": None}
            table[f"saved.{name}"] = dict.fromkeys(("gross", "gross_worst", "net", "net_worst"))
            continue
        rival = torch.as_tensor(rival, dtype=learned.dtype, device=learned.device)
        if rival.ndim and rival.shape != learned.shape:
            raise ValueError(f"{name} counts {len(rival)} members and learned {len(learned)}; pass the same.")
        net = rival - learned
        median, least = net.median().item(), net.min().item()
        table[name] = _summary(rival.expand_as(learned))
        table[f"saved.{name}"] = {
            "gross": median + own,
            "gross_worst": least + own,
            "net": median,
            "net_worst": least,
        }
    return table


def _summary(products):
    return {"median": products.median().item(), "worst": products.max().item()}
