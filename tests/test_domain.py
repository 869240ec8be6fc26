import itertools
import math

import pytest
import torch
from domains import SIZES, STRIDES, batch, config

from stlatent import DOMAINS, TRIPLANE, VIDEO
from stlatent.model.axes import Axis
from stlatent.model.blocks import BLOCKS
from stlatent.model.domain import Domain
from stlatent.model.layers import Attention, Conv, attend
from stlatent.model.past import Past


@pytest.mark.parametrize("name", DOMAINS)
def test_pad_fills_whole_groups_and_crop_undoes_it(name):
    domain, stride = DOMAINS[name], STRIDES[name][0]
    x = batch(name)
    padded = domain.pad(x, stride)
    assert tuple(padded.shape[2:]) == domain.samples(domain.shape(x.shape[2:], stride), stride)
    assert torch.equal(domain.crop(padded, x.shape[2:]), x)


@pytest.mark.parametrize("frames, latents", [(1, 1), (2, 2), (5, 2), (6, 3), (17, 5)])
def test_causal_axis_begins_with_one_frame(frames, latents):
    assert VIDEO.shape((frames, 8, 8), (4, 8, 8)) == (latents, 1, 1)


ODD = Domain(  # a domain that is none of those: an index in the middle, names that einops uses
    "odd", (Axis("b", "space"), Axis("plane", "index", 2), Axis("c", "causal"), Axis("f0", "space"))
)
EVERY = {**DOMAINS, "odd": ODD}


def samples(name: str) -> torch.Tensor:
    return torch.randn(2, 3, 5, 2, 6, 4) if name == "odd" else batch(name)


@pytest.mark.parametrize("name", EVERY)
def test_unfold_undoes_fold_exactly(name):
    domain, stride = EVERY[name], {**STRIDES, "odd": [(2, 1, 3, 2)]}[name][0]
    x = domain.pad(samples(name), stride)
    folded = domain.fold(x, stride)
    assert folded.shape == (2, 3 * math.prod(stride), *domain.shape(x.shape[2:], stride))
    assert torch.equal(domain.unfold(folded, stride), x)


