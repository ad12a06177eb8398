import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from litetext.cli import main
from litetext.cli.predictor import several_beside
from litetext.errors import LitetextError
from litetext.evaluate.tables import file_of
from litetext.journal import write_recorded
from litetext.mini.clip_export import ANNOTATION, export_clips
from litetext.mini.facts import shipped_concepts
from litetext.mini.motion import MotionWorld
from litetext.mini.world import World
from litetext.results.formats.veval import prediction, read_video_truth

from ..reports.pages import Page
from .world import HEIGHT, WIDTH, ground_truth, perfect, shaken

GOLDEN = Path(__file__).parent / "golden"
IMAGE, VIDEO = GOLDEN / "image", GOLDEN / "video"


@pytest.fixture
def run(capsys):
    def call(*arguments, code=0):
        with pytest.raises(SystemExit) as exit:
            main(["evaluate", *map(str, arguments)])
        output = capsys.readouterr()
        assert exit.value.code == code, output.err
        return output

    return call


def test_json_of_one_system(run):
    output = run("--gt", IMAGE / "gt_a.json", "--gt", IMAGE / "gt_b.json", "--pred", IMAGE / "pred.json", "--json")
    document = json.loads(output.out)
    expected = json.loads((IMAGE / "expected.json").read_text())["cases"]["oracle_ab"]["results"]["segm"]["metrics"]
    assert document["official"] == pytest.approx(expected)
    assert document["cgF1"] == pytest.approx(100 * expected["cgF1_eval_segm_cgF1"])
    assert document["pmF1"] == pytest.approx(100 * expected["cgF1_eval_segm_positive_micro_F1"])
    assert document["IL_MCC"] == pytest.approx(expected["cgF1_eval_segm_IL_MCC"])
    assert "crowd objects are dropped" in " ".join(output.err.split())


def test_boxes_can_be_scored(run):
    output = run("--gt", IMAGE / "gt_a.json", "--pred", IMAGE / "pred.json", "--iou-type", "bbox", "--json")
    expected = json.loads((IMAGE / "expected.json").read_text())["cases"]["single_a"]["results"]["bbox"]["metrics"]
    assert json.loads(output.out)["official"] == pytest.approx(expected)


def subset_files(folder):
    """The golden pairs as seven subsets in SA-Co's file names, and predictions for all of them."""
    expected = json.loads((IMAGE / "expected_subsets.json").read_text())
    for annotator in expected["annotators"]:
        document = json.loads((IMAGE / f"gt_{annotator}.json").read_text())
        for name, subset in expected["subsets"].items():
            ids = set(subset["pair_ids"])
            part = {
                "images": [image for image in document["images"] if image["id"] in ids],
                "annotations": [one for one in document["annotations"] if one["image_id"] in ids],
                "categories": document["categories"],
            }
            (folder / f"gold_{name}_merged_{annotator}_release_test.json").write_text(json.dumps(part))
    return expected


def test_seven_subsets_and_their_plain_mean(run, tmp_path):
    expected = subset_files(tmp_path)
    document = json.loads(run("--gt", tmp_path, "--pred", IMAGE / "pred.json", "--json").out)
    assert set(document["subsets"]) == set(expected["subsets"])
    for name, subset in expected["subsets"].items():
        found = document["subsets"][name]
        assert [round(found[key], 2) for key in ("cgF1", "IL_MCC", "pmF1")] == list(subset["expected"].values())
    means = np.mean([subset["cgF1"] for subset in document["subsets"].values()])
    assert document["cgF1"] == pytest.approx(means)
    assert "Avg" in run("--gt", tmp_path, "--pred", IMAGE / "pred.json").out


def test_subsets_take_a_folder_of_predictions(run, tmp_path):
    expected = subset_files(tmp_path)
    results = json.loads((IMAGE / "pred.json").read_text())
    for name, subset in expected["subsets"].items():
        folder = tmp_path / "predictions" / f"gold_{name}"
        folder.mkdir(parents=True)
        own = [result for result in results if result["image_id"] in set(subset["pair_ids"])]
        (folder / "results.json").write_text(json.dumps(own))
    one = json.loads(run("--gt", tmp_path, "--pred", IMAGE / "pred.json", "--json").out)
    many = json.loads(run("--gt", tmp_path, "--pred", tmp_path / "predictions", "--json").out)
    assert {name: one[name] for name in ("cgF1", "IL_MCC", "pmF1")} == {
        name: many[name] for name in ("cgF1", "IL_MCC", "pmF1")
    }
    (tmp_path / "predictions" / "gold_crowded" / "results.json").unlink()
    assert "'crowded' in its path" in run("--gt", tmp_path, "--pred", tmp_path / "predictions", code=2).err


