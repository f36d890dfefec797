"""What mixes tensors of two devices is found without a GPU."""

import subprocess
import sys

import pytest
import torch
from notebook_tools import ROOT
from other_device import THERE, Mixed, code_cells, other_device

import neuinv
from neuinv.networks import StandardizedNetwork, make_network

# Pages that compute on a device, and parameters with which that takes little.
PAGES = {
    "criterion-predicts": {"num_steps": 2, "num_test": 64, "num_train": 64, "num_sample": 32},
    "family-cell": {"num_steps": 2, "num_train": 64, "num_test": 64},
    "fixed-network": {"copies": 2, "num_steps": 2, "num_train": 256, "num_test": 100, "num_ascent": 2},
    "lipschitz-in-practice": {"num_steps": 5},
    "lipschitz-price": {"num_steps": 2},
    "networks-that-can": {},
    "one-shot-inverse": {"num_steps": 2, "num_test": 1000},
    "scaling-axes": {"sizes": [4, 6], "data": [16, 64], "steps": [2, 4], "base_size": 4, "base_steps": 4},
    "spectral-criterion": {"num_steps": 4},
    "why-cannot": {"num_steps": 2},
}


def there(*values):
    return torch.tensor(values, device=THERE)


def test_a_product_of_two_devices_is_refused_and_a_scalar_is_not():
    with other_device():
        x = there(1.0, 2.0)
        assert x.device == THERE and (x * 2.0 + torch.tensor(1.0)).cpu().tolist() == [3.0, 5.0]
        assert ((x + there(3.0, 4.0)).sum().item(), x.to("cpu").device.type) == (10.0, "cpu")
        with pytest.raises(Mixed, match=r"those of shape \(2,\) are on the CPU"):
            x * torch.ones(2)
        with pytest.raises(TypeError, match="numpy"):
            x.numpy()


def test_an_index_there_reads_no_tensor_of_the_cpu():
    with other_device():
        x, i = there(1.0, 2.0), there(1)
        assert (x[i].item(), x[torch.tensor([0])].item()) == (2.0, 1.0)
        assert x[[1, 0]].tolist() == [2.0, 1.0]
        with pytest.raises(Mixed, match="the indexed tensor on the CPU"):
            torch.arange(3)[i]


def test_outside_of_it_nothing_is_changed():
    before = (torch.tensor, torch.as_tensor, torch.autocast, neuinv.resolve_device)
    with other_device():
        assert neuinv.resolve_device("cuda") == THERE and torch.tensor is not before[0]
    assert (torch.tensor, torch.as_tensor, torch.autocast, neuinv.resolve_device) == before
    assert type(torch.ones(2) + torch.tensor([1.0, 2.0])) is torch.Tensor


@pytest.mark.parametrize("family", ["prescribed-spectrum", "power-grid-dc"])
def test_an_ascent_asks_a_network_there_and_finds_what_it_finds_here(family):
    """The projection of a power grid has data of its own on the CPU."""
    matrices = neuinv.family(family)
    pool, options = matrices.sample(50, seed=0), {"seed": 1, "batch": 4, "num_steps": 3}
    network = StandardizedNetwork(make_network("residual", matrices.n, seed=0, width=8), pool)
    here = neuinv.worst_case(network, matrices, **options)
    with other_device():
        network.to(THERE)
        found = neuinv.worst_case(network, matrices, device="cuda", **options)
        # Negative control: a network there is not asked about matrices here.
        with pytest.raises(Mixed):
            neuinv.worst_case(network, matrices, **options)
    assert found.value == here.value and torch.equal(found.matrix, here.matrix)


def test_the_cells_of_a_page_are_read_without_their_tags():
    sources, parameters = code_cells(ROOT / "notebooks" / "criterion-predicts.md")
    assert sources[parameters].lstrip().startswith('family: str = "prescribed-spectrum"')
    assert not any(line.startswith((":tags", "---", "mystnb")) for s in sources for line in s.splitlines())


def run(page, parameters):
    command = [sys.executable, str(ROOT / "tests" / "other_device.py"), str(page)]
    command += [f"{name}={value!r}" for name, value in parameters.items()]
    return subprocess.run(command, capture_output=True, text=True, cwd=ROOT / "notebooks")


@pytest.mark.soak
@pytest.mark.parametrize("page", PAGES)
def test_a_page_mixes_no_devices(page):
    done = run(ROOT / "notebooks" / f"{page}.md", PAGES[page])
    assert done.returncode == 0, done.stderr


def test_a_page_that_mixes_devices_is_caught(tmp_path):
    """Negative control of the test above, and its positive one."""
    text = '```{code-cell} ipython3\n:tags: [parameters]\n\ndevice: str = "auto"\n```\n\n'
    text += "```{code-cell} ipython3\nimport torch, neuinv\n\ndevice = neuinv.resolve_device(device)\n"
    text += "print(torch.ones(3, device=device) + CPU)\n```\n"
    page = tmp_path / "mixing.md"
    page.write_text(text.replace("CPU", "torch.ones(3)"))
    done = run(page, {})
    assert done.returncode == 1 and "Mixed" in done.stderr
    page.write_text(text.replace("CPU", "1.0"))
    assert run(page, {}).returncode == 0
