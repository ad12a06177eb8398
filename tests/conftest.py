"""Settings for every test: no deadlines, since these machines are shared, and no hub, since tests need no network."""

from __future__ import annotations

import os

from hypothesis import settings

os.environ.setdefault("HF_HUB_OFFLINE", "1")
os.environ.pop("COLUMNS", None)  # processes of pytest-xdist have it, and tables would be as narrow as that

settings.register_profile("litetext", deadline=None)
settings.load_profile("litetext")
