"""A second device that is none: tensors that claim another place, hold numbers of the CPU, and refuse to mix.

    python tests/other_device.py notebooks/why-cannot.md num_steps=3

runs the code cells of a page on it. It finds what on a GPU would mix devices; it says nothing of speed, of
kernels or of rounding there. Where a GPU refuses, so does this: operands of two devices, a tensor of the CPU
indexed from the device, ``numpy()`` of a tensor there. As on a GPU, a tensor without dimensions may mix.
"""

import ast
import contextlib
import re
import sys
import traceback
from pathlib import Path
from unittest import mock

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_flatten, tree_map

# The one device that every torch knows and that no page uses.
THERE = torch.device("meta")
READ_OUT = ("aten._local_scalar_dense.default", "aten.equal.default", "aten.is_nonzero.default")


class Mixed(RuntimeError):
    """Operands of two devices, as a GPU refuses them."""


class There(torch.Tensor):
    """A tensor that claims the other device."""

    @staticmethod
    def __new__(cls, data):
        made = torch.Tensor._make_wrapper_subclass(
            cls, data.shape, strides=data.stride(), dtype=data.dtype, device=THERE
        )
        made.held = data
        return made

    @classmethod
    def __torch_dispatch__(cls, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})

    def __getitem__(self, index):
        # Of a list torch itself would make a tensor on 'meta', without numbers.
        parts = index if isinstance(index, tuple) else (index,)
        return super().__getitem__(tuple(torch.tensor(p) if isinstance(p, list) else p for p in parts))

    def __repr__(self):
        return f"There({self.held})"

    def __format__(self, spec):
        return format(self.item(), spec)

    def tolist(self):
        return self.detach().held.tolist()

    def numpy(self, *args, **kwargs):
        raise TypeError("can't convert a tensor of the other device to numpy; use .cpu() first.")


class _Everywhere(TorchDispatchMode):
    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        return _run(operation, args, kwargs or {})


def _run(operation, args, kwargs):
    """Do one operation of torch on the numbers, and return them where a GPU would leave them."""
    name = str(operation)
    tensors = [leaf for leaf in tree_flatten((args, kwargs))[0] if isinstance(leaf, torch.Tensor)]
    _refuse_mixed(name, tensors)
    bare_args, bare = tree_map(_held, args), tree_map(_held, kwargs)
    there = any(isinstance(tensor, There) for tensor in tensors)
    if kwargs.get("device") is not None:
        there = torch.device(kwargs["device"]) == THERE
        bare["device"] = torch.device("cpu")
    if tensors and name.split(".")[1].endswith("_"):  # in place
        there = isinstance(tensors[0], There)
    found = operation(*bare_args, **bare)
    if name in READ_OUT:
        return found
    known = {id(_held(tensor)): tensor for tensor in tensors}

    def placed(out):
        if not isinstance(out, torch.Tensor):
            return out
        return known.get(id(out), There(out) if there else out)

    return tree_map(placed, found)


def _refuse_mixed(name, tensors):
    here = [tensor for tensor in tensors if not isinstance(tensor, There)]
    if len(here) in (0, len(tensors)) or "copy_" in name:
        return
    if "index" in name and "select" not in name:
        # An index of the CPU may read a tensor there, not the other way round.
        if not isinstance(tensors[0], There):
            raise Mixed(f"{name}: indices on the other device, the indexed tensor on the CPU")
    elif any(tensor.dim() for tensor in here):
        shapes = ", ".join(str(tuple(tensor.shape)) for tensor in here)
        raise Mixed(f"{name}: expected all tensors on one device, but those of shape {shapes} are on the CPU")


def _held(leaf):
    return leaf.held if isinstance(leaf, There) else leaf


@contextlib.contextmanager
def other_device():
    """Let ``"cuda"`` name the other device inside, for torch and for neuinv."""
    import neuinv.ensembles
    import neuinv.gallery.base
    import neuinv.metrics
    import neuinv.records

    assert neuinv.resolve_device  # looked up lazily: what is loaded from here on would keep the stand-in

    def resolve(device="auto"):
        there = "cuda" in str(device) or torch.device("cpu" if device == "auto" else device) == THERE
        return THERE if there else torch.device("cpu")

    changes = [
        (torch, "tensor", _moving(torch.tensor)),
        (torch, "as_tensor", _moving(torch.as_tensor)),
        (torch, "autocast", lambda *args, **kwargs: contextlib.nullcontext()),
        (torch, "is_autocast_enabled", lambda *args: False),
    ]
    adam = neuinv.ensembles.make_adam
    for module in [module for name, module in sys.modules.items() if name.split(".")[0] == "neuinv"]:
        changes += [(module, "resolve_device", resolve)] if "resolve_device" in vars(module) else []
        changes += [(module, "check_dense", lambda A, name="A": A)] if "check_dense" in vars(module) else []
        # The fused kernels of torch know no tensor but its own.
        slow = lambda weights, rate, steps, fused=None: adam(weights, rate, steps, fused=None)  # noqa: E731
        changes += [(module, "make_adam", slow)] if "make_adam" in vars(module) else []
    swaps = torch.__future__.get_swap_module_params_on_conversion()
    torch.__future__.set_swap_module_params_on_conversion(True)
    try:
        with contextlib.ExitStack() as stack:
            for owner, name, value in changes:
                stack.enter_context(mock.patch.object(owner, name, value))
            stack.enter_context(_Everywhere())
            yield
    finally:
        torch.__future__.set_swap_module_params_on_conversion(swaps)


def _moving(make):
    """Return a function that makes a tensor of data on the CPU and then moves it, which can be seen."""

    def made(data, *args, device=None, **kwargs):
        if isinstance(data, torch.Tensor):
            return data.to(device=device, **kwargs)
        found = make(data, *args, **kwargs)
        return found if device is None else found.to(device)

    return made


def code_cells(page):
    """Return the sources of the code cells of a text notebook, and which of them holds the parameters."""
    text = Path(page).read_text(encoding="utf-8")
    cells = re.findall(r"```\{code-cell\} ipython3\n(.*?)```", text, re.DOTALL)
    sources = [re.sub(r"\A(---\n.*?\n---\n|(:[^\n]*\n)+)", "", cell, flags=re.DOTALL) for cell in cells]
    return sources, next(k for k, cell in enumerate(cells) if ":tags: [parameters]" in cell)


def run_page(page, **changes):
    """Run the code cells of a page with ``device="cuda"`` and other parameters, on the other device."""
    import matplotlib

    matplotlib.use("Agg")
    sources, parameters = code_cells(page)
    names = {"__name__": "page"}
    with other_device():
        for k, source in enumerate(sources):
            exec(compile(source, f"{Path(page).stem}, code cell {k}", "exec"), names)
            if k == parameters:
                names |= {**changes, "device": "cuda"}


if __name__ == "__main__":
    given = dict(argument.split("=", 1) for argument in sys.argv[2:])
    try:
        run_page(sys.argv[1], **{name: ast.literal_eval(value) for name, value in given.items()})
    except Exception:
        traceback.print_exc()
        sys.exit(1)
    print("nothing mixes devices")
