"""Baselines as systems: an open-vocabulary detector of transformers finds boxes, a SAM turns each box into a mask.

With these, ``litetext evaluate --system grounding-dino`` gives a row of the paper's table 3. Detectors answer with a
score for each box and have no belief of their own that a phrase is absent (presence is NaN); their scores are not
made for a threshold of 0.5, so look at ``--calibrate`` beside the official number. Systems that transformers does not
hold (APE, DINO-X, Gemini, GLEE, …) come in as prediction files.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from ..devices import torch_device
from ..errors import failures_named
from ..images import read_image
from ..results import Instances, Masks
from .predict import MASKS

_MOST_BOXES = 100
_BOXES_TOGETHER = 32


class BoxesToMasks:
    """A zero-shot detector and a box-prompted SAM, used as one segmenter."""

    def __init__(self, detector: Any, detector_processor: Any, masker: Any, mask_processor: Any) -> None:
        self.detector = detector.eval()
        self.detector_processor = detector_processor
        self.masker = masker.eval()
        self.mask_processor = mask_processor
        self._grounded = "dino" in detector.config.model_type  # takes a sentence; the OWL family takes a list of names

    @torch.inference_mode()
    def segment(self, images: Path, prompts: Sequence[str], *, threshold: float) -> Instances:
        """Return what is found for each prompt in one image: at most 100 boxes a prompt, best first, with masks.

        The detector reads the image anew for each prompt, so that prompts do not compete with one another.
        """
        photo = read_image(images)
        found = [self._boxes(photo, prompt, threshold) for prompt in prompts]
        boxes = np.concatenate([own for own, _ in found])
        return Instances(
            size=(photo.shape[0], photo.shape[1]),
            prompts=tuple(prompts),
            presence=np.full(len(prompts), np.nan, dtype=np.float32),
            boxes=boxes,
            masks=self._masks(photo, boxes),
            scores=np.concatenate([scores for _, scores in found]),
            prompt_index=np.repeat(np.arange(len(prompts)), [len(scores) for _, scores in found]),
        )

    def _boxes(
        self, photo: NDArray[np.uint8], prompt: str, threshold: float
    ) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
        """Boxes [n, 4] (x1, y1, x2, y2 in pixels) and scores [n], by falling score."""
        image = Image.fromarray(photo)
        text: Any = f"{prompt.strip().lower().rstrip('.')}." if self._grounded else [[prompt]]
        inputs = self.detector_processor(images=image, text=text, return_tensors="pt").to(self.detector.device)
        (result,) = self.detector_processor.post_process_grounded_object_detection(
            self.detector(**inputs), threshold=threshold, target_sizes=[photo.shape[:2]]
        )
        order = result["scores"].argsort(descending=True, stable=True)[:_MOST_BOXES]
        boxes, scores = result["boxes"][order].float().cpu().numpy(), result["scores"][order].float().cpu().numpy()
        return boxes.reshape(-1, 4), scores

    def _masks(self, photo: NDArray[np.uint8], boxes: NDArray[np.float32]) -> Masks:
        """The masks of n boxes; the image is read once, the boxes a few dozen at a time."""
        size = (photo.shape[0], photo.shape[1])
        masks = [Masks(size)]
        embedding = None
        for start in range(0, len(boxes), _BOXES_TOGETHER):
            some = boxes[start : start + _BOXES_TOGETHER]
            inputs = self.mask_processor(
                images=Image.fromarray(photo), input_boxes=[some.tolist()], return_tensors="pt"
            ).to(self.masker.device)
            if embedding is None:
                embedding = self.masker.get_image_embeddings(inputs["pixel_values"])
            logits = self.masker(
                image_embeddings=embedding, input_boxes=inputs["input_boxes"], multimask_output=False
            ).pred_masks
            sizes = [inputs[name] for name in ("original_sizes", "reshaped_input_sizes") if name in inputs]
            (drawn,) = self.mask_processor.post_process_masks(logits.cpu(), *sizes)
            masks.append(Masks.from_dense(drawn[:, 0].numpy(), size))
        return Masks.concatenate(masks)


def load_baseline(detector: str, masks: str = MASKS, device: str | None = None) -> BoxesToMasks:
    """Load a detector and a mask model from folders or the hub; the device is a GPU if there is one."""
    from transformers import AutoModelForMaskGeneration, AutoModelForZeroShotObjectDetection, AutoProcessor

    where = torch_device(device)
    parts = []
    for name, kind in ((detector, AutoModelForZeroShotObjectDetection), (masks, AutoModelForMaskGeneration)):
        with failures_named(name, "is not a transformers checkpoint of the kind that is needed"):
            model = kind.from_pretrained(name, trust_remote_code=False)
            parts += [model.to(where), AutoProcessor.from_pretrained(name, trust_remote_code=False)]
    return BoxesToMasks(*parts)
