"""Every reader of files, with files to spoil and what reads them: directly, and through a command."""

from __future__ import annotations

import contextlib
import io
import json
import pickle
import random
import shutil
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from .mutations import TEXTS, spoiled_bytes, spoiled_json

GOLDEN = Path(__file__).parents[1] / "evaluate" / "golden"


@dataclass(frozen=True)
class Spoiled:
    """A file to write before each reading, and what to write.

    Attributes:
        path: where it stands; the other files of its folder are whole.
        contents: by name.
        read: raises `LitetextError` or returns.
        command: arguments of a command that reads the file, if there is one; every fourth content goes through it too.
    """

    path: Path
    contents: dict[str, bytes]
    read: Callable[[Path], object]
    command: Callable[[Path], list[Any]] | None = None
    texts: bool = True
    others: dict[str, bytes] = field(default_factory=dict)

    def cases(self) -> Iterator[tuple[str, bytes]]:
        """Yield (name, content)."""
        yield from self.contents.items()
        if self.texts:
            yield from TEXTS.items()


def _prompts(folder: Path) -> Iterator[Spoiled]:
    import pyarrow
    from pyarrow import parquet

    from litetext.prompts import read_prompts

    phrases = ["a red dog", "naïve café", "person's hand", "stop sign"] * 5
    parquet.write_table(pyarrow.table({"id": range(20), "phrase": phrases}), folder / "seed.parquet")
    gold = {"images": [{"id": n, "text_input": phrase} for n, phrase in enumerate(phrases)], "categories": []}
    refs = [{"ref_id": n, "sentences": [{"sent": phrase}]} for n, phrase in enumerate(phrases)]
    seeds = {
        "p.txt": "\n".join(phrases).encode(),
        "p": "\n".join(phrases).encode(),
        "p.csv": ("id,phrase\n" + "".join(f'1,"{x}"\n' for x in phrases)).encode(),
        "p.tsv": ("id\tphrase\n" + "".join(f"1\t{x}\n" for x in phrases)).encode(),
        "p.json": json.dumps(gold).encode(),
        "p.jsonl": "\n".join(json.dumps({"text": x}) for x in phrases).encode(),
        "p.parquet": (folder / "seed.parquet").read_bytes(),
        "p.p": pickle.dumps(refs, protocol=2),
        "p.yaml": b"- dog\n- cat\n",
    }
    for name, content in seeds.items():
        contents = dict(spoiled_bytes(content, 30 if name in ("p.parquet", "p.p") else 6))
        if name == "p.json":
            contents |= dict(spoiled_json(gold, 20))
        yield Spoiled(
            folder / name,
            contents,
            read_prompts,
            lambda path: ["embed", "mini", path, "--out", folder / "f.safetensors", "--overwrite"],
        )


def _images(folder: Path) -> Iterator[Spoiled]:
    import numpy as np
    from PIL import Image

    from litetext.images import image_size, read_image

    picture = Image.fromarray(np.random.default_rng(0).integers(0, 256, (40, 50, 3), np.uint8).repeat(2, 0))
    kinds = {
        "PNG": picture,
        "JPEG": picture,
        "GIF": picture,
        "WEBP": picture,
        "TIFF": picture,
        "BMP": picture,
        "ICO": picture,
        "PPM": picture,
        "TGA": picture,
        "PCX": picture,
        "JPEG2000": picture,
        "DDS": picture.convert("RGBA"),
        "SGI": picture,
    }
    for kind, image in kinds.items():
        path = folder / f"i.{kind.lower()}"
        image.save(path, kind)
        yield Spoiled(
            path,
            dict(spoiled_bytes(path.read_bytes(), 12, seed=len(kind))),
            lambda path: (image_size(path), read_image(path)),
            lambda path: ["segment", path, "-p", "dog", "--json"],
            texts=kind in ("PNG", "JPEG"),
        )