def test_a_subset_whose_name_is_in_anothers_has_a_file(tmp_path):
    for name in ("crowded", "fg_food", "fg_food2"):
        (tmp_path / f"{name}.json").touch()
    assert file_of(tmp_path, "fg_food") == tmp_path / "fg_food.json"
    (tmp_path / "fg_food.json").rename(tmp_path / "my_fg_food.json")
    with pytest.raises(LitetextError, match="one .json file must have the name 'fg_food'"):
        file_of(tmp_path, "fg_food")


@pytest.mark.parametrize(("target", "folder"), [("sam3.json", "sam3"), ("sam3.1", "sam3.1"), ("sam3.1.json", "sam3.1")])
def test_only_the_ending_json_is_left_out_of_a_folders_name(tmp_path, target, folder):
    assert several_beside(tmp_path / target) == tmp_path / folder


@pytest.fixture
def two_systems(tmp_path):
    document = ground_truth(2, pairs=30)
    (tmp_path / "truth.json").write_text(json.dumps(document))
    (tmp_path / "teacher.json").write_text(json.dumps(perfect(document)))
    (tmp_path / "s0.json").write_text(json.dumps(shaken(document, 2)))
    for image in document["images"]:
        Image.new("RGB", (WIDTH, HEIGHT), "navy").save(tmp_path / image["file_name"])
    (tmp_path / "seen.txt").write_text("red ball\nsmall dog\n")
    return tmp_path


def test_systems_are_compared_with_the_first(run, two_systems):
    given = [
        "--gt",
        two_systems / "truth.json",
        "--pred",
        two_systems / "teacher.json",
        "--pred",
        two_systems / "s0.json",
    ]
    output = run(*given, "--seen-words", two_systems / "seen.txt", "--resamples", 50, "--json")
    document = json.loads(output.out)
    teacher, student = document["retention"]
    assert (teacher["system"], teacher["retained"]) == ("teacher", 100)
    assert student["retained"] == pytest.approx(100 * student["cgF1"] / teacher["cgF1"])
    assert student["parameters"] is student["compression"] is None  # a name alone says nothing of an encoder
    comparison = document["comparisons"]["with"]["s0"]
    assert comparison["differences"]["cgF1"]["difference"] == pytest.approx(student["cgF1"] - teacher["cgF1"])
    assert set(comparison["groups"]) == {"prompt_length", "instances", "words"}
    for name, parameters in (("teacher", 353_724_672), ("s0", 42_541_312)):
        path = two_systems / f"{name}.json"
        results = json.loads(path.read_text())
        path.unlink()
        write_recorded(path, {}, results, {"text_parameters": parameters})
    _, student = json.loads(run(*given, "--resamples", 10, "--json").out)["retention"]
    assert student["parameters"] == 42_541_312
    assert student["compression"] == pytest.approx(353_724_672 / 42_541_312)
    assert "42.54 M" in run(*given, "--resamples", 10).out


def test_the_report_is_one_file_with_everything(run, two_systems):
    output = run(
        *("--gt", two_systems / "truth.json", "--pred", two_systems / "teacher.json"),
        *("--pred", f"<b>={two_systems / 's0.json'}", "--images", two_systems, "--calibrate"),
        *("--resamples", 20, "--html", two_systems / "report.html", "--json"),
    )
    assert "calibration" in json.loads(output.out)["systems"]["<b>"]
    page = (two_systems / "report.html").read_text()
    assert page.count("data:image/jpeg;base64,") >= 4
    assert "&lt;b&gt; against teacher" in page
    assert "<b> " not in page
    assert not re.search(r"[^\d]-0\.0+[^\d]", page) and "none instances" not in page and "no instance" in page
    drawn = Page()
    drawn.feed(page)
    assert drawn.open == [] and all(address.startswith(("#", "data:")) for address in drawn.addresses)
    assert len(drawn.points) == page.count("<svg") >= 6, "every chart can be hovered"
    assert len(set(re.findall(r' id="([^"]+)"', page))) == len(re.findall(r' id="', page)), "anchors occur once"
    for heading in ("Scores", "How tight the outlines are", "which pairs are hard", "worst cases", "reliability"):
        assert heading in page


