"""What a recipe of training may not ask for, and that each refusal is one line."""

from pathlib import Path

import pytest

from stlatent.cli import main
from stlatent.diffusion.config import DiffusionRun
from stlatent.model.config import load
from stlatent.train.config import RunConfig
from stlatent.train.plan import step_memory

CONFIGS = Path(__file__).parents[1] / "configs"
PICTURES = "{weight: 0.1, backbone: test_resnet}"


@pytest.mark.parametrize("value", [".inf", "-.inf", ".nan"])
@pytest.mark.parametrize("key", ["optimiser.lr", "optimiser.clip", "loss.rate.weight", "minutes"])
def test_numbers_are_finite(key, value):
    with pytest.raises(ValueError, match=f"{key}.*(finite|greater)"):
        load(RunConfig, CONFIGS / "video" / "tiny.yaml", [f"{key}={value}"])


@pytest.mark.parametrize(
    "recipe, override, words",
    [
        ("shape/voxel", f"perceptual={PICTURES}", "perceptual .*domain 'voxel'"),
        ("shape/voxel", f"alignment={PICTURES}", "alignment .*domain 'voxel'"),
        ("shape/triplane", f"perceptual={PICTURES}", "perceptual .*domain 'triplane'"),
        ("shape/triplane", "adversarial={weight: 0.1}", "adversarial .*`field`"),
        ("shape/triplane", "loss.equivariance=0.1", "loss.equivariance .*`field`"),
        ("shape/sparse", "loss.equivariance=0.1", "loss.equivariance is for whole grids"),
        ("image/on_foundation", f"perceptual={PICTURES}", "perceptual .*`foundation`"),
        ("image/on_foundation", "adversarial={weight: 0.1}", "adversarial .*`foundation`"),
        ("video/on_foundation", "loss.equivariance=0.1", "loss.equivariance .*`foundation`"),
        ("video/tiny", "loss.pixels={weight: 1.0}", "loss.pixels is for a model on a `foundation`"),
        ("image/tiny", "loss.prefix.blurred=true", "loss.prefix.blurred is for a model on"),
    ],
)
def test_terms_that_a_model_does_not_have_are_refused(recipe, override, words):
    with pytest.raises(ValueError, match=words):
        load(RunConfig, CONFIGS / f"{recipe}.yaml", [override])


@pytest.mark.parametrize("override", ["adversarial={weight: 0.1}", "loss.equivariance=0.1"])
def test_planes_that_are_data_have_all_terms_but_those_of_pictures(override):
    load(RunConfig, CONFIGS / "shape" / "planes.yaml", [override])


@pytest.mark.parametrize("recipe", ["video/tiny", "shape/voxel", "diffusion/tiny"])
def test_what_settings_were_called_is_still_read(recipe, tmp_path):
    text = (CONFIGS / f"{recipe}.yaml").read_text()
    assert "batch_size: " in text
    (tmp_path / "old.yaml").write_text(text.replace("batch_size: ", "batch: "))
    schema = DiffusionRun if recipe.startswith("diffusion") else RunConfig
    old, new = (load(schema, path) for path in (tmp_path / "old.yaml", CONFIGS / f"{recipe}.yaml"))
    assert old == new
    with pytest.raises(ValueError, match="unknown key 'data.batch', which is called 'batch_size'"):
        load(schema, CONFIGS / f"{recipe}.yaml", ["data.batch=1"])


@pytest.mark.parametrize("crop", [10**6, 2 * 10**9])
@pytest.mark.parametrize("recipe", ["video/tiny", "image/vqvae2"])
def test_a_step_that_fits_no_machine_is_one_line(recipe, crop, capsys):
    assert main(["train", str(CONFIGS / f"{recipe}.yaml"), "--dry-run", f"data.crop={crop}"]) == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert f"{crop}, {crop}]" in line


def test_counting_a_step_computes_none():
    """The same bytes on the meta device, where nothing is computed, as for real."""
    from domains import batch, ladder

    model, x = ladder("video").requires_grad_(True), batch("video")
    real = step_memory(model, tuple(x.shape))
    assert step_memory(model.to("meta"), tuple(x.shape)) == pytest.approx(real, rel=0.01)
