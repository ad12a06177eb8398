"""The one error that a user caused and can fix, and the one warning.

Raise it with a sentence that names the file, key or value and says what would do. The command line
prints that sentence alone and exits with 2; library users may catch it as an ordinary ``ValueError``.
"""

from __future__ import annotations

import contextlib
import reprlib
import sys
from collections.abc import Iterator
from importlib.util import find_spec


class LitetextError(ValueError):
    """Bad input: the message names what was given and the remedy, on one line."""


class LitetextWarning(UserWarning):
    """Input that works but may not mean what its giver thinks: the message names it and what settles it."""


class Terminated(KeyboardInterrupt):
    """SIGTERM came: it ends what Ctrl-C would end, in the same way."""


def choice_error(kind: str, given: object, choices: list[str] | tuple[str, ...]) -> LitetextError:
    """Return the error for an unknown name: what was given, and every name that would do."""
    return LitetextError(f"unknown {kind} {short(given)}; choose one of: {', '.join(sorted(choices))}")


_SAM3 = ("PIL", "pycocotools", "scipy", "supervision", "timm", "torch", "torchvision", "transformers")
_SERVE = ("PIL", "fastapi", "h11", "httpx", "multipart", "prometheus_client", "pydantic", "starlette", "uvicorn")
_DISTILL = (*_SAM3, "accelerate", "tensorboard")

EXTRAS = {
    "images": ("PIL",),
    "openvino": ("PIL", "nncf", "openvino"),
    "evaluate": ("PIL", "jinja2", "pycocotools", "scipy"),
    "anatomy": ("datasets", "jinja2", "matplotlib", "pyarrow"),
    "sam3": _SAM3,
    "export": (*_SAM3, "onnx", "onnx_ir", "onnxscript"),
    "mini": (*_SAM3, "tensorboard"),
    "video": (*_SAM3, "av", "trackers"),
    "label": (*_SAM3, "fsspec", "imagehash", "jinja2", "pyarrow", "ray"),
    "distill": _DISTILL,
    "photo": (*_DISTILL, "cv2"),
    "serve": _SERVE,
}
"""The extras of `pyproject.toml`, the smallest first, and the modules of each that litetext imports."""

_PACKAGES = {"PIL": "pillow", "cv2": "opencv-python-headless", "multipart": "python-multipart"}
"""What modules are called where they are installed from, if not by their own name."""


class MissingExtraError(LitetextError):
    """A module is not installed; the message names the extra that it comes with.

    Attributes:
        module: its name.
    """

    def __init__(self, module: str, extra: str) -> None:
        package = _PACKAGES.get(module, module)
        super().__init__(f"{package} is not installed; it comes with: pip install 'litetext[{extra}]'")
        self.module = module


def missing_extra(module: str, preferred: str | None = None) -> MissingExtraError:
    """Return the error for a module of an extra that is not installed.

    Args:
        module: one of those in `EXTRAS`.
        preferred: the extra to name, where it brings the module; else the smallest that does is named.
    """
    bringing = [extra for extra, modules in EXTRAS.items() if module in modules]
    return MissingExtraError(module, preferred if preferred in bringing else bringing[0])


@contextlib.contextmanager
def extras_named(preferred: str | None = None) -> Iterator[None]:
    """Turn an import that fails for want of an extra into an error that names it, see `missing_extra`."""
    try:
        yield
    except (ImportError, MissingExtraError) as error:
        module = _missing_module(error)
        if module is None:
            raise
        raise missing_extra(module, preferred) from None


def _missing_module(error: BaseException | None) -> str | None:
    """The module of an extra for want of which an import failed, perhaps some causes further down; else None."""
    if isinstance(error, MissingExtraError):
        return error.module
    while isinstance(error, ImportError):  # transformers hides the module's name behind an error of its own
        module = (error.name or "").partition(".")[0]
        if isinstance(error, ModuleNotFoundError) and any(module in modules for modules in EXTRAS.values()):
            return module
        error = error.__cause__ or error.__context__
    return None


def require(*modules: str) -> None:
    """Raise a `LitetextError` that names the extra unless these modules are installed; nothing is imported."""
    for module in modules:
        if sys.modules.get(module) is None and find_spec(module) is None:
            raise missing_extra(module)


@contextlib.contextmanager
def failures_named(source: object, what: str) -> Iterator[None]:
    """Turn whatever a library raises over the content of a file into a `LitetextError` of one line that names the file.

    For libraries that check little of what they read, where a malformed file can fail in any way at all.

    Args:
        source: the file or folder.
        what: what is wrong with it, such as ``"is not a model's configuration"``.
    """
    try:
        yield
    except LitetextError:
        raise
    except Exception as error:
        if (missing := _missing_module(error)) is not None:
            raise missing_extra(missing) from None
        reason = " ".join(str(error).split())[:200]
        raise LitetextError(f"{source} {what} ({type(error).__name__}: {reason}); is it cut short?") from error


def short(value: object) -> str:
    """Return ``repr(value)`` in 60 characters or fewer, whatever the size and depth of the value."""
    text = " ".join(_SHORT.repr(value).split())
    return text if len(text) <= 60 else text[:57] + "..."


_SHORT = reprlib.Repr()
_SHORT.maxlevel, _SHORT.maxstring, _SHORT.maxlong, _SHORT.maxother = 4, 60, 40, 60
