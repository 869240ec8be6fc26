"""Sound as a medium: real files through training, data sets, reports, samples and exports."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import torch
from diffusers import AutoModel

import stlatent
from stlatent.cli import main
from stlatent.files import UnreadableError
from stlatent.jobs import EncodeOptions, encode_folder
from stlatent.media.audio.measures import snr_db, spectral_distance_db
from stlatent.media.audio.reader import read_samples, read_sound, sound_seconds
from stlatent.media.audio.training import SoundDataset, find_sounds
from stlatent.media.audio.write import write_sound
from stlatent.media.registry import medium_of, usual_model
from stlatent.model.config import Level, ModelConfig, Stage
from stlatent.store.reader import LatentStore

ROOT = Path(__file__).parents[1]
RATE = 8000
CODECS = {"wav": "pcm_s16le", "flac": "flac", "mp3": "libmp3lame"}


def tone(seconds: float, rate: int = RATE, hertz: float = 440.0, channels: int = 1) -> np.ndarray:
    """`[C, n]`; channels an octave apart."""
    times = np.arange(round(seconds * rate)) / rate
    return np.stack([0.5 * np.sin(2 * np.pi * hertz * 2**k * times) for k in range(channels)])


def write(path: Path, samples: np.ndarray, rate: int = RATE) -> Path:
    """A file as FFmpeg's encoders make it, by its suffix."""
    path.parent.mkdir(parents=True, exist_ok=True)
    layout, format = ("mono", "stereo")[len(samples) - 1], path.suffix[1:]
    with av.open(str(path), "w") as container:
        stream = container.add_stream(CODECS[format], rate=rate)
        stream.layout = layout
        resampler = av.AudioResampler(stream.codec_context.format, layout, rate)
        for at in range(0, samples.shape[1], 1024):
            block = np.ascontiguousarray(samples[:, at : at + 1024], np.float32)
            frame = av.AudioFrame.from_ndarray(block, "fltp", layout)
            frame.sample_rate, frame.pts = rate, at
            for one in resampler.resample(frame):
                container.mux(stream.encode(one))
        container.mux(stream.encode())
    return path


def config(channels: int = 1, rate: int = RATE) -> ModelConfig:
    return ModelConfig(
        domain="audio",
        channels=channels,
        stem=Stage(stride=(4,), width=8, blocks=1),
        levels=(
            Level(stride=(64,), width=12, latent=4, blocks=1),
            Level(stride=(16,), width=12, latent=3, groups=2, blocks=1),
        ),
        sample_rate=rate,
    )


@pytest.fixture(scope="module")
def model() -> stlatent.Ladder:
    torch.manual_seed(0)
    model = stlatent.Ladder(config()).eval().requires_grad_(False)
    for parameter in model.parameters():
        parameter += 0.05 * torch.randn_like(parameter)
    return model


