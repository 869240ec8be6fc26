"""Scans: real NIfTI files and DICOM series through training, data sets and back."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
import torch

import stlatent
from stlatent.cli import main
from stlatent.files import UnreadableError
from stlatent.jobs import EncodeOptions, encode_folder
from stlatent.jobs.decode import decode_store
from stlatent.media.registry import medium_of
from stlatent.media.source import suffix_of
from stlatent.media.volumes.child import open_volumes
from stlatent.media.volumes.scans import write_nifti
from stlatent.media.volumes.training import find_volumes
from stlatent.model.config import Level, ModelConfig, Stage
from stlatent.store.reader import LatentStore

CONFIGS = Path(__file__).parents[1] / "configs"
MRI = Path(nibabel.__file__).parent / "tests/data"
CT = Path(pydicom.__file__).parent / "data/test_files/dicomdirtests/98892001/CT5N"


def model(strides: tuple[tuple[int, ...], ...] = ((1, 16, 16, 4), (1, 4, 4, 2))) -> stlatent.Ladder:
    torch.manual_seed(0)
    levels = tuple(Level(stride=s, width=24, latent=12, blocks=1) for s in strides)
    stem = Stage(stride=(1, 2, 2, 1), width=12, blocks=1)
    config = ModelConfig(domain="volumes", channels=1, stem=stem, levels=levels)
    return stlatent.Ladder(config).eval().requires_grad_(False)


@pytest.fixture(scope="module")
def series(tmp_path_factory) -> Path:
    """Five slices of a CT scan, named against their order."""
    folder = tmp_path_factory.mktemp("scans") / "ct"
    folder.mkdir()
    for i, file in enumerate(sorted(CT.iterdir(), reverse=True)):
        shutil.copy(file, folder / f"{i}.dcm")
    return folder


def test_scans_come_back_where_they_lay_and_in_their_own_numbers(series, tmp_path):
    """An MRI of 128 x 96 x 24, twice, and slices of a CT, by a model of other strides along z."""
    folder = series.parent
    shutil.copy(MRI / "example4d.nii.gz", folder / "mri.nii.gz")
    ladder = model()
    result = encode_folder(ladder, folder, tmp_path / "z", "m", EncodeOptions(dtype=("float32",)))
    assert not result.failed
    store = LatentStore(tmp_path / "z", ladder)
    assert [(n, i.kind, i.size) for n, i in store.items.items()] == [
        ("ct", "series", (1, 16, 16, 5)),
        ("mri.nii.gz", "scan", (2, 128, 96, 24)),
    ]
    assert store.items["mri.nii.gz"].grids[1] == (2, 32, 24, 12)
    paths = decode_store(ladder, store, tmp_path / "out")
    assert [path.name for path in paths] == ["ct.nii.gz", "mri.nii.gz"]
    for path, source in zip(paths, (series, folder / "mri.nii.gz"), strict=True):
        back, original = nibabel.load(path), open_volumes(source)
        np.testing.assert_allclose(back.affine[:3], original.affine, atol=1e-4)
        found = np.asarray(back.dataobj)
        found = np.moveaxis(found, 3, 0) if found.ndim == 4 else found[None]
        expected = original.read(0, original.shape[0])[..., 0]
        assert found.shape == expected.shape
        assert np.corrcoef(found.ravel(), expected.ravel())[0, 1] > 0.8
        low, high = original.range()
        assert low - 1 <= found.min() <= found.max() <= high + 1
        assert abs(found.mean() - expected.mean()) < 0.05 * (high - low)[0]
    again = nibabel.load(paths[1])
    assert again.header.get_zooms() == pytest.approx((2, 2, 2.2, 2000), rel=1e-3)
    assert again.header.get_xyzt_units() == ("mm", "sec")


def test_a_series_is_put_in_order_and_in_its_units(series):
    found = open_volumes(series)
    heads = [pydicom.dcmread(file) for file in series.iterdir()]
    heads.sort(key=lambda head: float(head.ImagePositionPatient[2]))
    slices = [h.pixel_array.T * float(h.RescaleSlope) + float(h.RescaleIntercept) for h in heads]
    np.testing.assert_array_equal(found.read(0, 1)[0, ..., 0], np.stack(slices, -1))
    first, affine = heads[0], np.array(found.affine)
    np.testing.assert_allclose(np.linalg.norm(affine[:, :2], axis=0), first.PixelSpacing[::-1])
    np.testing.assert_allclose(affine[:, 3] * [-1, -1, 1], first.ImagePositionPatient)
    distance = heads[1].ImagePositionPatient[2] - first.ImagePositionPatient[2]
    assert affine[2, 2] == pytest.approx(distance)


def test_series_that_are_not_whole_are_named(series, tmp_path):
    shutil.copytree(series, tmp_path / "gap")
    order = sorted(
        (tmp_path / "gap").iterdir(),
        key=lambda f: float(pydicom.dcmread(f, stop_before_pixels=True).ImagePositionPatient[2]),
    )
    order[2].unlink()
    with pytest.raises(UnreadableError, match="not evenly spaced: some are missing"):
        open_volumes(tmp_path / "gap")
    shutil.copytree(series, tmp_path / "two")
    other = pydicom.dcmread(tmp_path / "two/0.dcm")
    other.SeriesInstanceUID = "1.2.3"
    other.save_as(tmp_path / "two/0.dcm")
    with pytest.raises(UnreadableError, match="several series"):
        open_volumes(tmp_path / "two")
    (tmp_path / "two/0.dcm").write_bytes(b"no slice")
    with pytest.raises(UnreadableError, match="no series that can be read"):
        open_volumes(tmp_path / "two")
    shutil.copytree(series, tmp_path / "cut")
    (tmp_path / "cut/1.dcm").write_bytes((series / "1.dcm").read_bytes()[:3000])
    with pytest.raises(UnreadableError, match="cannot be decoded|no series"):
        open_volumes(tmp_path / "cut").read(0, 1)


def test_files_that_are_no_scans_are_named(tmp_path):
    (tmp_path / "a.nii").write_bytes(b"no scan at all")
    with pytest.raises(UnreadableError, match="no NIfTI file"):
        open_volumes(tmp_path / "a.nii")
    whole = (MRI / "example4d.nii.gz").read_bytes()
    (tmp_path / "b.nii.gz").write_bytes(whole[: len(whole) // 2])
    found = open_volumes(tmp_path / "b.nii.gz")
    with pytest.raises(UnreadableError, match="damaged or cut off"):
        found.read(1, 2)
    huge = nibabel.Nifti1Header()
    huge.set_data_shape((2000, 2000, 2000))
    huge["vox_offset"] = 352
    (tmp_path / "c.nii").write_bytes(huge.binaryblock + b"\0" * 4)
    with pytest.raises(UnreadableError, match="2000x2000x2000, more than"):
        open_volumes(tmp_path / "c.nii")
    shutil.copy(MRI / "anatomical.nii", tmp_path / "good.nii")
    result = encode_folder(model(), tmp_path, tmp_path / "z", "m")
    assert sorted(failure.name for failure in result.failed) == ["a.nii", "b.nii.gz", "c.nii"]
    assert not list((tmp_path / "z").rglob("*.part*"))


def test_what_is_written_is_what_was_given_and_the_same_every_time(tmp_path):
    values = np.random.default_rng(0).normal(size=(3, 5, 4, 2, 1)).astype(np.float32) * 1000
    affine = ((0.0, -2.0, 0.0, 7.0), (1.5, 0.0, 0.0, -3.0), (0.0, 0.0, 4.0, 11.0))
    for name in ("a.nii.gz", "b.nii.gz", "c.nii"):
        count = write_nifti(tmp_path / name, [values[:2], values[2:]], (3, 5, 4, 2), affine, 0.5)
        assert count == 3
        found = open_volumes(tmp_path / name)
        np.testing.assert_array_equal(found.read(0, 3), values)
        np.testing.assert_allclose(found.affine, affine)
        assert found.fps == pytest.approx(0.5)
    assert (tmp_path / "a.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_large_volumes_go_through_in_tiles(tmp_path):
    """Far from where tiles meet, latents are those of the whole; what is decoded has no seam."""
    grid = np.stack(np.meshgrid(*(np.arange(n) for n in (96, 32, 8)), indexing="ij"))
    values = np.sin(grid[0] / 9) + np.cos(grid[1] / 5) + grid[2] / 8
    image = nibabel.Nifti1Image(values.astype(np.float32), np.eye(4))
    (tmp_path / "in").mkdir()
    nibabel.save(image, tmp_path / "in/a.nii")
    ladder, found = model(), {}
    for tile in (32, 128):
        options = EncodeOptions(dtype=("float32",), precision="fp32", tile=tile)
        encode_folder(ladder, tmp_path / "in", tmp_path / f"{tile}", "m", options)
        store = LatentStore(tmp_path / f"{tile}", ladder)
        assert store.header.tile == tile
        (path,) = decode_store(ladder, store, tmp_path / f"out{tile}", precision="fp32")
        found[tile] = store.read("a.nii").levels[1], np.asarray(nibabel.load(path).dataobj)
    assert found[32][0].shape == found[128][0].shape == (1, 12, 1, 24, 8, 4)
    torch.testing.assert_close(found[32][0][..., :2, 2:6, :], found[128][0][..., :2, 2:6, :])
    assert np.abs(found[32][1] - found[128][1]).max() < 0.1 * np.ptp(values)


def test_runs_train_on_scans_each_by_its_own_range(series, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for i, gain in enumerate((1.0, 50.0)):
        (tmp_path / "scans").mkdir(exist_ok=True)
        values = gain * np.random.default_rng(i).random((40, 36, 16), np.float32)
        nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), tmp_path / f"scans/{i}.nii.gz")
    settings = ["out=run", "steps=2", "tracker=null", "data.workers=0", "data.crop=[32, 32, 16]"]
    held = "data.validation={names: [1.nii.gz], frames: 1, crop: [32, 32, 16], every: 2}"
    levels = "model.levels=[{stride: [1, 8, 8, 4], width: 8, latent: 4, blocks: 1}]"
    stem = "model.stem={stride: [1, 2, 2, 1], width: 8, blocks: 1}"
    words = ["train", str(CONFIGS / "volumes/scan.yaml"), *settings, held, levels, stem]
    assert main(words) == 0
    assert stlatent.load("run").config.scaling is None
    sample = ["sample", "run", "--frames", "1", "--size", "32x32x16", "--out", "drawn"]
    assert main([*sample, "--from", "scans/0.nii.gz", "--keep-level", "0", "-n", "1"]) == 0
    report = ["inspect", "run", "--data", "scans", "--size", "32x32x16", "--frames", "1"]
    assert main([*report, "--out", "report"]) == 0
    assert len(json.loads(Path("report/report.json").read_text())["clips"]) == 2
    assert main(["encode", "scans", "--model", "run", "--out", "z"]) == 0
    ranges = [item.scan.scaling.scale[0] for item in LatentStore("z").items.values()]
    assert ranges == pytest.approx([0.5, 25], rel=1e-2)


def test_folders_of_slices_are_one_source(series, tmp_path):
    shutil.copytree(series, tmp_path / "a/b")
    (tmp_path / "a/b/notes.txt").write_text("")
    np.save(tmp_path / "c.npy", np.zeros((1, 8, 8, 8)))
    found = [(source.name, source.kind) for source in find_volumes(tmp_path)]
    assert found == [("a/b", "series"), ("c.npy", "volumes")]
    assert [s.name for s in find_volumes(tmp_path / "a/b")] == ["b"]
    assert suffix_of("x/a.b.NII.GZ") == ".nii.gz" and suffix_of("a") == ""
    assert medium_of(model().config).kinds[".nii.gz"] == "scan"
