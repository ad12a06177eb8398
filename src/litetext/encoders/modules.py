"""The encoders themselves: one pre-norm transformer that is teacher or student by its config.

The published students read their padding (no mask in attention, none in the convolutions); the teacher is causal, so
padding never reaches a real token; encoders trained here can mask padding everywhere. `TextTransformer` runs all three:
``convention.mask_padding`` says which. Shapes are [B, L, C]; RepMixer's 1x11 convolutions over [B, C, 1, L] are 1-d
convolutions here, the same numbers in another shape. Where padding is masked everywhere, only real tokens need to run:
then x is [T, C], the tokens of all prompts end to end, and `Rows` lays them out where tokens meet (attention,
convolution). All else works on channels alone and never asks.
"""

from __future__ import annotations

import copy
from typing import Any, cast

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import LitetextError
from .config import EncoderConfig

EPS = 1e-5  # of every LayerNorm and BatchNorm, as published


class Rows:
    """Where the T real tokens of B prompts stand in a padded batch [B, L].

    Args:
        mask: bool [B, L], True = padding.
    """

    def __init__(self, mask: Tensor) -> None:
        self.real = ~mask
        self.place = self.real.flatten().nonzero().squeeze(1)
        """int64 [T]: the index of each real token among the B * L."""

    def padded(self, x: Tensor) -> Tensor:
        """[T, C] -> [B, L, C], zero where there is padding."""
        return cast(Tensor, _Scatter.apply(x, self.place, self.real.numel())).view(*self.real.shape, x.shape[1])

    def flat(self, x: Tensor) -> Tensor:
        """[B, L, C] -> [T, C]."""
        return take_once(x.flatten(0, 1), self.place)


def take_once(x: Tensor, places: Tensor) -> Tensor:
    """Return ``x[places]`` for x [N, C] and int64 places [T] without repeats."""
    return cast(Tensor, _Gather.apply(x, places))


class _Gather(torch.autograd.Function):
    """Rows by index, no row twice: the gradient is written, where torch, which cannot know that, adds row by row."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor) -> Tensor:
        ctx.save_for_backward(place)
        ctx.rows = len(x)
        return x.index_select(0, place)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None]:  # type: ignore[override]
        (place,) = ctx.saved_tensors
        return gradient.new_zeros(ctx.rows, gradient.shape[1]).index_copy_(0, place, gradient), None


class _Scatter(torch.autograd.Function):
    """The reverse of `_Gather`: rows to their places among zeros."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, place: Tensor, rows: int) -> Tensor:
        ctx.save_for_backward(place)
        return x.new_zeros(rows, x.shape[1]).index_copy_(0, place, x)

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> tuple[Tensor, None, None]:  # type: ignore[override]
        (place,) = ctx.saved_tensors
        return gradient.index_select(0, place), None, None


Real = Tensor | Rows
"""What blocks are told of padding: what is real in [B, L, C] as bool [B, L], or that x holds real tokens alone."""


class Attention(nn.Module):
    """Multi-head self-attention with one fused qkv projection."""

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.qkv = nn.Linear(width, 3 * width)
        self.out = nn.Linear(width, width)

    def forward(self, x: Tensor, causal: bool, real: Real | None) -> Tensor:
        """Return what every token attends to [B, L, C] for x [B, L, C]; [T, C] for real tokens alone."""
        if isinstance(real, Rows):
            return self.out(real.flat(self.mixed(real.padded(self.qkv(x)), causal, real.real)))
        return self.out(self.mixed(self.qkv(x), causal, real))

    def mixed(self, qkv: Tensor, causal: bool, real: Tensor | None) -> Tensor:
        """Queries, keys and values [B, L, 3 C] -> the values that each token attends to, [B, L, C]."""
        batch, length, width = qkv.shape[0], qkv.shape[1], qkv.shape[2] // 3
        q, k, v = qkv.view(batch, length, 3, self.heads, width // self.heads).permute(2, 0, 3, 1, 4)
        visible = None
        if real is not None:
            visible = real[:, None, None, :]
            if causal:
                visible = visible & torch.ones(length, length, dtype=torch.bool, device=qkv.device).tril()
        mixed = F.scaled_dot_product_attention(q, k, v, attn_mask=visible, is_causal=causal and visible is None)
        return mixed.transpose(1, 2).reshape(batch, length, width)


class FeedForward(nn.Module):
    """Two linear layers around a GELU (the exact one, by erf)."""

    def __init__(self, width: int, hidden: int) -> None:
        super().__init__()
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor) -> Tensor:
        """Return [..., width] for x [..., width]."""
        return self.down(F.gelu(self.up(x)))