def test_boxes_are_drawn_too(run, two_systems):
    given = ["--gt", two_systems / "truth.json", "--pred", two_systems / "s0.json", "--iou-type", "bbox"]
    run(*given, "--html", two_systems / "report.html")
    assert "worst cases" in (two_systems / "report.html").read_text()


def test_video_json(run):
    output = run("--video", "--gt", VIDEO / "gt.json", "--pred", VIDEO / "pred.json", "--json")
    document = json.loads(output.out)
    official = json.loads((VIDEO / "expected.json").read_text())["pred.json"]["dataset_results"]
    assert document["cgF1"] == pytest.approx(100 * official["cgF1"]["video_mask_demo_cgf1_micro_50_95"])
    assert document["TETA"] == pytest.approx(official["TETA_full"]["TETA"])
    for key in ("cgF1", "pmF1", "pHOTA", "pDetA", "pAssA", "TETA", "VL_MCC"):
        assert key in document
    assert "pHOTA" in run("--video", "--gt", VIDEO / "gt.json", "--pred", VIDEO / "pred_empty.json").out


def test_the_truth_given_as_predictions_scores_100(run, tmp_path):
    export_clips(MotionWorld(World(shipped_concepts())), 90210, 3, 5, tmp_path / "clips", {})
    truth = read_video_truth(tmp_path / "clips" / ANNOTATION)
    predictions = [prediction(track, truth.videos[track.video].size) for track in truth.tracks]
    (tmp_path / "pred.json").write_text(json.dumps(predictions))
    given = ["--video", "--gt", tmp_path / "clips" / ANNOTATION, "--pred", tmp_path / "pred.json", "--json"]
    document = json.loads(run(*given).out)
    assert document["positive_pairs"] and document["pairs"] > document["positive_pairs"]
    for key in ("cgF1", "pmF1", "pHOTA", "pDetA", "pAssA", "TETA"):
        assert document[key] == pytest.approx(100, rel=1e-3), key  # the official MCC adds a little to its divisor
    assert document["VL_MCC"] == pytest.approx(1, rel=1e-3)


def test_systems_on_several_video_sets_are_rows(run, tmp_path):
    for name in ("saco_veval_sav_val", "saco_veval_yt1b_val"):
        shutil.copy(VIDEO / "gt.json", tmp_path / f"{name}.json")
    for system, file in (("full", "pred.json"), ("none", "pred_empty.json")):
        (tmp_path / system).mkdir()
        for part in ("SA-V", "YT-Temporal-1B"):
            shutil.copy(VIDEO / file, tmp_path / system / f"{part}.json")
    given = ["--video", "--gt", tmp_path, "--pred", tmp_path / "full", "--pred", tmp_path / "none"]
    document = json.loads(run(*given, "--json").out)["systems"]
    assert list(document) == ["full", "none"] and list(document["none"]) == ["SA-V", "YT-Temporal-1B"]
    assert document["full"]["SA-V"]["pHOTA"] > document["none"]["SA-V"]["pHOTA"] == 0
    table = run(*given).out
    assert table.count("YT-Temporal-1B") == 2 and "pHOTA" in table
    one = run("--video", "--gt", tmp_path, "--pred", VIDEO / "pred.json", code=2).err
    assert "one file for 2 sets" in " ".join(one.split())


@pytest.mark.parametrize("kind", [(), ("--video",)])
def test_predictions_are_not_replaced_by_a_model_of_their_name(run, kind, tmp_path):
    folder = VIDEO if kind else IMAGE
    truth = folder / ("gt.json" if kind else "gt_a.json")
    given = [*kind, "--gt", truth, "--pred", f"mini={folder / 'pred.json'}", "--model", "mini", "--images", tmp_path]
    error = run(*given, code=2).err
    assert "two systems are named 'mini'" in " ".join(error.split())
    assert error.count("\n") == 1


