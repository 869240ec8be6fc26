"""What comes into a model from outside: converted where it has one meaning, else refused."""

import warnings

import numpy as np
import pytest
import torch
from domains import VARIANTS, batch, ladder
from exported import tiny

import stlatent
from stlatent import Draw, Latents
from stlatent.media.video.pixels import to_float
from stlatent.model import stream

VIDEO_SIZE = (9, 20, 18)


def frames() -> torch.Tensor:
    """uint8 `[B, t, H, W, 3]`, as a file gives them."""
    return torch.randint(256, (1, *VIDEO_SIZE, 3), dtype=torch.uint8)


def ways(model):
    """Everything that reads samples, each as a function to one tensor."""
    return {
        "encode": lambda x: model.encode(x).levels[-1],
        "forward": lambda x: model(x).x,
        "encode_chunk": lambda x: stream.encode_chunk(model, x)[0].levels[-1],
    }


@pytest.mark.parametrize("way", ["encode", "forward", "encode_chunk", "exported"])
def test_what_has_one_meaning_is_converted(way):
    model, pixels = ladder("video"), frames()
    vae = tiny()
    read = (ways(model) | {"exported": lambda x: vae.encode(x).latent_dist.mean})[way]
    x = to_float(pixels)
    expected = read(x)
    same = [x.numpy(), x.double(), x.double().numpy(), x.numpy().astype(">f4")]
    same += [pixels, pixels.numpy(), pixels.movedim(-1, 1)]
    for given in same:
        found = read(given)
        assert found.dtype == torch.float32 and torch.equal(found, expected)
    for half in (x.half(), x.bfloat16()):
        assert torch.allclose(read(half), expected, atol=0.1)


@pytest.mark.parametrize("way", ["encode", "forward", "encode_chunk", "exported"])
@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda x: (x + 1) * 127.5, r"values reach 25\d.*reads \[-1, 1\]: use to_float"),
        (lambda x: -300 * x.abs(), r"values reach -\d+"),
        (lambda x: x.clone().index_fill_(4, torch.tensor(3), torch.nan), "holds NaN"),
        (lambda x: x / 0, "holds"),
        (lambda x: x.long(), r"torch.int64; this model reads floats in \[-1, 1\], or frames"),
        (lambda x: x > 0, "torch.bool"),
        (lambda x: x.to(torch.complex64), "complex"),
        (lambda x: x.tolist(), "is of list; give a tensor"),
        (lambda x: np.array([None]), "is of object"),
        (lambda x: x[:, :2], "2 channels; this model reads 3"),
        (
            lambda x: x[:, :, 0],
            r"is \[B, C, t, h, w\] \(of a single step \[B, C, 1, h, w\]\), but 2",
        ),
    ],
)
def test_all_else_is_refused_in_one_line(way, spoil, words):
    model, vae = ladder("video"), tiny()
    read = (ways(model) | {"exported": vae.encode})[way]
    with pytest.raises(ValueError, match=words) as error:
        read(spoil(batch("video", VIDEO_SIZE, 1)))
    assert "\n" not in str(error.value)


def test_values_of_another_scale_are_warned_of():
    model, x = ladder("video"), batch("video").clamp(-1, 1)
    with pytest.warns(UserWarning, match=r"give 2 \* x - 1"):
        model.encode(x / 2 + 0.5)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        model.encode(x)
        model.encode(torch.zeros_like(x))  # of one grey nothing can be told
        ladder("voxel").encode(batch("voxel").clamp(-1, 1) / 2 + 0.5)


def test_bytes_are_frames_of_clips_alone():
    with pytest.raises(ValueError, match="torch.uint8; this model reads floats"):
        ladder("voxel").encode((batch("voxel") * 100).to(torch.uint8))


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize(
    "spoil, words",
    [
        (lambda z: [*z[:2], z[2][:, 1:]], r"level 2 has shape"),
        (lambda z: [*z[:2], torch.cat([z[2], z[2]], 1)], r"level 2 has shape"),
        (lambda z: [z[0][:1], *z[1:]], r"level 1 has shape .* need \[1, "),
        (lambda z: [z[0][..., :1, :1], *z[1:]], r"level 0 has shape"),
        (lambda z: [*z[:2], z[2][..., :-1]], r"level 2 has shape"),
        (lambda z: [z[0], z[1] * torch.nan, z[2]], "level 1 holds NaN"),
        (lambda z: [z[0], z[1].long(), z[2]], "level 1 is of torch.int64"),
        (lambda z: [z[0], "z", z[2]], "level 1 is of str"),
    ],
)
def test_latents_that_do_not_fit_are_refused(variant, spoil, words):
    model = ladder(variant)
    latents = model.encode(batch(variant))
    with pytest.raises(ValueError, match=words):
        model.decode(Latents(tuple(spoil(latents.levels)), latents.size))