def _annotations(folder: Path) -> Iterator[Spoiled]:
    from litetext.evaluate import evaluate_images, read_ground_truth, read_predictions
    from litetext.evaluate.video import evaluate_videos
    from litetext.results.formats import coco
    from litetext.results.formats.veval import read_video_predictions, read_video_truth

    truth, video_truth = GOLDEN / "image" / "gt_a.json", GOLDEN / "video" / "gt.json"
    predictions, video_predictions = GOLDEN / "image" / "pred.json", GOLDEN / "video" / "pred.json"
    lvis = {
        "images": [
            {"id": n, "height": 24, "width": 32, "neg_category_ids": [2], "not_exhaustive_category_ids": [1]}
            for n in range(4)
        ],
        "categories": [{"id": 1, "name": "a_dog"}, {"id": 2, "name": "cat"}],
        "annotations": [
            {
                "id": n,
                "image_id": n,
                "category_id": 1,
                "bbox": [1, 1, 9, 9],
                "segmentation": [[1, 1, 10, 1, 10, 10, 1, 10]],
            }
            for n in range(4)
        ],
    }

    def score(path: Path) -> object:
        return evaluate_images(read_ground_truth(path), read_predictions(predictions))

    def score_predictions(path: Path) -> object:
        return evaluate_images(read_ground_truth(truth), read_predictions(path))

    def score_video(path: Path) -> object:
        found = read_video_truth(path)
        return evaluate_videos(found, read_video_predictions(video_predictions, found))

    def score_video_predictions(path: Path) -> object:
        known = read_video_truth(video_truth)
        return evaluate_videos(known, read_video_predictions(path, known))

    def check(*more: Any) -> Callable[[Path], list[Any]]:
        return lambda path: ["evaluate", "--check", path, *more]

    for name, document, read, command in (
        (
            "gt.json",
            json.loads(truth.read_text()),
            score,
            lambda path: ["evaluate", "--gt", path, "--pred", predictions],
        ),
        ("lvis.json", lvis, read_ground_truth, lambda path: ["evaluate", "--gt", path, "--pred", predictions]),
        ("coco.json", lvis, lambda path: list(coco.read(path)), None),
        ("pred.json", json.loads(predictions.read_text()), score_predictions, check("--gt", truth)),
        ("vgt.json", json.loads(video_truth.read_text()), score_video, None),
        (
            "vpred.json",
            json.loads(video_predictions.read_text()),
            score_video_predictions,
            check("--gt", video_truth, "--video"),
        ),
    ):
        contents = dict(spoiled_json(document, 40)) | dict(spoiled_bytes(json.dumps(document).encode(), 6))
        yield Spoiled(folder / name, contents, read, command)


def _formats(folder: Path) -> Iterator[Spoiled]:
    import numpy as np
    from PIL import Image

    from litetext.results import formats
    from litetext.results.annotations import ImageAnnotations
    from litetext.results.masks import Masks

    masks = np.zeros((2, 24, 32), bool)
    masks[0, 3:9, 4:20] = masks[1, 10:20, 2:9] = True
    boxes = np.array([[4, 3, 20, 9], [2, 10, 9, 20]], np.float32)
    image = ImageAnnotations(
        "i.png",
        (24, 32),
        ("dog", "cat"),
        np.array([0, 1]),
        boxes,
        Masks.from_dense(masks),
        np.array([0.9, 0.5], np.float32),
    )
    for name in ("yolo", "labelme", "pascal_voc", "label_studio", "table"):
        module = __import__(f"{formats.__name__}.{name}", fromlist=[name]).read
        writer = __import__(f"{formats.__name__}.{name}", fromlist=[name]).write
        target = folder / name / ("t.json" if name == "label_studio" else "t.csv" if name == "table" else "")
        (folder / name).mkdir()
        writer([image], target)
        if name == "yolo":
            (folder / name / "images").mkdir(exist_ok=True)
            Image.new("RGB", (32, 24)).save(folder / name / "images" / "i.png")
        for file in sorted(path for path in (folder / name).rglob("*") if path.is_file() and path.suffix != ".png"):
            content = file.read_bytes()
            contents = dict(spoiled_bytes(content, 12))
            if file.suffix == ".json":
                contents |= dict(spoiled_json(json.loads(content), 30))
            yield Spoiled(
                file, contents, lambda _, read=module, target=target: list(read(target)), texts=file.suffix == ".json"
            )


def _encoder(folder: Path) -> Path:
    from litetext import Tokenizer
    from litetext.encoders import save_encoder

    from ..encoders.conftest import random_encoder, small_config

    tokenizer = Tokenizer().prune_vocabulary(["white dog", "a red car"])
    save_encoder(random_encoder(small_config("s0", vocab_size=tokenizer.vocab_size)), tokenizer, folder / "encoder")
    return folder / "encoder"