def test_a_file_with_an_equals_sign_in_its_name(run, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    shutil.copy(IMAGE / "pred.json", "a=b.json")
    given = ["--gt", IMAGE / "gt_a.json", "--pred", "a=b.json", "--pred", "named=a=b.json", "--resamples", 10, "--json"]
    assert [row["system"] for row in json.loads(run(*given).out)["retention"]] == ["a=b", "named"]


def test_check_says_what_is_in_a_file_or_what_is_wrong(run, tmp_path):
    assert "284 predictions in 81 pairs" in run("--check", IMAGE / "pred.json").out
    assert json.loads(run("--check", IMAGE / "pred.json", "--gt", IMAGE / "gt_a.json", "--json").out)["ok"] is True
    checked = run("--check", VIDEO / "pred.json", "--gt", VIDEO / "gt.json", "--video", "--json")
    assert json.loads(checked.out)["predictions"] == 22
    (tmp_path / "bad.json").write_text((IMAGE / "pred.json").read_text()[:-500])
    error = run("--check", tmp_path / "bad.json", code=2).err
    assert re.search(r"bad\.json is not valid JSON at entry \d+: the file is cut short", " ".join(error.split()))
    assert error.count("\n") == 1


def test_a_file_is_checked_against_a_folder(run, tmp_path, monkeypatch):
    # Scoring needs an extra; checking works without it.
    for module in [name for name in sys.modules if name.startswith("litetext.evaluate")]:
        monkeypatch.setitem(sys.modules, module, None)
    (tmp_path / "images").mkdir()
    subset_files(tmp_path / "images")
    checked = run("--check", IMAGE / "pred.json", "--gt", tmp_path / "images", "--json")
    assert json.loads(checked.out)["predictions"] == 284
    (tmp_path / "videos").mkdir()
    shutil.copy(VIDEO / "gt.json", tmp_path / "videos" / "saco_veval_sav_val.json")
    checked = run("--check", VIDEO / "pred.json", "--gt", tmp_path / "videos", "--video", "--json")
    assert json.loads(checked.out)["predictions"] == 22


@pytest.mark.parametrize("html", [False, True])
def test_a_missing_folder_of_images_is_refused(run, tmp_path, html):
    given = ["--gt", IMAGE / "gt_a.json", "--pred", IMAGE / "pred.json", "--images", tmp_path / "absent"]
    error = run(*given, *(["--html", tmp_path / "report.html"] if html else []), code=2).err
    assert "absent: no such folder" in " ".join(error.split())
    assert error.count("\n") == 1
    assert not (tmp_path / "report.html").exists()


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--pred", IMAGE / "pred.json"], "nothing to score against"),
        (["--gt", IMAGE / "gt_a.json"], "nothing to score: give --pred"),
        (["--gt", IMAGE / "gt_a.json", "--pred", "absent.json"], "absent.json: no such file"),
        (["--gt", IMAGE / "gt_a.json", "--model", "mini"], "give --images DIR"),
        (["--gt", IMAGE / "gt_a.json", "--system", "yolo", "--images", "."], "unknown baseline 'yolo'"),
        (["--gt", IMAGE / "gt_a.json", "--pred", IMAGE / "pred.json", "--iou-type", "mask"], "unknown IoU type"),
        (["--gt", IMAGE / "gt_a.json", "--model", "a", "--system", "owlv2"], "not both"),
        (["--video", "--gt", VIDEO / "gt.json"], "nothing to score"),
    ],
)
def test_wrong_usage_is_one_line(run, arguments, message):
    error = run(*arguments, code=2).err
    assert message in " ".join(error.split())


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        *(
            ([*kind, *option], f"{option[0]} is of {what}")
            for kind, what in (
                (("--video", "--gt", VIDEO / "gt.json", "--pred", VIDEO / "pred.json"), "images"),
                (("--check", IMAGE / "pred.json"), "scores"),
            )
            for option in (("--html", "r.html"), ("--calibrate",), ("--seen-words", "w.txt"))
        ),
        *(
            (["--gt", IMAGE / "gt_a.json", "--pred", IMAGE / "pred.json", *option], f"{option[0]} is of {owner}")
            for option, owner in (
                (("--text", "s0"), "--model"),
                (("--policy", "full"), "--model"),
                (("--detector", "d"), "--system"),
                (("--masks", "m"), "--system"),
                (("--save-predictions", "p.json"), "--model and --system"),
            )
        ),
        (["--gt", IMAGE / "gt_a.json", "--system", "owlv2", "--text", "s0"], "--text is of --model"),
        (["--gt", IMAGE / "gt_a.json", "--model", "mini", "--masks", "m"], "--masks is of --system"),
    ],
)
def test_options_without_effect_are_refused(run, arguments, message, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    error = run(*arguments, code=2).err
    assert message in " ".join(error.split())
    assert error.count("\n") == 1
    assert list(tmp_path.iterdir()) == []
