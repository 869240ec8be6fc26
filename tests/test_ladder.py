"""What always holds, over every domain (the invariants of the design)."""

import copy

import pytest
import torch
from domains import SIZES, STRIDES, VARIANTS, WITH_SPACE, batch, config, ladder

import stlatent
from stlatent import Draw, Ladder, Latents
from stlatent.media.borders import border_ratio
from stlatent.model import choose, stream
from stlatent.model.domains import DOMAINS
from stlatent.model.past import Past

TOLERANCE = 1e-4
SPACE = {
    "video": (20, 18),
    "video-joint": (20, 18),
    "video-recall": (20, 18),
    "audio": (),
    "volumes": (6, 7, 5),
}
IN_TIME = list(SPACE)


@pytest.mark.parametrize("variant", VARIANTS)
def test_decoding_the_code_is_the_forward_pass_bit_for_bit(variant):
    model, x = ladder(variant), batch(variant)
    latents = model.encode(x)
    assert torch.equal(model.decode(latents), model(x).x)
    draw = [Draw(generator=torch.Generator().manual_seed(3)) for _ in range(2)]
    assert torch.equal(model.decode(model.encode(x, draw[0])), model(x, draw[1]).x)


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("seed", range(3))
def test_any_size_in_the_same_size_out(variant, seed):
    model, base = ladder(variant), SIZES[variant.partition("-")[0]]
    numbers = torch.randint(1, 24, (4,), generator=torch.Generator().manual_seed(seed)).tolist()
    planes = variant.startswith("triplane")
    size = (3, numbers[0], numbers[0]) if planes else tuple(numbers[: len(base)])
    latents = model.encode(batch(variant, size, 1))
    assert latents.size == size
    assert [tuple(z.shape[1:]) for z in latents.levels] == model.latent_shape(size)
    for levels in (1, 2, 3):
        assert tuple(model.decode(latents, levels).shape) == (1, 3, *size)
    assert tuple(model.sample(size, 2).shape) == (2, 3, *size)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_prefix_reads_nothing_finer(variant):
    model, latents = ladder(variant), None
    latents = model.encode(batch(variant))
    noisy = Latents((*latents.levels[:2], latents.levels[2] + 1), latents.size)
    assert torch.equal(model.decode(latents, 2), model.decode(noisy, 2))
    assert torch.equal(
        model.decode(latents, 2), model.decode(Latents(latents.levels[:2], latents.size))
    )
    assert not torch.allclose(model.decode(latents), model.decode(noisy))


@pytest.mark.parametrize("variant", VARIANTS)
def test_prefix_choice_equals_prefix_decoding(variant):
    """What training decodes from a cut sample is what `decode(levels=k)` gives."""
    model, x = ladder(variant), batch(variant)
    out = model(x, choose.Prefix(torch.tensor([1, 3]), choose.mean))
    latents = model.encode(x)
    assert torch.allclose(out.x[0], model.decode(latents, 1)[0], atol=TOLERANCE)
    assert torch.allclose(out.x[1], model.decode(latents, 3)[1], atol=TOLERANCE)


@pytest.mark.parametrize("variant", IN_TIME)
def test_later_frames_change_nothing_earlier(variant):
    """Neither in the code nor in what is decoded: changes stay within their group of frames."""
    model, unit = ladder(variant), STRIDES[variant.partition("-")[0]][0][0]
    x = batch(variant, (1 + 3 * unit, *SPACE[variant]), 1)
    changed = x.clone()
    changed[:, :, 1 + unit :] += 0.5
    first, second = model.encode(x), model.encode(changed)
    for level, (a, b) in enumerate(zip(first.levels, second.levels, strict=True)):
        kept = 1 + unit // model.levels[level].stride[0]
        assert torch.equal(a[:, :, :kept], b[:, :, :kept])
        assert not torch.allclose(a[:, :, kept:], b[:, :, kept:])
    earlier = [model.decode(z)[:, :, : 1 + unit] for z in (first, second)]
    assert torch.equal(*earlier)


@pytest.mark.parametrize("variant", IN_TIME)
@pytest.mark.parametrize("length", [1, 3, 8, 100])
def test_chunks_of_any_length_give_the_whole(variant, length):
    """Two streams, interleaved; encoder and decoder."""
    model, size = ladder(variant), (22, *SPACE[variant])
    whole = [batch(variant, size, 1), -batch(variant, size, 1)]
    states, pieces = [None, None], [[], []]
    for start in range(0, 22, length):
        for i, x in enumerate(whole):
            latents, states[i] = stream.encode_chunk(
                model, x[:, :, start : start + length], states[i]
            )
            pieces[i].append(latents.levels)
    for i, x in enumerate(whole):
        pieces[i].append(stream.encode_end(model, states[i])[0].levels)
        levels = [torch.cat(parts, 2) for parts in zip(*pieces[i], strict=True)]
        expected = model.encode(x)
        for z, e in zip(levels, expected.levels, strict=True):
            assert z.shape == e.shape and (z - e).abs().max() < TOLERANCE * e.abs().max().clamp(1)
        decoded = model.decode(expected)
        difference = decoded_in_chunks(model, levels, length, size[1:]) - decoded
        assert difference.abs().max() < TOLERANCE * decoded.abs().max().clamp(1)