@pytest.mark.parametrize("name", EVERY)
def test_time_is_cut_joined_and_brought_to_the_front(name):
    domain, x = EVERY[name], samples(name)
    there = domain.of_time(x.shape[2:])
    assert domain.has_time == any(axis.kind == "causal" for axis in domain.axes)
    pieces = domain.chunks(x, 2)
    assert len(pieces) == (-(-there // 2) if domain.has_time else 1)
    assert torch.equal(domain.joined(pieces), x)
    if domain.has_time:
        assert torch.equal(domain.joined([domain.steps(x, 0, 1), domain.last(x, there - 1)]), x)
    names = ["channel", *(axis.name for axis in domain.axes)]
    times = [axis.name for axis in domain.axes if axis.kind == "causal"]
    first = [names[i] for i in domain.time_first]
    last = [["batch", *names][i] for i in domain.time_last]
    assert first == times + [one for one in names if one not in times]
    assert last == ["batch", *(one for one in names if one not in times), *times]


def defined(x, weight, bias, domain, groups):
    """A convolution by its definition: for every offset inside the kernel, a shifted product."""
    pads, kernel = [], weight.shape[2:]
    for axis, k in zip(domain.axes, kernel, strict=True):
        pads = ([k - 1, 0] if axis.kind == "causal" else [k // 2, k // 2]) + pads
    padded, y = torch.nn.functional.pad(x, pads), 0
    for offset in itertools.product(*(range(k) for k in kernel)):
        part = padded[(..., *(slice(o, o + n) for o, n in zip(offset, x.shape[2:], strict=True)))]
        part = part.unflatten(1, (groups, -1))
        mixing = weight[(..., *offset)].unflatten(0, (groups, -1))
        y = y + torch.einsum("bgi...,goi->bgo...", part, mixing).flatten(1, 2)
    return y + bias.view(-1, *[1] * len(kernel))


@pytest.mark.parametrize("name", EVERY)
@pytest.mark.parametrize("depthwise", [False, True])
def test_convolution_agrees_with_the_definition(name, depthwise):
    """Folding axes and summing over slices change nothing; nor do gradients."""
    domain, x = EVERY[name], samples(name).double().requires_grad_()
    for kernel, causal in [(3, 1), (3, 3), (1, 3), (1, 1), (5, 2)]:
        layer = Conv(domain, 3, 3 if depthwise else 5, kernel, causal, depthwise).double()
        layer.bias.data.normal_()
        expected = defined(x, layer.weight, layer.bias, domain, layer.groups)
        found = layer(x, Past())
        assert torch.allclose(found, expected, atol=1e-12)
        gradients = [
            torch.autograd.grad(y.sin().sum(), (x, layer.weight)) for y in (found, expected)
        ]
        for a, b in zip(*gradients, strict=True):
            assert torch.allclose(a, b, atol=1e-10)


@pytest.mark.parametrize("name", EVERY)
def test_a_convolution_in_chunks_is_the_whole(name):
    domain, x = EVERY[name], samples(name).double()
    if domain.causal is None:
        pytest.skip("no time")
    layer = Conv(domain, 3, 5, 3, 3).double()
    layer.name = "layer"
    count, state, parts = x.shape[2 + domain.causal], None, []
    for start, stop in [(0, 1), (1, 2), (2, count)]:
        past = Past(state)
        parts.append(layer(domain.steps(x, start, stop), past))
        state = past.state
    whole = layer(x, Past())
    assert torch.allclose(torch.cat(parts, 2 + domain.causal), whole, atol=1e-12)


@pytest.mark.parametrize("name", EVERY)
def test_parts_of_sizes(name):
    """Time, space and the rest make up every axis."""
    domain, size = EVERY[name], tuple(range(10, 10 + len(EVERY[name].axes)))
    kinds = {axis.kind: n for axis, n in zip(domain.axes, size, strict=True)}
    assert domain.of_time(size) == kinds.get("causal", 1)
    assert set(domain.of_space(size)) | set(kinds.values()) == set(size)
    fixed = [axis.size or n for axis, n in zip(domain.axes, size, strict=True)]
    assert domain.size(domain.of_time(size), domain.of_space(size)) == tuple(fixed)
    assert domain.with_time(size, 99) == tuple(99 if n == kinds.get("causal") else n for n in size)


@pytest.mark.parametrize("name", EVERY)
def test_tokens_come_back(name):
    domain, x = EVERY[name], samples(name)
    tokens = domain.tokens(x)
    space = [n for n, axis in zip(x.shape[2:], domain.axes, strict=True) if axis.kind == "space"]
    assert tokens.shape[1:] == (math.prod(space), 3)
    assert torch.equal(domain.untokens(tokens, x), x)


@pytest.mark.parametrize("variant", ["video", "video-joint", "audio", "volumes"])
def test_layers_never_look_at_the_future(variant):
    domain = config(variant).axes
    x = torch.randn(1, 64, 6, *[5] * len(domain.space))
    changed = x.clone()
    changed[:, :, 4:] += 1
    kinds = [
        block(config(variant), 64, rising).eval()
        for block in BLOCKS.values()
        for rising in (True, False)
    ]
    for layer in (*kinds, Attention(domain, 64)):
        before, after = layer(x, Past()), layer(changed, Past())
        assert torch.equal(before[:, :, :4], after[:, :, :4])
        assert not torch.allclose(before[:, :, 4:], after[:, :, 4:])


def test_pool_is_a_mean_over_space_and_keeps_time():
    x = torch.arange(2 * 4 * 4.0).view(1, 1, 2, 4, 4)
    pooled = VIDEO.pool(x, (2, 2, 2))
    assert pooled.shape == (1, 1, 2, 2, 2)
    assert pooled[0, 0, 1, 0, 0] == x[0, 0, 1, :2, :2].mean()


def test_planes_exchange_along_the_axis_they_share():
    """A mark at one place of the solid is seen by each plane at the same coordinate."""
    n, place = 7, (1, 3, 5)
    planes = torch.zeros(1, 1, 3, n, n)
    pairs = [(0, 1), (0, 2), (1, 2)]
    for plane, (a, b) in enumerate(pairs):
        planes[0, 0, plane, place[a], place[b]] = 1
    seen = TRIPLANE.exchange(planes)
    for plane, (a, b) in enumerate(pairs):
        along_first, along_second = seen[0, 0, plane], seen[0, 1, plane]
        assert (along_first[place[a]] == 1 / n).all() and along_first.sum() == pytest.approx(1)
        assert (along_second[:, place[b]] == 1 / n).all()
        assert along_second.sum() == pytest.approx(1)


@pytest.mark.parametrize(
    "name, size, words",
    [
        ("video", (8, 8), "2 axes"),
        ("image", (0, 8), "nearest legal size is 1"),
        ("triplane", (2, 8, 8), "axis 'plane'.*nearest legal size is 3"),
        ("triplane", (3, 8, 9), "square"),
    ],
)
def test_errors_name_axis_size_and_remedy(name, size, words):
    with pytest.raises(ValueError, match=words):
        DOMAINS[name].check(size)


def test_sizes_of_the_tests_fit_no_stride():
    for name, size in SIZES.items():
        assert DOMAINS[name].pad(torch.zeros(1, 1, *size), STRIDES[name][0]).shape[2:] != size


def test_attention_is_the_softmax_formula():
    q, k, v = torch.randn(3, 2, 7, 4, 8).unbind(0)
    scores = torch.einsum("bnhc,bmhc->bhnm", q, k) / math.sqrt(8)
    expected = torch.einsum("bhnm,bmhc->bnhc", scores.softmax(-1), v)
    assert torch.allclose(attend(q, k, v), expected, atol=1e-6)


@pytest.mark.skipif(not torch.cuda.is_available(), reason="xformers' kernels need a GPU")
def test_xformers_and_torch_agree():
    pytest.importorskip("xformers")
    q, k, v = torch.randn(3, 2, 64, 4, 64, device="cuda").unbind(0)
    expected = attend(q.cpu(), k.cpu(), v.cpu())
    assert torch.allclose(attend(q, k, v).cpu(), expected, atol=1e-2)


@pytest.mark.parametrize("size", [(5, 4, 7), (1, 2, 1)])
def test_depthwise_convolution_in_slices_is_the_whole_one(size):
    x, weight, bias = torch.randn(2, 6, *size), torch.randn(6, 1, 3, 3, 3), torch.randn(6)
    whole = torch.nn.functional.conv3d(x, weight, bias, padding=1, groups=6)
    assert torch.allclose(DOMAINS["voxel"].conv(x, weight, bias, 6, Past()), whole, atol=1e-5)
