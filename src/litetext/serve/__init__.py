"""One process that answers over HTTP: masks for phrases, features, concepts, videos, and the page to try it on.

FastAPI and pydantic stand at the border (`api`, `schemas`); behind it one thread runs the model over batches of
requests (`worker`, `model`), and the features of images are cached by content (`cache`). `ServerSettings` needs
nothing but the base install; `create_app` brings FastAPI.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from ..lazy import lazy_names
from .settings import Limits, ServerSettings

if TYPE_CHECKING:
    from .app import create_app

__all__ = ["Limits", "ServerSettings", "create_app"]


__getattr__ = lazy_names(__name__, {"create_app": ".app"})