def decoded_in_chunks(model, levels, length, size):
    state, frames = None, []
    for start in range(0, levels[-1].shape[2], length):
        piece = [z[:, :, start : start + length] for z in levels]
        more, state = stream.decode_chunk(model, piece, size, state)
        frames.append(more)
    return torch.cat(frames, 2)[:, :, :22]


def test_a_stream_does_not_grow():
    model, state, sizes = ladder("video"), None, []
    for _ in range(5):
        _, state = stream.encode_chunk(model, batch("video", (8, 20, 18), 1), state)
        held = [t.untyped_storage().nbytes() for t in (*state.past.values(), *state.waiting)]
        sizes.append(sum(held))
    assert len(set(sizes)) == 1


@pytest.mark.parametrize("variant", VARIANTS)
def test_kl_counts_every_axis(variant):
    model, x = ladder(variant), batch(variant)
    out = model(x)
    for level, kl in enumerate(out.latents.kl):
        channels = model.levels[level].latent * model.levels[level].groups
        assert kl.shape == (2, channels) and (kl >= 0).all()
    expected = torch.stack(
        [
            torch.distributions.kl_divergence(
                torch.distributions.Normal(s.posterior.mean, s.posterior.std),
                torch.distributions.Normal(s.prior.mean, s.prior.std),
            )
            .flatten(1)
            .sum(1)
            for s in out.latents.steps
        ]
    ).sum(0)
    assert torch.allclose(sum(kl.sum(1) for kl in out.latents.kl), expected, rtol=1e-4)


@pytest.mark.parametrize("variant", VARIANTS)
def test_distributions_stay_in_float32_under_autocast(variant):
    model, x = ladder(variant), batch(variant)
    with torch.autocast("cpu", torch.bfloat16):
        out = model(x)
        nats = model.likelihood(out.x, x)
    for step in out.latents.steps:
        assert step.prior.mean.dtype == step.posterior.log_std.dtype == torch.float32
    assert nats.dtype == out.latents.kl[0].dtype == torch.float32
    exact = model(x).x
    assert (out.x.float() - exact).abs().mean() < 0.05 * exact.std()


@pytest.mark.parametrize("variant", VARIANTS)
def test_every_parameter_learns(variant):
    torch.manual_seed(0)
    model = Ladder(config(variant))
    x = batch(variant)
    out = model(x, Draw())
    previews = sum(
        (p - model.preview_target(x, level)).abs().mean() for level, p in enumerate(out.previews)
    )
    loss = model.likelihood(out.x, x).mean() + sum(kl.mean() for kl in out.latents.kl) + previews
    loss.backward()
    missing = [name for name, p in model.named_parameters() if p.grad is None]
    assert not missing


@pytest.mark.parametrize("variant", VARIANTS)
def test_recomputing_activations_changes_no_gradient(variant):
    torch.manual_seed(0)
    model = Ladder(config(variant))
    twin = Ladder(config(variant, checkpointing=True))
    twin.load_state_dict(copy.deepcopy(model.state_dict()))
    for net in (model, twin):
        net(batch(variant)).x.square().mean().backward()
    for p, q in zip(model.parameters(), twin.parameters(), strict=True):
        assert (p.grad is None) == (q.grad is None)
        assert p.grad is None or torch.allclose(p.grad, q.grad, atol=1e-6)