class TransformerBlock(nn.Module):
    """Pre-norm attention and feed-forward."""

    def __init__(self, width: int, heads: int, ffn: int) -> None:
        super().__init__()
        self.norm1 = nn.LayerNorm(width, eps=EPS)
        self.attention = Attention(width, heads)
        self.norm2 = nn.LayerNorm(width, eps=EPS)
        self.ffn = FeedForward(width, ffn)

    def forward(self, x: Tensor, causal: bool, real: Real | None) -> Tensor:
        """Return x [B, L, C] after both residual branches."""
        x = x + self.attention(self.norm1(x), causal, real)
        return x + self.ffn(self.norm2(x))


class TokenNorm(nn.BatchNorm1d):
    """BatchNorm over the channels of [B, L, C]; its statistics come from real tokens only, where padding is masked."""

    def __init__(self, width: int) -> None:
        super().__init__(width, eps=EPS)

    def forward(self, x: Tensor, real: Real | None = None) -> Tensor:
        """Return x [B, L, C], normalized channel by channel."""
        if isinstance(real, Rows):
            return super().forward(x)
        if real is None or not self.training:
            return super().forward(x.flatten(0, 1)).view_as(x)
        normalised = torch.zeros_like(x)
        normalised[real] = super().forward(x[real])
        return normalised


class TokenConv(nn.Conv1d):
    """Depthwise convolution along the tokens of [B, L, C], zero-padded; masked tokens read as that same zero."""

    def __init__(self, width: int, kernel: int, bias: bool = False) -> None:
        super().__init__(width, width, kernel, padding=kernel // 2, groups=width, bias=bias)

    def forward(self, x: Tensor, real: Real | None = None) -> Tensor:
        """Return x [B, L, C], convolved along L."""
        if isinstance(real, Rows):
            return real.flat(super().forward(real.padded(x).transpose(1, 2)).transpose(1, 2))
        if real is not None:
            x = x * real.unsqueeze(-1)
        return super().forward(x.transpose(1, 2)).transpose(1, 2)


class RepMixer(nn.Module):
    """``x + scale * (mixer(x) - norm(x))`` with mixer = BN(depthwise conv) + BN(x) (MobileCLIP, section 3.2)."""

    def __init__(self, width: int, kernel: int) -> None:
        super().__init__()
        self.norm = TokenNorm(width)
        self.skip = TokenNorm(width)
        self.conv = TokenConv(width, kernel)
        self.conv_norm = TokenNorm(width)
        self.scale = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor, real: Real | None) -> Tensor:
        """Return x [B, L, C], its tokens mixed."""
        mixed = self.conv_norm(self.conv(x, real), real) + self.skip(x, real)
        return x + self.scale * (mixed - self.norm(x, real))


class ConvFeedForward(nn.Module):
    """Depthwise convolution and BatchNorm before an ordinary feed-forward."""

    def __init__(self, width: int, hidden: int, kernel: int) -> None:
        super().__init__()
        self.conv = TokenConv(width, kernel)
        self.conv_norm = TokenNorm(width)
        self.up = nn.Linear(width, hidden)
        self.down = nn.Linear(hidden, width)

    def forward(self, x: Tensor, real: Real | None) -> Tensor:
        """Return [B, L, C] without the residual."""
        return self.down(F.gelu(self.up(self.conv_norm(self.conv(x, real), real))))