@pytest.fixture(scope="module")
def sounds(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("sounds")
    for i, format in enumerate(CODECS):
        write(folder / f"{format}/{i}.{format}", tone(1.0 + 0.3 * i, hertz=200 * (i + 1)))
    return folder


# reading and writing --------------------------------------------------------------------------


@pytest.mark.parametrize("format", CODECS)
@pytest.mark.parametrize("channels", [1, 2])
def test_files_are_read_as_they_sound(format, channels, tmp_path):
    x = tone(1.5, channels=channels)
    path = write(tmp_path / f"a.{format}", x)
    assert sound_seconds(path) == pytest.approx(1.5, abs=0.15)
    found = read_samples(path, RATE, channels, 10**6)
    assert found.dtype == np.float32 and abs(found.shape[1] - x.shape[1]) < 2500  # mp3 pads
    if format == "mp3":  # it says by how much
        assert spectral_distance_db(_batch(x[:, :9000]), _batch(found[:, :9000])) < 20
    else:
        assert np.abs(found - x).max() < 1e-3
        later = read_samples(path, RATE, channels, 500, 1.0)
        assert np.abs(later - x[:, RATE : RATE + 500]).max() < 1e-3


def test_other_rates_and_channels_are_brought_to_the_models(tmp_path):
    path = write(tmp_path / "a.wav", np.repeat(tone(1.0, rate=16000), 2, 0), 16000)
    found = read_samples(path, RATE, 1, 10**6)
    assert found.shape[0] == 1 and abs(found.shape[1] - RATE) < 32
    inner = slice(200, 7500)
    assert np.abs(found[:, inner] - tone(1.0)[:, : found.shape[1]][:, inner]).max() < 0.05


@pytest.mark.parametrize("format", ["wav", "flac"])
def test_what_is_written_is_read(format, tmp_path):
    x = tone(1.0, channels=2).astype(np.float32)
    parts = [x[:, :1], x[:, 1:5000], x[:, 5000:]]
    assert write_sound(tmp_path / f"a.{format}", parts, RATE, format) == RATE
    assert np.abs(read_samples(tmp_path / f"a.{format}", RATE, 2, 10**6) - x).max() < 1e-4
    assert [path.name for path in tmp_path.iterdir()] == [f"a.{format}"]


def test_what_is_no_sound_is_named(tmp_path):
    whole = write(tmp_path / "whole.flac", np.random.default_rng(0).uniform(-1, 1, (1, 20000)))
    (tmp_path / "cut.flac").write_bytes(whole.read_bytes()[:20000])
    (tmp_path / "text.wav").write_text("no sound")
    with pytest.raises(UnreadableError, match="cut off|invalid"):
        list(read_sound(tmp_path / "cut.flac", RATE, 1))
    with pytest.raises(UnreadableError):
        sound_seconds(tmp_path / "text.wav")
    with av.open(str(tmp_path / "nan.wav"), "w") as container:
        stream = container.add_stream("pcm_f32le", rate=RATE, layout="mono")
        frame = av.AudioFrame.from_ndarray(np.full((1, 99), np.nan, np.float32), "flt", "mono")
        frame.sample_rate = RATE
        container.mux(stream.encode(frame))
    with pytest.raises(UnreadableError, match="not finite"):
        list(read_sound(tmp_path / "nan.wav", RATE, 1))


# training -------------------------------------------------------------------------------------


def test_stretches_are_a_function_of_seed_and_index(sounds):
    sources = [(source, sound_seconds(source.path)) for source in find_sounds(sounds)]
    one, two = (SoundDataset(sources, 2048, RATE, 1, seed=3) for _ in range(2))
    reads = [one[i].values for i in range(6)]
    assert all(torch.equal(two[i].values, reads[i]) for i in (5, 0, 3))
    assert all(x.shape == (1, 2048) and x.abs().max() > 0.1 for x in reads)
    assert not torch.equal(SoundDataset(sources, 2048, RATE, 1, seed=4)[0].values, reads[0])
    assert SoundDataset(sources, 99999, RATE, 1)[0].values[0, -1000:].abs().max() == 0  # silence


# the way through ------------------------------------------------------------------------------


def test_from_files_to_files_through_every_verb(sounds, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    overrides = [f"data.root={sounds}", "out=run", "steps=3", "tracker=null", "data.batch_size=2"]
    overrides += ['data.validation={"names": ["wav/0.wav"], "samples": 4096, "every": 3}']
    assert main(["train", str(ROOT / "configs/audio/tiny.yaml"), *overrides]) == 0
    assert stlatent.load("run").config.sample_rate == RATE
    lines = [json.loads(line) for line in (tmp_path / "run/metrics.jsonl").read_text().splitlines()]
    assert len(next(x for x in lines if "validation_snr_db" in x)["validation_snr_db"]) == 2
    assert (tmp_path / "run/reconstructions/0000003.png").exists()

    assert main(["encode", str(sounds), "--model", "run", "--out", "z"]) == 0
    store = LatentStore("z")
    assert {item.kind for item in store.items.values()} == {"sound"} and len(store.items) == 3
    assert store.items["wav/0.wav"].size == (RATE,) and store.items["wav/0.wav"].fps == RATE
    assert (tmp_path / "z/preview.png").exists()
    assert main(["verify", "z"]) == 0 and main(["jobs", "show", "z"]) == 0

    assert main(["decode", "z", "--out", "back"]) == 0
    back = read_samples(tmp_path / "back/wav/0.wav", RATE, 1, 10**6)
    assert back.shape == (1, RATE)
    assert main(["decode", "z", "--levels", "1", "--format", "flac", "--out", "coarse"]) == 0

    assert main(["inspect", "run", "--data", str(sounds), "--out", "report"]) == 0
    report = json.loads((tmp_path / "report/report.json").read_text())
    assert [figure["key"] for figure in report["figures"]] == ["snr_db", "distance_db"]
    assert set(report["bands"]) == {"temporal"} and report["noun"] == "sound"

    sample = ["sample", "run", "--seconds", "0.5", "--keep-level", "0", "--out", "drawn", "-n", "2"]
    assert main([*sample, "--from", str(sounds / "flac/1.flac")]) == 0
    assert read_samples(tmp_path / "drawn/0001.wav", RATE, 1, 10**6).shape == (1, RATE // 2)

    diffusion = ["train", "diffusion/tiny", "data.root=z", "out=d", "steps=2", "tracker=null"]
    assert main([*diffusion, "data.workers=0"]) == 0
    assert main(["generate", "d/pipeline", "--seconds", "0.5", "-n1", "--out", "made"]) == 0
    assert read_samples(tmp_path / "made/0000.wav", RATE, 1, 10**6).shape == (1, RATE // 2)
    pair = [str(sounds / "wav/0.wav"), str(sounds / "flac/1.flac")]
    mix = ["mix", *pair, "--model", "run", "--seconds", "0.5", "--steps", "2", "--out", "mixed"]
    assert main(mix) == 0 and (tmp_path / "mixed/coarse_1_of_a.wav").exists()

    assert main(["export", "run", "--out", "vae", "--data", str(sounds)]) == 0
    vae = AutoModel.from_pretrained(str(tmp_path / "vae"), trust_remote_code=True)
    x = torch.from_numpy(read_samples(sounds / "wav/0.wav", RATE, 1, 4097))[None]
    assert vae(x).sample.shape == x.shape


def test_long_sound_in_pieces_is_that_of_the_whole(model, tmp_path, monkeypatch):
    x = tone(2.0) + 0.1 * np.random.default_rng(0).normal(size=(1, 2 * RATE))
    path = write(tmp_path / "in/long.wav", x.clip(-1, 1))
    monkeypatch.setattr("stlatent.model.device.CPU_CHUNK_PIXELS", 4 * 64 * 5)  # 320 samples
    options = EncodeOptions(dtype=("float32",), precision="fp32")
    encode_folder(model, tmp_path / "in", tmp_path / "z", "m", options)
    found = LatentStore(tmp_path / "z").read("long.wav").levels
    whole = model.encode(_batch(read_samples(path, RATE, 1, 10**6))).levels
    for a, b in zip(found, whole, strict=True):
        assert a.shape == b.shape and torch.allclose(a, b, atol=1e-4)
    stlatent.save(model, tmp_path / "m.safetensors")
    decode = ["decode", str(tmp_path / "z"), "--model", str(tmp_path / "m.safetensors")]
    assert main([*decode, "--out", str(tmp_path / "out"), "--precision", "fp32"]) == 0
    latents = LatentStore(tmp_path / "z").read("long.wav")
    expected = model.decode(latents)[0].clamp(-1, 1).numpy()
    got = read_samples(tmp_path / "out/long.wav", RATE, 1, 10**6)
    assert got.shape == expected.shape and np.abs(got - expected).max() < 1e-3


def test_the_same_job_gives_the_same_bytes_and_names_what_it_leaves_out(model, sounds, tmp_path):
    shutil.copytree(sounds, tmp_path / "in")
    (tmp_path / "in/broken.mp3").write_bytes(b"no sound at all")
    for out in ("a", "b"):
        result = encode_folder(model, tmp_path / "in", tmp_path / out, "m")
        assert [failure.name for failure in result.failed] == ["broken.mp3"]
        assert result.parts == "samples" and result.frames > 3 * RATE
    files = [path.relative_to(tmp_path / "a") for path in (tmp_path / "a").rglob("*.safetensors")]
    assert files
    for name in files:
        assert (tmp_path / "a" / name).read_bytes() == (tmp_path / "b" / name).read_bytes()


def test_entropy_coded_sounds_are_as_near_as_the_posterior_says(model, sounds, tmp_path):
    encode_folder(model, sounds, tmp_path / "z", "m", EncodeOptions(entropy_code=True))
    store = LatentStore(tmp_path / "z", model)
    for name, item in store.items.items():
        x = torch.from_numpy(read_samples(sounds / name, RATE, 1, 10**9))[None]
        plain, coded = model.encode(x), store.read(name)
        assert [z.shape for z in coded.levels] == [z.shape for z in plain.levels]
        noise = (coded.levels[0] - plain.levels[0]).square().mean().sqrt()
        assert 0 < noise < 1.5 * plain.stds[0].square().mean().sqrt()
        pieces = zip(*store.stream(name, steps=3), strict=True)
        for z, parts in zip(coded.levels, pieces, strict=True):
            assert torch.equal(torch.cat(parts, 2), z)
        assert item.size == tuple(x.shape[2:])


@pytest.mark.parametrize(
    ("words", "said"),
    [
        ("encode {sounds} --model {m} --out new --tile 64", "--tile"),
        ("encode {sounds} --model {m} --out new --resolution 32", "--resolution"),
        ("encode {empty} --model {m} --out new", "holds no sound"),
        ("sample {m} --frames 17 --out new", "sounds, which have --seconds"),
        ("sample {m} --format mp4 --out new", "wav, flac"),
        ("inspect {m} --data {empty} --out new", "holds no sound"),
    ],
)
def test_wrong_words_are_one_line(words, said, model, sounds, tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "empty").mkdir()
    stlatent.save(model, tmp_path / "m.safetensors")
    words = words.format(sounds=sounds, m="m.safetensors", empty="empty")
    assert main(words.split()) == 2
    error = capsys.readouterr().err
    assert said in error and error.count("\n") == 1 and not (tmp_path / "new").exists()


def test_figures_of_sound():
    x = _batch(tone(1.0))
    assert snr_db(x, 0 * x) == pytest.approx(0, abs=0.01) and snr_db(x, x) > 80
    assert snr_db(x, x + 0.05 * x) == pytest.approx(26.02, abs=0.01)
    assert spectral_distance_db(x, x) == 0 < spectral_distance_db(x, 0 * x)
    assert spectral_distance_db(x, -x) == pytest.approx(0, abs=1e-4)  # phase is not heard
    medium = medium_of(config())
    assert medium.frames(x).shape == (1, 128, 256, 3) and medium.frames(x).max() > 200
    assert medium.frames(0 * x).max() == 0  # silence is black
    assert usual_model([".wav"]) == "audio" and usual_model([".wav", ".mp4"]) == "video"


def _batch(samples: np.ndarray) -> torch.Tensor:
    return torch.from_numpy(samples).float()[None]
