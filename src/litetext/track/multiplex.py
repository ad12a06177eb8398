"""SAM 3.1's multiplex tracker: its modules, under the names of its published file.

It tracks 16 objects at once: one memory holds a bucket of them, and the mask decoder has three mask tokens for each.
The modules below take the weights of ``sam3.1_multiplex.pt`` exactly. What they compute together is not built: how
objects are put into buckets, how a bucket is encoded and read, and how the detector's propagation neck feeds them. So
a SAM 3.1 is tracked by detection; another policy is refused.
"""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING

import torch
from torch import nn

from ..errors import LitetextError

if TYPE_CHECKING:
    from ..encoders.tensorfile import TensorFile

PREFIX = "tracker.model."
BUCKET = 16
"""Objects that are tracked together."""

MASKS_AN_OBJECT = 3


class MultiplexTracker(nn.Module):
    """The modules of SAM 3.1's tracker.

    Args:
        width: C, of features and memories.
        layers: of memory attention.
        memories: past frames that are read, the tracked one counted.
    """

    def __init__(self, width: int = 256, layers: int = 4, memories: int = 7) -> None:
        super().__init__()
        self.maskmem_tpos_enc = _parameter(memories, 1, 1, width)
        self.interactivity_no_mem_embed = _parameter(1, 1, width)
        self.no_obj_embed_spatial = _parameter(BUCKET, width)
        self.output_valid_embed = _parameter(BUCKET, width)
        self.output_invalid_embed = _parameter(BUCKET, width)
        self.interactive_mask_downsample = nn.Conv2d(1, 1, 4, 4)
        self.transformer = _tree(encoder=_tree(layers=_several(_memory_attention, layers, width), norm=_norm(width)))
        self.maskmem_backbone = _memory_encoder(width)
        self.no_obj_ptr_linear = nn.Linear(width, width)
        self.image_pe_layer = _positions(width)
        self.interactive_sam_prompt_encoder = _prompt_encoder(width)
        self.interactive_sam_mask_decoder = _mask_decoder(width, objects=1, masks=4, hypernetworks=4)
        self.sam_mask_decoder = _mask_decoder(
            width, objects=BUCKET, masks=BUCKET * MASKS_AN_OBJECT, hypernetworks=MASKS_AN_OBJECT
        )
        self.obj_ptr_proj = _mlp(width, width)
        self.interactive_obj_ptr_proj = _mlp(width, width)
        self.obj_ptr_tpos_proj = nn.Linear(width, width)


def check_multiplex_tracker(file: TensorFile) -> None:
    """Check that SAM 3.1's tracker in a file is whole.

    Raises:
        LitetextError: keys that are missing, left over or of another shape, by name.
    """
    with torch.device("meta"):
        wanted = {PREFIX + key: tuple(value.shape) for key, value in MultiplexTracker().state_dict().items()}
    held = {key: file.shape(key) for key in file if key.startswith(PREFIX)}
    for key in sorted(set(wanted) | set(held)):
        if wanted.get(key) != held.get(key):
            raise LitetextError(
                f"{file.source}: {key} is {held.get(key, 'missing')}, expected {wanted.get(key, 'no such key')}; "
                "use the file as its authors published it"
            )


def load_multiplex_tracker(file: TensorFile) -> MultiplexTracker:
    """Return SAM 3.1's tracker with the weights of a file.

    Raises:
        LitetextError: as `check_multiplex_tracker`.
    """
    check_multiplex_tracker(file)
    tracker = MultiplexTracker()
    tracker.load_state_dict({key.removeprefix(PREFIX): file.get(key) for key in file if key.startswith(PREFIX)})
    return tracker.eval().requires_grad_(False)


def _parameter(*shape: int) -> nn.Parameter:
    return nn.Parameter(torch.zeros(shape))


def _norm(width: int) -> nn.LayerNorm:
    return nn.LayerNorm(width)


def _tree(**modules: nn.Module | nn.Parameter) -> nn.Module:
    """A module of named parts."""
    tree = nn.Module()
    for name, part in modules.items():
        setattr(tree, name, part)
    return tree


def _several(make: object, count: int, *arguments: int) -> nn.ModuleList:
    assert callable(make)
    return nn.ModuleList(make(*arguments) for _ in range(count))


def _at(places: dict[int, nn.Module]) -> nn.Module:
    """Parts at the places that they have in a sequence whose other parts have no weights."""
    return _tree(**{str(place): part for place, part in places.items()})