class RepMixerBlock(nn.Module):
    """RepMixer over the tokens, then a convolutional feed-forward under a layer scale."""

    def __init__(self, width: int, ffn: int, kernel: int) -> None:
        super().__init__()
        self.mixer = RepMixer(width, kernel)
        self.ffn = ConvFeedForward(width, ffn, kernel)
        self.scale = nn.Parameter(torch.full((width,), 1e-5))

    def forward(self, x: Tensor, causal: bool, real: Real | None) -> Tensor:
        """Return x [B, L, C] after mixer and feed-forward."""
        x = self.mixer(x, real)
        return x + self.scale * self.ffn(x, real)

    @torch.no_grad()
    def folded(self) -> FoldedRepMixerBlock:
        """Return the same function with all BatchNorms and layer scales inside two convolutions and two linears."""
        width, hidden = self.ffn.down.out_features, self.ffn.up.out_features
        block = FoldedRepMixerBlock(width, hidden, self.mixer.conv.kernel_size[0]).to(self.scale)
        kernel, bias = _conv_with_norm(self.mixer.conv, self.mixer.conv_norm)
        skip_gain, skip_bias = _gain_and_bias(self.mixer.skip)
        norm_gain, norm_bias = _gain_and_bias(self.mixer.norm)
        centre = kernel.shape[-1] // 2
        kernel[..., centre] += (skip_gain - norm_gain).unsqueeze(-1)
        kernel *= self.mixer.scale.view(-1, 1, 1)
        kernel[..., centre] += 1  # the residual
        block.mixer.weight.copy_(kernel)
        _bias_of(block.mixer).copy_(self.mixer.scale * (bias + skip_bias - norm_bias))
        kernel, bias = _conv_with_norm(self.ffn.conv, self.ffn.conv_norm)
        block.conv.weight.copy_(kernel)
        _bias_of(block.conv).copy_(bias)
        block.up.load_state_dict(self.ffn.up.state_dict())
        block.down.weight.copy_(self.ffn.down.weight * self.scale.unsqueeze(1))
        block.down.bias.copy_(self.ffn.down.bias * self.scale)
        return block


class FoldedRepMixerBlock(nn.Module):
    """A `RepMixerBlock` for inference: convolution (its residual inside), convolution, linear, GELU, linear."""

    def __init__(self, width: int, ffn: int, kernel: int) -> None:
        super().__init__()
        self.mixer = TokenConv(width, kernel, bias=True)
        self.conv = TokenConv(width, kernel, bias=True)
        self.up = nn.Linear(width, ffn)
        self.down = nn.Linear(ffn, width)

    def forward(self, x: Tensor, causal: bool, real: Real | None) -> Tensor:
        """Return x [B, L, C] after mixer and feed-forward."""
        x = self.mixer(x, real)
        return x + self.down(F.gelu(self.up(self.conv(x, real))))