def _embed(folder: Path) -> Callable[[Path], list[Any]]:
    (folder / "phrases.txt").write_text("white dog\na red car\n")
    return lambda path: ["embed", path, folder / "phrases.txt", "--out", folder / "f.safetensors", "--overwrite"]


def _checkpoints(folder: Path) -> Iterator[Spoiled]:
    import torch

    from litetext import load_encoder
    from litetext.encoders import open_checkpoint, read_checkpoint, write_authors

    from ..encoders.conftest import random_encoder, small_config

    encoder = _encoder(folder)
    embed = _embed(folder)

    def load(path: Path) -> object:
        return open_checkpoint(path), load_encoder(path).encode(["white dog"])

    def of_folder(_: Path) -> object:
        return load(encoder)

    config = json.loads((encoder / "config.json").read_text())
    yield Spoiled(
        encoder / "config.json",
        dict(spoiled_json(config | {"vocabulary": config["vocabulary"][:5]}, 30)) | dict(spoiled_json(config, 40, 1)),
        of_folder,
        lambda _: embed(encoder),
    )
    weights = (encoder / "model.safetensors").read_bytes()
    head = dict(spoiled_bytes(weights[:5_000], 20))
    heads = {name: content + weights[5_000:] for name, content in head.items()}
    yield Spoiled(
        encoder / "model.safetensors", dict(spoiled_bytes(weights, 20)) | heads, of_folder, lambda _: embed(encoder)
    )
    yield Spoiled(
        encoder / "tokenizer.json", dict(spoiled_bytes((encoder / "tokenizer.json").read_bytes(), 6)), of_folder
    )
    (encoder / "tokenizer.json").unlink()

    full = folder / "full"
    from litetext import Tokenizer
    from litetext.encoders import save_encoder

    save_encoder(random_encoder(small_config("s1")), Tokenizer(), full)
    for name in ("authors.safetensors", "authors.pt"):
        path = folder / name
        write_authors(read_checkpoint(full), path)
        yield Spoiled(
            path,
            dict(spoiled_bytes(path.read_bytes(), 30)),
            lambda path: (open_checkpoint(path, heads=4), read_checkpoint(path, heads=4)),
            lambda path: ["info", path, "--heads", 4],
        )
    state = dict(read_checkpoint(folder / "authors.safetensors", heads=4).state)
    odd: dict[str, object] = {
        "integer keys": {1: torch.ones(2)},
        "int16": {k: v.to(torch.int16) for k, v in state.items()},
        "none": None,
        "nested": {"model": {"model": {"state_dict": [state]}}},
        "scalars": {k: torch.tensor(1.0) for k in state},
        "empty": {k: torch.zeros(0) for k in state},
        "strings": dict.fromkeys(state, "x"),
        "complex": {k: v.to(torch.complex64) for k, v in state.items()},
        "expanded": {k: torch.ones(1).expand(10**6, 10**6) for k in state},
        "path": {"a": Path("x")},
    }
    for number, (name, value) in enumerate(odd.items()):
        torch.save(value, folder / f"odd{number}.pt")
        yield Spoiled(
            folder / f"odd{number}.pt", {name: (folder / f"odd{number}.pt").read_bytes()}, read_checkpoint, texts=False
        )
    index = {"metadata": {}, "weight_map": {"projector.weight": "authors.safetensors", "b": "b.safetensors"}}
    yield Spoiled(folder / "w.safetensors.index.json", dict(spoiled_json(index, 20)), read_checkpoint)


def _exports(folder: Path) -> Iterator[Spoiled]:
    from litetext import load_encoder
    from litetext.encoders import build_bank, export_onnx, read_checkpoint

    encoder, embed = _encoder(folder), _embed(folder)
    export = folder / "export"
    export_onnx(read_checkpoint(encoder), export, ["white dog", "a red car"])

    def load(_: Path) -> object:
        return load_encoder(export).encode(["white dog", "car"])

    config = json.loads((export / "config.json").read_text())
    yield Spoiled(export / "config.json", dict(spoiled_json(config, 60)), load, lambda _: embed(export))
    for name in ("model.onnx", "model.onnx.data"):
        content = (export / name).read_bytes()
        yield Spoiled(
            export / name,
            dict(spoiled_bytes(content, 40 if name == "model.onnx" else 6)),
            load,
            lambda _: embed(export),
        )
    bank = folder / "bank.safetensors"
    build_bank(["white dog", "a red car", "cat"], load_encoder(encoder), bank, encoder_name="e")
    content = bank.read_bytes()

    def ask(path: Path) -> object:
        found = load_encoder(path)
        return found.encode(["white dog", "cat"])

    yield Spoiled(
        bank,
        dict(spoiled_bytes(content, 60)),
        ask,
        lambda path: ["embed", path, folder / "phrases.txt", "--out", folder / "g.safetensors", "--overwrite"],
    )