def _mlp(width: int, out: int, layers: int = 3) -> nn.Module:
    widths = [*[width] * layers, out]
    return _tree(layers=nn.ModuleList(nn.Linear(one, other) for one, other in itertools.pairwise(widths)))


def _positions(width: int) -> nn.Module:
    layer = nn.Module()
    layer.register_buffer("positional_encoding_gaussian_matrix", torch.zeros(2, width // 2))
    return layer


def _memory_attention(width: int) -> nn.Module:
    """A layer that reads itself, the memories, and the images of the memories."""
    square = (
        *(f"self_attn_{part}_proj" for part in ("q", "k", "v", "out")),
        *(f"cross_attn_{part}_proj" for part in ("q", "k", "v", "out")),
        *(f"image_cross_attn_{part}_proj" for part in ("q", "k")),
    )
    return _tree(
        **{name: nn.Linear(width, width) for name in square},
        linear1=nn.Linear(width, 8 * width),
        linear2=nn.Linear(8 * width, width),
        **{f"norm{number}": _norm(width) for number in (1, 2, 3)},
    )


def _memory_encoder(width: int) -> nn.Module:
    """Two maps for each object of a bucket in, four halvings, and the image fused in."""
    widths = [2 * BUCKET, 16, 64, 256, 1024]
    places: dict[int, nn.Module] = {}
    for step, (one, other) in enumerate(itertools.pairwise(widths)):
        places[3 * step] = nn.Conv2d(one, other, 3, 2, 1)
        places[3 * step + 1] = _norm(other)
    places[12] = nn.Conv2d(widths[-1], width, 1)
    return _tree(
        mask_downsampler=_tree(encoder=_at(places)),
        pix_feat_proj=nn.Conv2d(width, width, 1),
        fuser=_tree(layers=_several(_fuser_block, 2, width)),
    )


def _fuser_block(width: int) -> nn.Module:
    return _tree(
        gamma=_parameter(width),
        dwconv=nn.Conv2d(width, width, 7, padding=3, groups=width),
        norm=_norm(width),
        pwconv1=nn.Linear(width, 4 * width),
        pwconv2=nn.Linear(4 * width, width),
    )


def _prompt_encoder(width: int) -> nn.Module:
    downscaling = {0: nn.Conv2d(1, 4, 2, 2), 1: _norm(4), 3: nn.Conv2d(4, 16, 2, 2), 4: _norm(16)}
    return _tree(
        pe_layer=_positions(width),
        point_embeddings=nn.ModuleList(nn.Embedding(1, width) for _ in range(4)),
        not_a_point_embed=nn.Embedding(1, width),
        mask_downscaling=_at({**downscaling, 6: nn.Conv2d(16, width, 1)}),
        no_mask_embed=nn.Embedding(1, width),
    )


def _mask_decoder(width: int, objects: int, masks: int, hypernetworks: int) -> nn.Module:
    transformer = _tree(
        layers=_several(_two_way_block, 2, width),
        final_attn_token_to_image=_attention(width, 2),
        norm_final_attn=_norm(width),
    )
    upscaling = {0: nn.ConvTranspose2d(width, width // 4, 2, 2), 1: _norm(width // 4)}
    return _tree(
        transformer=transformer,
        iou_token=nn.Embedding(objects, width),
        obj_score_token=nn.Embedding(objects, width),
        mask_tokens=nn.Embedding(masks, width),
        output_upscaling=_at({**upscaling, 3: nn.ConvTranspose2d(width // 4, width // 8, 2, 2)}),
        conv_s0=nn.Conv2d(width, width // 8, 1),
        conv_s1=nn.Conv2d(width, width // 4, 1),
        output_hypernetworks_mlps=_several(_mlp, hypernetworks, width, width // 8),
        iou_prediction_head=_mlp(width, hypernetworks),
        pred_obj_score_head=_mlp(width, 1),
    )


def _two_way_block(width: int) -> nn.Module:
    return _tree(
        self_attn=_attention(width, 1),
        cross_attn_token_to_image=_attention(width, 2),
        cross_attn_image_to_token=_attention(width, 2),
        mlp=_tree(lin1=nn.Linear(width, 8 * width), lin2=nn.Linear(8 * width, width)),
        **{f"norm{number}": _norm(width) for number in (1, 2, 3, 4)},
    )


def _attention(width: int, shrink: int) -> nn.Module:
    inner = width // shrink
    return _tree(
        **{f"{part}_proj": nn.Linear(width, inner) for part in ("q", "k", "v")}, out_proj=nn.Linear(inner, width)
    )
