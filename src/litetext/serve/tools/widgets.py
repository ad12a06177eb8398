"""What X-AnyLabeling shows of a model."""

from __future__ import annotations

from typing import Any

_VIDEO = " (video)"
_PROMPT = ("edit_text", "button_send")
_BOXES = ("add_pos_rect", "add_neg_rect", "button_run_rect", "button_clear", "button_finish_object")
_VALUES = {"edit_conf": 0.5, "mask_fineness_slider": 10, "toggle_preserve_existing_annotations": True}


def client_models(names: list[str], *, videos: bool) -> dict[str, Any]:
    """Return what the client shows of each model: its name, and the controls that it understands.

    Args:
        names: of the models.
        videos: whether they follow phrases through videos too, which is a model of its own to the client.
    """
    images = {name: _entry(name, "text_prompt", (*_PROMPT, *_BOXES)) for name in names}
    return images | (
        {f"{name}{_VIDEO}": _entry(f"{name}{_VIDEO}", "video", _PROMPT) for name in names} if videos else {}
    )


def served_name(name: str) -> str:
    """Return the name under which a model is served that the client calls so."""
    return name.removesuffix(_VIDEO)


def _entry(name: str, mode: str, controls: tuple[str, ...]) -> dict[str, Any]:
    widgets: list[dict[str, Any]] = [{"name": control, "value": None} for control in controls]
    widgets += [{"name": control, "value": value} for control, value in _VALUES.items()]
    return {"display_name": f"litetext {name}", "batch_processing_mode": mode, "widgets": widgets, "params": {}}