def _recipes(folder: Path) -> Iterator[Spoiled]:
    from litetext.distill import student_config

    text = (
        '[student]\nvariant = "custom"\nwidth = 64\nheads = 2\nffn = 128\nlayers = 2\nrepmixer = true\ncausal = false\n'
        "vocab_size = 49408\nposition_rows = 16\noutput_dim = 64\nunused_projection = 0\nrepmixer_kernel = 11\n\n"
        '[student.convention]\ncontext_length = 16\npad_id = 0\nmask_padding = "everywhere"\npositions = "slice"\n'
    )
    draw = random.Random(0)
    junk = [
        "0",
        "-3",
        "2.5",
        "1e30",
        "9" * 5_000,
        "99999999999",
        '"x"',
        "[]",
        "true",
        "nan",
        "inf",
        "{}",
        "1979-05-27",
        "'''",
        "",
    ]
    lines = text.splitlines()
    contents = {}
    for number in range(60):
        place = draw.randrange(len(lines))
        key = lines[place].partition(" = ")[0]
        changed = [*lines[:place], f"{key} = {draw.choice(junk)}", *lines[place + 1 :]]
        contents[f"{key} {number}"] = "\n".join(changed).encode()
    contents["deep"] = b"[student]\nwidth = " + b"[" * 5_000
    contents["dotted"] = b"[" + b".".join([b"a"] * 5_000) + b"]"
    contents |= dict(spoiled_bytes(text.encode(), 12))
    yield Spoiled(
        folder / "r.toml",
        contents,
        student_config,
        lambda path: [
            "distill",
            "--student",
            path,
            "--out",
            folder / "run",
            "--steps",
            1,
            "--limit",
            40,
            "--batch-size",
            8,
        ],
    )


