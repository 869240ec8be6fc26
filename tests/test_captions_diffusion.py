"""From captions beside clips to videos that are asked for in words, with a tiny text encoder."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from domains import batch, ladder

from stlatent import LadderPipeline, checkpoint
from stlatent.cli import main
from stlatent.diffusion.text import captions_file, embed
from stlatent.jobs.encode import encode_folder
from stlatent.media.video.pixels import to_uint8
from stlatent.media.video.write import frame_writer
from stlatent.store.labels import VectorFile

transformers = pytest.importorskip("transformers", reason="words are read by transformers")
CONFIG = Path(__file__).parents[1] / "configs" / "diffusion" / "tiny.yaml"
WORDS = ["a", "red", "blue", "ball", "falls", "rises"]
CAPTIONS = ("a red ball falls", "a blue ball rises", "a red ball falls", None)


@pytest.fixture(scope="module")
def encoder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A random BERT that knows six words."""
    from tokenizers import Tokenizer, models, pre_tokenizers

    folder = tmp_path_factory.mktemp("encoder")
    names = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", *WORDS]
    read = Tokenizer(models.WordLevel({word: i for i, word in enumerate(names)}, "[UNK]"))
    read.pre_tokenizer = pre_tokenizers.Whitespace()
    from tokenizers.processors import TemplateProcessing

    read.post_processor = TemplateProcessing("[CLS] $A [SEP]", None, [("[CLS]", 2), ("[SEP]", 3)])
    named = {"pad_token": "[PAD]", "unk_token": "[UNK]"}
    transformers.PreTrainedTokenizerFast(tokenizer_object=read, **named).save_pretrained(folder)
    torch.manual_seed(0)
    config = transformers.BertConfig(
        vocab_size=len(names),
        hidden_size=24,
        num_hidden_layers=1,
        num_attention_heads=2,
        intermediate_size=32,
    )
    transformers.BertModel(config).save_pretrained(folder)
    return str(folder)


@pytest.fixture(scope="module")
def latents(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Four videos, of which three have a caption."""
    folder = tmp_path_factory.mktemp("captions")
    model = ladder("video")
    checkpoint.save(model, folder / "model.safetensors")
    (folder / "videos").mkdir()
    for k, caption in enumerate(CAPTIONS):
        path = folder / "videos" / f"{k}.mp4"
        with frame_writer(path, "mp4", False, (17, 32, 32), 10) as writer:
            writer.write(to_uint8(batch("video", (17, 32, 32), 1)[0]))
        if caption:
            path.with_suffix(".txt").write_text(caption)
    encode_folder(model, folder / "videos", folder / "latents", str(folder / "model.safetensors"))
    return folder / "latents"


def test_a_text_is_one_vector_whatever_it_is_read_with(encoder: str) -> None:
    texts = ["a red ball falls", "a", "", "a blue ball rises"]
    together, alone = embed(texts, encoder), torch.cat([embed([t], encoder) for t in texts])
    assert together.shape == (4, 24)
    torch.testing.assert_close(together, alone, atol=1e-5, rtol=1e-4)  # padding says nothing
    torch.testing.assert_close(together.square().mean(1), torch.ones(4))
    assert (together[:, None] - together).norm(dim=-1).fill_diagonal_(9).min() > 0.1


def test_captions_are_embedded_once(encoder: str, latents: Path, monkeypatch) -> None:
    file = captions_file(latents, encoder)
    vectors, empty = VectorFile(file), embed(["", *CAPTIONS[:3]], encoder)
    for k in range(3):
        torch.testing.assert_close(vectors[f"{k}.mp4"], empty[k + 1])
    torch.testing.assert_close(vectors["3.mp4"], empty[0])
    monkeypatch.setattr("stlatent.diffusion.text.embed", None)  # not again
    assert captions_file(latents, encoder) == file


def test_words_make_videos(encoder: str, latents: Path, tmp_path: Path, capsys) -> None:
    condition = [f"diffusion.condition.encoder={encoder}", "diffusion.condition.classes=0"]
    arguments = ["train", str(CONFIG), f"data.root={latents}", "data.frames=9", *condition]
    assert main([*arguments, "steps=2", "tracker=null", f"out={tmp_path / 'run'}"]) == 0
    folder = tmp_path / "run" / "pipeline"
    pipeline = LadderPipeline.from_pretrained(folder)
    assert pipeline.denoiser.condition.embedding == 24
    with torch.no_grad():  # untrained gates are closed
        for parameter in pipeline.denoiser.parameters():
            parameter += 0.1 * torch.randn_like(parameter)
    pipeline.set_progress_bar_config(disable=True)

    def made(asked) -> torch.Tensor:
        seed = torch.Generator().manual_seed(0)
        return pipeline(
            asked, num_inference_steps=2, guidance_scale=2.0, generator=seed, output_type="pt"
        ).frames

    red, blue = made("a red ball falls"), made("a blue ball rises")
    assert not torch.equal(red, blue)
    assert torch.equal(made(embed(["a red ball falls"], encoder)), red)
    assert len(made(["a red ball falls", "a blue ball rises"])) == 2
    words = ["--prompt", "a red ball", "a blue ball", "-n", "2", "--steps", "1"]
    assert main(["generate", str(folder), "--out", str(tmp_path / "made"), *words]) == 0
    assert {"0000.mp4", "0001.mp4"} <= {p.name for p in (tmp_path / "made").iterdir()}


@pytest.mark.parametrize("given", ["nowhere", "classes"])
def test_what_is_no_encoder_is_one_line(given: str, latents: Path, tmp_path, capsys) -> None:
    encoder = tmp_path / "empty"
    encoder.mkdir()
    more = ["diffusion.condition.classes=2"] if given == "classes" else []
    arguments = [f"diffusion.condition.encoder={encoder}", *more, f"out={tmp_path / 'run'}"]
    assert main(["train", str(CONFIG), f"data.root={latents}", *arguments]) == 2
    words = capsys.readouterr().err
    assert ("not both" if more else "does not open") in words and len(words.splitlines()) == 1
