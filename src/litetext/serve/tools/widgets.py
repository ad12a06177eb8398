"""What X-AnyLabeling shows of a model."""

from __future__ import annotations

from typing import Any


def client_models(names: list[str]) -> dict[str, Any]:
    """Return what the client shows of each model: its name, and the controls that it understands."""
    widgets = [
        {"name": "edit_text", "value": None},
        {"name": "button_send", "value": None},
        {"name": "edit_conf", "value": 0.5},
        {"name": "add_pos_rect", "value": None},
        {"name": "add_neg_rect", "value": None},
        {"name": "button_run_rect", "value": None},
        {"name": "button_clear", "value": None},
        {"name": "button_finish_object", "value": None},
        {"name": "mask_fineness_slider", "value": 10},
        {"name": "toggle_preserve_existing_annotations", "value": True},
    ]
    shown = {"batch_processing_mode": "text_prompt", "widgets": widgets, "params": {}}
    return {name: {"display_name": f"litetext {name}", **shown} for name in names}