def _models(folder: Path) -> Iterator[Spoiled]:
    from transformers import BertConfig, BertModel, BertTokenizerFast

    from litetext import Segmenter
    from litetext.anatomy.subject import load_subject

    from ..segment.conftest import save_reference

    model = folder / "model"
    save_reference("s1", model)

    def load(_: Path) -> object:
        return Segmenter.from_pretrained(model, device="cpu")

    import numpy as np
    from PIL import Image

    Image.fromarray(np.zeros((20, 30, 3), np.uint8)).save(folder / "i.png")
    command = ["segment", folder / "i.png", "-p", "dog", "--model", model, "--json"]
    for name, count in (("config.json", 40), ("preprocessor_config.json", 25)):
        document = json.loads((model / name).read_text())
        yield Spoiled(model / name, dict(spoiled_json(document, count)), load, lambda _: command)
    weights = (model / "model.safetensors").read_bytes()
    yield Spoiled(model / "model.safetensors", dict(spoiled_bytes(weights, 12)), load, lambda _: command, texts=False)

    words = folder / "bert"
    (folder / "vocab.txt").write_text(
        "\n".join(["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *"abcdefgh", "dog", "cat"])
    )
    BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(words)
    BertModel(
        BertConfig(vocab_size=15, hidden_size=16, num_hidden_layers=1, num_attention_heads=2, intermediate_size=16)
    ).save_pretrained(words)

    def study(_: Path) -> object:
        return load_subject(words).features(["dog", "a cat"])

    for name in ("tokenizer.json", "config.json", "tokenizer_config.json"):
        document = json.loads((words / name).read_text())
        yield Spoiled(
            words / name, dict(spoiled_json(document, 20)) | dict(spoiled_bytes((words / name).read_bytes(), 6)), study
        )


def _runs(folder: Path) -> Iterator[Spoiled]:
    import torch

    from litetext.training.checkpoint import read_checkpoint_state, save_checkpoint

    save_checkpoint(
        folder / "checkpoint.pt", {"a": 1}, {"step": 3, "model": {"w": torch.ones(9)}, "rng": torch.ones(4)}
    )
    content = (folder / "checkpoint.pt").read_bytes()
    yield Spoiled(folder / "checkpoint.pt", dict(spoiled_bytes(content, 30)), read_checkpoint_state)

    from PIL import Image

    from litetext.cli import main
    from litetext.segment.stages import read_recording

    recording = folder / "stages"
    Image.new("RGB", (60, 40)).save(folder / "i.png")
    with contextlib.suppress(SystemExit), contextlib.redirect_stdout(io.StringIO()):
        main(["parity", "mini", "--record", str(recording), "--image", str(folder / "i.png")])
    for file in (recording / "recording.json", recording / "stages.safetensors"):
        contents = dict(spoiled_bytes(file.read_bytes(), 20))
        if file.suffix == ".json":
            contents |= dict(spoiled_json(json.loads(file.read_text()), 30))
        yield Spoiled(file, contents, lambda _: read_recording(recording), texts=file.suffix == ".json")


def _minis(folder: Path) -> Iterator[Spoiled]:
    from PIL import Image

    from litetext import Segmenter
    from litetext.data import resolve
    from litetext.mini.facts import known_phrases

    mini = Path(shutil.copytree(resolve("mini"), folder / "mini"))
    Image.new("RGB", (64, 64)).save(folder / "i.png")
    command = ["segment", folder / "i.png", "-p", "dog", "--model", mini, "--json"]

    def segment(_: Path) -> object:
        return Segmenter.from_pretrained(mini).segment(folder / "i.png", ["dog"], threshold=0.0)

    facts = json.loads((mini / "mini.json").read_text())
    facts = {"known_concepts": facts["known_concepts"][:3], "image_size": facts["image_size"]}
    yield Spoiled(
        mini / "mini.json",
        dict(spoiled_json(facts, 20)),
        lambda _: known_phrases(5, 0, folder=mini),
        lambda _: ["mini", "evaluate", "--model", mini, "--pairs", 4, "--json"],
    )
    for name, count in (("vision", 8), ("decoder", 12), ("pixels", 8), ("examples", 8)):
        path = mini / "segmenter" / f"{name}.onnx"
        yield Spoiled(path, dict(spoiled_bytes(path.read_bytes(), count)), segment, lambda _: command, texts=False)
    for path in (mini / "segmenter" / "graphs.json", mini / "text" / "student" / "graph.json"):
        yield Spoiled(path, dict(spoiled_json(json.loads(path.read_text()), 20)), segment, lambda _: command)
    for path in (mini / "segmenter" / "model.safetensors", mini / "text" / "student" / "model.onnx"):
        yield Spoiled(path, dict(spoiled_bytes(path.read_bytes(), 8)), segment, lambda _: command, texts=False)


def _videos(folder: Path) -> Iterator[Spoiled]:
    import numpy as np
    from PIL import Image

    from litetext.videos import open_video

    from ..videos.clips import picture, write_clip

    texture = np.random.default_rng(0).integers(0, 16, (48, 64, 3), np.uint8)
    images = [picture(number) + texture for number in range(8)]
    codecs = {
        "mp4": "libx264",
        "mkv": "libx264",
        "webm": "libvpx-vp9",
        "mov": "mpeg4",
        "avi": "mjpeg",
        "ts": "mpeg2video",
    }
    for kind, codec in codecs.items():
        pixels = "yuvj420p" if codec == "mjpeg" else "yuv420p"
        path = write_clip(
            folder / f"v.{kind}", images, codec=codec, pixels=pixels, rate=25, audio="" if kind == "webm" else "aac"
        )
        content = path.read_bytes()
        contents = dict(spoiled_bytes(content, 24, seed=len(kind)))
        yield Spoiled(
            path,
            contents,
            lambda path: list(open_video(path, start=0.1)),
            (lambda path: ["track", path, "-p", "dog", "--every", 3, "--json"]) if kind == "mp4" else None,
            texts=kind in ("mp4", "ts"),
        )
    frames = [Image.fromarray(image) for image in images]
    for kind in ("gif", "webp"):
        path = folder / f"v.{kind}"
        frames[0].save(path, save_all=True, append_images=frames[1:], duration=40)
        yield Spoiled(
            path, dict(spoiled_bytes(path.read_bytes(), 12)), lambda path: list(open_video(path)), texts=False
        )


def _tracks(folder: Path) -> Iterator[Spoiled]:
    from litetext.results import Masklets
    from litetext.results.formats import coco_video, mask_pictures, mot
    from litetext.results.formats.veval import Video

    from ..results.test_masklets import SIZE, _video

    found = Masklets.collect(_video(), frame_count=4)
    document = coco_video.document([(Video("v", "v", SIZE, 4), found)])
    contents = dict(spoiled_json(document, 120)) | dict(spoiled_bytes(json.dumps(document).encode(), 10))
    yield Spoiled(folder / "coco.json", contents, lambda path: list(coco_video.read(path)))
    mot.write(found, folder / "mot.csv")
    lines = (folder / "mot.csv").read_bytes()
    yield Spoiled(
        folder / "mot.csv", dict(spoiled_bytes(lines, 60)), lambda path: mot.read(path, SIZE, ["a", "b", "c"])
    )
    pictures = folder / "masks"
    pictures.mkdir()
    for frame in found.stream():
        mask_pictures.write(frame, pictures / f"{frame.frame_index}.png")
    content = (pictures / "1.png").read_bytes()
    yield Spoiled(pictures / "1.png", dict(spoiled_bytes(content, 12)), lambda _: mask_pictures.read(pictures))


def _labels(folder: Path) -> Iterator[Spoiled]:
    import tarfile

    import pyarrow
    from pyarrow import parquet

    from litetext.data import samples
    from litetext.label import Job, Settings, read_concepts
    from litetext.label.calibration import read_decisions
    from litetext.label.labeler import Model
    from litetext.label.sources import image_refs

    example = {"image": "a.png", "boxes": [[1, 2, 30, 40]], "not_boxes": []}
    concepts = {"concepts": ["owl", {"name": "car", "synonyms": ["auto"], "threshold": 0.4, "examples": [example]}]}
    contents = dict(spoiled_json(concepts, 60)) | dict(spoiled_bytes(json.dumps(concepts).encode(), 20))
    yield Spoiled(folder / "c.yaml", contents, read_concepts)
    decisions = [{"image": "a.png", "concept": "owl", "score": 0.5, "accepted": True}] * 3
    document = {"kind": "litetext decisions", "job": "k", "sample": "random", "decisions": decisions}
    yield Spoiled(folder / "d.json", dict(spoiled_json(document, 60)), lambda path: read_decisions(path, "k"))

    def refs(path: Path) -> object:
        return [len(ref.read()) for ref in image_refs([str(path)])]

    photo = samples()[0].image
    with tarfile.open(folder / "s.tar", "w") as archive:
        archive.add(photo, "a.png")
        archive.add(photo, "b/c.png")
    yield Spoiled(folder / "s.tar", dict(spoiled_bytes((folder / "s.tar").read_bytes(), 30)), refs)
    table = pyarrow.table({"image": [{"bytes": photo.read_bytes(), "path": "a.png"}] * 3})
    parquet.write_table(table, folder / "t.parquet")
    yield Spoiled(folder / "t.parquet", dict(spoiled_bytes((folder / "t.parquet").read_bytes(), 40)), refs)

    def whole(_: Path) -> object:
        job = Job.open(folder / "out")
        store = job.store()
        return [job.settled(store.instances(entry.sha256)) for entry in job.entries() if entry.is_labeled]

    (folder / "p.txt").write_text("owl\nairplane\n")
    job = Job(folder / "out", read_concepts(folder / "p.txt"), Settings(Model("mini", backend="onnx")))
    job.run([str(photo)])
    shard = next(job.shards.glob("*.jsonl"))
    for path in (job.folder / "job.json", job.folder / "manifest.jsonl", job.folder / "concepts.yaml", shard):
        before = path.read_bytes()
        contents = dict(spoiled_bytes(before, 20))
        if path.suffix != ".yaml":
            contents |= {name: content + b"\n" for name, content in spoiled_json(json.loads(before), 40)}
        yield Spoiled(path, contents, whole)
        path.write_bytes(before)


READERS: dict[str, Callable[[Path], Iterator[Spoiled]]] = {
    "prompts": _prompts,
    "images": _images,
    "annotations": _annotations,
    "formats": _formats,
    "checkpoints": _checkpoints,
    "exports": _exports,
    "recipes": _recipes,
    "models": _models,
    "minis": _minis,
    "runs": _runs,
    "tracks": _tracks,
    "labels": _labels,
    "videos": _videos,
}
