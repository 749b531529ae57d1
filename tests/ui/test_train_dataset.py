"""A dataset file of sd-scripts in the place of the folder of pictures."""

from __future__ import annotations

from lib_lora.services.atelier import Atelier, Folders
from lib_lora.train.run_folder import RunFolder
from lib_lora.ui.train.intake import Intake
from tests.ui.test_train_panel import STEPS, atelier, folder, looked, panel, raw, wait, words

__all__ = ["atelier", "folder", "panel", "words"]


DATASET = """
[general]
shuffle_caption = true
debug_dataset = true
[[datasets]]
resolution = 64
batch_size = 2
  [[datasets.subsets]]
  image_dir = "絵"
  num_repeats = 5
[[datasets]]
resolution = 128
  [[datasets.subsets]]
  image_dir = "絵"
"""


def test_a_dataset_file_stands_in_the_place_of_the_folder(panel, atelier, folder, words):
    file = folder.parent / "dataset.toml"
    file.write_text(DATASET, encoding="utf-8")
    _, found, summary, gallery, _ = looked(panel, file)
    assert "debug_dataset" in summary  # what is not followed
    assert "broken.png" in summary
    assert [text.split(" · ")[1] for _, text in gallery] == ["64×64", "64×64", "64×64", "128×128", "160×96", "160×96"]
    values = {"dim": 2, "text_encoder_ratio": 0.0}
    row = panel.form.refresh(found, "krnk", "character", STEPS, "krnk_v1", {}, [], *raw(**values))
    assert "atelier-error" not in row[0]
    assert words("train.n_found", n=6) in summary
    atelier.queue.submit("wait", "wait", lambda job: wait(lambda: job.stopped))
    try:
        panel.form.train(found, "krnk", "character", STEPS, "krnk_v1", row[4], *raw(**values))
        kept = RunFolder(atelier.folders.runs / "krnk_v1").options()
        assert (kept.images, kept.dataset_config) == ("", str(file))
        assert panel.orders.do("again krnk_v1", {}).values["folder"] == str(file)
    finally:
        atelier.trainings.remove("krnk_v1")
        atelier.queue.running.stop()
    refused = panel.form.refresh(found, "krnk", "character", STEPS, "x", {}, [], *raw(**values, reg_images=str(folder)))
    assert "dataset_config, reg_images" in refused[0]


def test_a_dataset_file_is_told_by_its_place_and_may_not_leave_the_folders(studio, panel, tmp_path, folder, words):
    file = folder.parent / "dataset.toml"
    file.write_text(DATASET.replace("num_repeats", "repeats_num"), encoding="utf-8")
    message = looked(panel, file)[0]
    assert "repeats_num" in message
    assert "datasets[1].subsets[1]" in message
    confined = Atelier(studio, Folders.under(tmp_path / "data", confined=True))
    inside = tmp_path / "data" / "dataset.toml"
    inside.write_text(DATASET.replace("絵", str(folder)), encoding="utf-8")
    message, found, *_ = list(Intake(confined, words).look(str(inside), "character", 0))[-1]
    assert "dataset_config" in message
    assert found is None
