"""The names and shapes of an encoder's tensors, told from its config without building it.

They are `modules.TextTransformer`'s own, in the order of its state dict; a test holds the two together.
"""

from __future__ import annotations

from collections.abc import Iterator

from .config import EncoderConfig

Shape = tuple[int, ...]


def our_shapes(config: EncoderConfig) -> list[tuple[str, Shape]]:
    """Return the names and shapes of our own state dict for ``config``."""
    width = config.width
    shapes: list[tuple[str, Shape]] = [("position_embedding", (config.position_rows, width))]
    if config.unused_projection:
        shapes.append(("unused_projection", (width, config.unused_projection)))
    shapes.append(("token_embedding.weight", (config.vocab_size, width)))
    for index in range(config.layers):
        block = _repmixer(config) if index in config.repmixer_layers() else _transformer(config)
        shapes += [(f"layers.{index}.{name}", shape) for name, shape in block]
    return [*shapes, *_norm("final_norm", width), *_linear("projector", width, config.output_dim)]


def _transformer(config: EncoderConfig) -> Iterator[tuple[str, Shape]]:
    width = config.width
    yield from _norm("norm1", width)
    yield from _linear("attention.qkv", width, 3 * width)
    yield from _linear("attention.out", width, width)
    yield from _norm("norm2", width)
    yield from _linear("ffn.up", width, config.ffn)
    yield from _linear("ffn.down", config.ffn, width)


def _repmixer(config: EncoderConfig) -> Iterator[tuple[str, Shape]]:
    width, kernel = config.width, (config.width, 1, config.repmixer_kernel)
    yield "scale", (width,)
    yield "mixer.scale", (width,)
    yield from _batch_norm("mixer.norm", width)
    yield from _batch_norm("mixer.skip", width)
    yield "mixer.conv.weight", kernel
    yield from _batch_norm("mixer.conv_norm", width)
    yield "ffn.conv.weight", kernel
    yield from _batch_norm("ffn.conv_norm", width)
    yield from _linear("ffn.up", width, config.ffn)
    yield from _linear("ffn.down", config.ffn, width)


def _linear(name: str, inputs: int, outputs: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (outputs, inputs)
    yield f"{name}.bias", (outputs,)


def _norm(name: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield f"{name}.weight", (width,)
    yield f"{name}.bias", (width,)


def _batch_norm(name: str, width: int) -> Iterator[tuple[str, Shape]]:
    yield from _norm(name, width)
    yield f"{name}.running_mean", (width,)
    yield f"{name}.running_var", (width,)
    yield f"{name}.num_batches_tracked", ()