def test_arrays_are_latents_too():
    model = ladder("image")
    latents = model.encode(batch("image"))
    arrays = Latents(tuple(z.numpy() for z in latents.levels), latents.size)
    assert torch.allclose(model.decode(arrays), model.decode(latents), atol=1e-5)


@pytest.mark.parametrize(
    "call, words",
    [
        (lambda m, z: m.decode(list(z.levels)), r"given a list; it takes Latents\(levels, size\)"),
        (lambda m, z: m.decode(z, levels=[0]), r"levels is \[0\]; this model decodes 1 to 3"),
        (lambda m, z: m.decode(z, levels=0), r"levels is 0"),
        (lambda m, z: m.decode(Latents(z.levels, z.size[:2])), "2 axes"),
        (lambda m, z: m.decode(Latents((), z.size)), "levels is 0"),
        (lambda m, z: m.sample(z.size, -1), "batch_size is -1; give"),
        (lambda m, z: m.sample(z.size, 0), "batch_size is 0; give"),
        (lambda m, z: m.sample(z.size, temperature=float("nan")), "temperature is nan"),
        (lambda m, z: m.sample(z.size, temperature=-1), "temperature is -1"),
        (lambda m, z: m.sample((9, 16)), "2 axes"),
        (lambda m, z: m.sample(9), "size is 9; give one integer per axis"),
        (lambda m, z: m.sample((9, 16.0, 16)), "give one integer per axis"),
        (lambda m, z: m.latent_shape((9, 16)), "2 axes"),
        (lambda m, z: m.sample(z.size, held={0: z.levels[0] / 0}), "level 0 holds"),
        (lambda m, z: m.sample(z.size, held=list(z.levels)), "held is a list; give levels by"),
        (lambda m, z: Draw(float("inf")), "temperature is inf"),
        (lambda m, z: stream.decode_chunk(m, z.levels, (20, 40)), "level 0 has shape"),
        (lambda m, z: stream.decode_chunk(m, z.levels[:1] * 4, (20, 18)), "levels is 4"),
    ],
)
def test_wrong_calls_are_explained(call, words):
    model = ladder("video")
    latents = model.encode(batch("video", VIDEO_SIZE, 1))
    with pytest.raises(ValueError, match=words):
        call(model, latents)


def test_a_stream_keeps_its_size():
    model, x = ladder("video"), batch("video", VIDEO_SIZE, 1)
    latents, state = stream.encode_chunk(model, x)
    with pytest.raises(ValueError, match="only the number of steps may change"):
        stream.encode_chunk(model, x[..., :-1], state)
    _, state = stream.decode_chunk(model, latents.levels, VIDEO_SIZE[1:])
    with pytest.raises(ValueError, match="has begun with 2"):
        stream.decode_chunk(model, latents.levels, VIDEO_SIZE[1:], state_of_two(state))


def state_of_two(state: stream.State) -> stream.State:
    return stream.State(state.waiting[:2], state.past)


def test_an_exported_model_refuses_latents_that_are_none():
    vae = tiny()
    z = vae.encode(batch("video", VIDEO_SIZE, 1)).latent_dist.mode()
    for spoilt, words in [(z * torch.nan, "holds NaN"), (z[:, 1:], "has shape"), (z[0], "shape")]:
        with pytest.raises(ValueError, match=words):
            vae.decode(spoilt)


def test_models_compute_in_float32_whatever_the_default():
    model, x = stlatent.load("video"), batch("video", (1, 32, 32), 1)
    expected = model.decode(model.encode(x))
    torch.set_default_dtype(torch.float64)
    try:
        again = stlatent.load("video")
        found = again.decode(again.encode(x))
    finally:
        torch.set_default_dtype(torch.float32)
    assert found.dtype == torch.float32 and torch.equal(found, expected)