class TextTransformer(nn.Module):
    """A text encoder: ids int64 [B, L] -> tokens [B, L, D] and mask bool [B, L] (True = padding).

    L may be any length up to what the position table serves under ``config.convention.positions``; it need not be the
    convention's context length. EOT is the last row of the vocabulary, as in CLIP's.
    """

    def __init__(self, config: EncoderConfig) -> None:
        super().__init__()
        self.config = config
        self.token_embedding = nn.Embedding(config.vocab_size, config.width)
        self.position_embedding = nn.Parameter(torch.empty(config.position_rows, config.width))
        mixers = config.repmixer_layers()
        self.layers = nn.ModuleList(
            RepMixerBlock(config.width, config.ffn, config.repmixer_kernel)
            if i in mixers
            else TransformerBlock(config.width, config.heads, config.ffn)
            for i in range(config.layers)
        )
        self.final_norm = nn.LayerNorm(config.width, eps=EPS)
        self.unused_projection = (
            nn.Parameter(torch.empty(config.width, config.unused_projection)) if config.unused_projection else None
        )
        self.projector = nn.Linear(config.width, config.output_dim)
        self.reset_parameters()

    @torch.no_grad()
    def reset_parameters(self) -> None:
        """Draw weights as CLIP does (embedding 0.02, positions 0.01); linears keep torch's own draw."""
        nn.init.normal_(self.token_embedding.weight, std=0.02)
        nn.init.normal_(self.position_embedding, std=0.01)
        if self.unused_projection is not None:
            nn.init.normal_(self.unused_projection, std=self.config.width**-0.5)

    def forward(self, ids: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens [B, L, D] and mask bool [B, L] (True = padding) for ids int64 [B, L]."""
        mask = self.padding_mask(ids)
        if self.config.convention.mask_padding == "everywhere":
            return self.encode_real(ids, Rows(mask)), mask
        return self.encode_embeddings(self.embed(ids), mask), mask

    def embed(self, ids: Tensor) -> Tensor:
        """Return token embedding plus position, [B, L, width]."""
        return self.token_embedding(ids) + self.positions(ids.shape[1])

    def encode_embeddings(self, x: Tensor, mask: Tensor) -> Tensor:
        """Run the layers over embeddings [B, L, width] under ``mask`` [B, L] (True = padding); tokens [B, L, D]."""
        masking = self.config.convention.mask_padding
        real = None if masking == "none" else ~mask
        for layer in self.layers:
            sees_mask = masking == "everywhere" or isinstance(layer, TransformerBlock)
            x = layer(x, self.config.causal, real if sees_mask else None)
        return self.projector(self.final_norm(x))

    def encode_real(self, ids: Tensor, rows: Rows) -> Tensor:
        """Run the real tokens of ids [B, L] alone; tokens [B, L, D], zero on padding.

        On real tokens the same as `encode_embeddings`, where padding is masked everywhere.
        """
        length = ids.shape[1]
        words = self.token_embedding(ids.flatten().index_select(0, rows.place))
        x = words + F.embedding(rows.place % length, self.positions(length))
        for layer in self.layers:
            x = layer(x, self.config.causal, rows)
        return rows.padded(self.projector(self.final_norm(x)))

    def padding_mask(self, ids: Tensor) -> Tensor:
        """Return what is padding: ``id == pad_id`` where padding is not masked, else everything after the first EOT."""
        if self.config.convention.mask_padding == "none":
            return ids == self.config.convention.pad_id
        return after_first_eot(ids, self.config.vocab_size - 1)

    def positions(self, length: int) -> Tensor:
        """Return the position rows for ``length`` tokens, [length, width] (see `Convention.positions`)."""
        table = self.position_embedding
        if length == len(table):
            return table
        if self.config.convention.positions == "slice":
            if length > len(table):
                raise LitetextError(
                    f"{length} tokens need {length} position rows, the table has {len(table)}; "
                    f"use a context of {len(table)} or positions='interpolate'"
                )
            return table[:length]
        resized = F.interpolate(table[None, None], size=(length, table.shape[1]), mode="bilinear")
        return resized[0, 0]

    def folded(self) -> TextTransformer:
        """Return a copy for inference: BatchNorms inside the convolutions, the unused projection dropped."""
        twin = copy.copy(self)
        twin._modules = dict(self._modules)
        twin._parameters = dict(self._parameters)
        twin.layers = nn.ModuleList(x.folded() if isinstance(x, RepMixerBlock) else x for x in self.layers)
        twin.unused_projection = None
        return twin.eval()


def after_first_eot(ids: Tensor, eot_id: int) -> Tensor:
    """Return bool [B, L]: True after a row's first EOT."""
    is_eot = (ids == eot_id).int()
    return (is_eot.cumsum(1) - is_eot) > 0


def build(config: EncoderConfig, *, device: str | torch.device | None = None) -> TextTransformer:
    """Return an encoder with freshly drawn weights (``device="meta"`` draws none)."""
    with torch.device(device or "cpu"):
        return TextTransformer(config)


def _gain_and_bias(norm: TokenNorm) -> tuple[Tensor, Tensor]:
    assert norm.running_var is not None and norm.running_mean is not None
    gain = norm.weight / (norm.running_var + norm.eps).sqrt()
    return gain, norm.bias - norm.running_mean * gain


def _conv_with_norm(conv: TokenConv, norm: TokenNorm) -> tuple[Tensor, Tensor]:
    gain, bias = _gain_and_bias(norm)
    return conv.weight * gain.view(-1, 1, 1), bias


def _bias_of(conv: TokenConv) -> Tensor:
    assert conv.bias is not None
    return conv.bias