def test_recomputing_activations_goes_on_with_a_stream():
    """Over a started stream too; and what it leaves for the next chunk is the same."""
    torch.manual_seed(0)
    models = [Ladder(config("video", checkpointing=again)) for again in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    states = []
    for model in models:
        first, second = batch("video", (17, 20, 18), 1).split([9, 8], 2)
        past = Past()
        model.encode(first, past=past).levels[-1].square().mean().backward()
        past = Past(past.state)
        model.encode(second, past=past).levels[-1].square().mean().backward()
        states.append(past.state)
    assert [*states[0]] == [*states[1]]
    for p, q in zip(*(model.parameters() for model in models), strict=True):
        assert p.grad is None or torch.allclose(p.grad, q.grad, atol=1e-6)


def test_a_state_of_another_pass_is_refused():
    model, x = ladder("video"), batch("video", (9, 20, 18), 1)
    past = Past()
    latents = model.encode(x, past=past)
    with pytest.raises(ValueError, match="lacks layer .*same model and direction"):
        model.generate(choose.mean, latents.size, past=Past(past.state))


def test_recomputed_activations_are_counted_once():
    """The running means of batch norms, which NVAE's blocks have."""
    torch.manual_seed(0)
    models = [Ladder(config("image", cell="nvae", checkpointing=again)) for again in (False, True)]
    models[1].load_state_dict(models[0].state_dict())
    for model in models:
        model(batch("image")).x.square().mean().backward()
    for (name, one), two in zip(models[0].named_buffers(), models[1].buffers(), strict=True):
        assert torch.allclose(one, two), name


@pytest.mark.parametrize("variant", VARIANTS)
def test_saved_models_come_back_the_same(variant, tmp_path):
    model = ladder(variant)
    stlatent.save(model, tmp_path / "model.safetensors", {"psnr_db": 1.5})
    again = stlatent.load(tmp_path)
    assert again.config == model.config
    assert stlatent.fingerprint(again) == stlatent.fingerprint(model)
    assert torch.equal(again(batch(variant)).x, model(batch(variant)).x)


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_printed_model_says_what_each_layer_is(variant):
    model = ladder(variant)
    text = str(model)
    assert (
        f"domain={model.domain.name}, channels=3, strides=[{list(model.levels[0].stride)}" in text
    )
    assert "Conv()" not in text and "Norm()" not in text
    assert f"Conv({model.stem.conv.weight.shape[1]} -> 12, kernel=" in text


def test_same_seed_same_weights_and_samples():
    models = [ladder("video"), ladder("video")]
    assert stlatent.fingerprint(models[0]) == stlatent.fingerprint(models[1])
    draws = [m.sample((9, 20, 18), 2, generator=torch.Generator().manual_seed(5)) for m in models]
    assert torch.equal(draws[0], draws[1])


def test_held_levels_are_held():
    model, x = ladder("video"), batch("video")
    latents = model.encode(x)
    everything = model.sample(latents.size, 2, held=dict(enumerate(latents.levels)))
    assert torch.equal(everything, model.decode(latents))
    redrawn = model.sample(latents.size, 2, held={0: latents.levels[0]})
    assert not torch.allclose(redrawn, everything)


def test_encoding_runs_nothing_finer_than_the_finest_latent():
    model = ladder("video")
    model.head_blocks.forward = model.head.forward = model.up[-1].forward = None
    model.encode(batch("video"))


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m, x: m.encode(x[:, :2]), r"2 channels; this model reads 3"),
        (lambda m, x: m.encode(x[:, :, 0]), r"2 axes"),
        (lambda m, x: m.decode(m.encode(x), 4), r"levels is 4; this model decodes 1 to 3"),
        (lambda m, x: m.sample((9, 16, 16), held={3: x}), r"levels 0 to 2"),
        (lambda m, x: m.sample((9, 16, 16), held={0: x}), r"need \[1, 4, 2, 1, 1\]"),
    ],
)
def test_wrong_use_is_explained(call, words):
    with pytest.raises(ValueError, match=words):
        call(ladder("video"), batch("video"))


def test_only_causal_domains_stream():
    with pytest.raises(ValueError, match="cannot be streamed"):
        stream.encode_chunk(ladder("image"), batch("image"))


@pytest.mark.parametrize("variant", VARIANTS)
def test_a_new_ladder_is_a_linear_code(variant):
    """Untrained, every prefix decodes a smooth input, and each level adds to the one before."""
    torch.manual_seed(0)
    wide = config(variant)
    levels = tuple(level.model_copy(update={"width": 96}) for level in wide.levels)
    model = Ladder(wide.model_copy(update={"levels": levels})).requires_grad_(False)
    x = smooth(batch(variant, count=1))
    latents = model.encode(x)
    errors = [float((model.decode(latents, k) - x).square().mean()) for k in (1, 2, 3)]
    assert errors[2] < errors[1] < errors[0] < float(x.var())
    assert errors[2] < 0.3 * float(x.var())


@pytest.mark.parametrize("name", WITH_SPACE)
def test_spreading_joins_the_blocks_of_a_new_ladder(name):
    """A slope, known by its block means alone, comes back as one and not as steps."""
    domain, stride = DOMAINS[name], STRIDES[name][0]
    size = [3 if axis.kind == "index" else 6 * f for axis, f in zip(domain.axes, stride)]
    x = torch.zeros(1, 3, *size)
    for dim, axis in enumerate(domain.axes, start=2):
        if axis.kind == "space":
            ramp = torch.linspace(-0.3, 0.3, size[dim - 2])
            x = x + ramp.view(-1, *[1] * (x.ndim - 1 - dim))
    found = {}
    for spread in (1, 3):
        levels = [v.model_copy(update={"width": 64, "latent": 1}) for v in config(name).levels]
        torch.manual_seed(0)
        model = Ladder(config(name, levels=tuple(levels), spread=spread)).requires_grad_(False)
        decoded = model.decode(model.encode(x), 1)
        error = (decoded - x).square().mean().item()
        found[spread] = error, border_ratio(decoded, domain, stride)
    (tiled, steps), (joined, seams) = found[1], found[3]
    assert joined < tiled
    assert seams < 0.3 * steps


def smooth(x):
    """Noise summed up along every free axis, the same in all channels: neighbours resemble."""
    x = x.mean(1, keepdim=True).expand_as(x)
    for dim in range(2, x.ndim):
        if x.shape[dim] > 3:
            x = x.cumsum(dim)
    x = x - x.mean()
    return x / x.abs().max()
