"""From a name to files: a path on disk, or files of a repository on the Hugging Face hub, fetched once and cached.

Names of the hub: ``owner/repo``, ``owner/repo@revision``, ``owner/repo/dir/file.pt`` (that file alone), ``hf://`` and
https links to them. Of a repository, the one model in it is fetched; where it holds several, the error lists them, and
nothing is fetched. Files lie in the hub's own cache, so every tool that uses it shares them. A download that breaks off
goes on from there at the next call, and is checked against its SHA-256.
"""

from __future__ import annotations

import difflib
import hashlib
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING, BinaryIO

from .errors import LitetextError
from .hub_names import HubName, parse_hub_name

if TYPE_CHECKING:
    from huggingface_hub import CachedRepoInfo
    from huggingface_hub.hf_api import RepoSibling

WEIGHTS = (".safetensors", ".pt", ".pth", ".bin")
_BESIDE = (".json", ".txt")
"""What a model's folder holds beside its weights: configuration and tokenizer."""


def local_path(name_or_path: str | os.PathLike[str]) -> Path:
    """Return the file or folder that ``name_or_path`` names; a name of the hub is fetched first.

    Args:
        name_or_path: a path that exists, or a name of the hub as above.

    Raises:
        LitetextError: nothing of that name on disk; no such repository, revision or file; a gated repository; a
            repository of several models; a download that broke off or arrived damaged; a file of the hub's cache that
            is a link out of its repository; no network.
    """
    path = Path(name_or_path)
    if not path.exists():
        name = _hub_name(os.fspath(name_or_path))
        if offline():
            path = _cached(name, "and this is offline; leave out --offline (HF_HUB_OFFLINE=0) to fetch it")
        else:
            path = _fetched(name)
    _check_links(path)
    return path


def is_hub_file(link: str) -> bool:
    """Whether a link is one that `hub_file` takes."""
    return link.startswith("hf://") or bool(re.match(r"https?://(huggingface\.co|hf\.co)/.+/(blob|resolve)/", link))


def hub_file(link: str) -> Path:
    """Return the one file of a repository of models or data that ``link`` names, fetched once and cached.

    Args:
        link: ``hf://owner/name/path`` or ``hf://datasets/owner/name/path``, with ``@revision`` after the name if it is
            not the newest; or a link to the file's page on the hub.

    Raises:
        LitetextError: no such repository, revision or file; a gated repository; no network.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    name = parse_hub_name(link)
    if name is None or not name.path_in_repo:
        raise LitetextError(
            f"{link} names no file on the hub; give hf://owner/name/path or hf://datasets/owner/name/path"
        )
    with _refusals_named(name):
        try:
            return Path(
                hf_hub_download(
                    name.id,
                    name.path_in_repo,
                    repo_type=name.type,
                    revision=name.revision,
                    local_files_only=offline(),
                )
            )
        except LocalEntryNotFoundError:
            raise LitetextError(
                f"{link} is not on this machine, and the hub cannot be reached or this is offline"
            ) from None
        except EntryNotFoundError:
            raise LitetextError(f"{_title(name)} has no file {name.path_in_repo!r}; check the spelling") from None


def _check_links(path: Path) -> None:
    """Raise for a file of a snapshot in the hub's cache that links out of its repository; other links are the user's.

    In the cache, the files of a snapshot are links to the repository's ``blobs/``.
    """
    repositories = [one for one in path.parents if one.name.startswith("models--") and (one / "snapshots").is_dir()]
    for repository in repositories:
        for file in (path, *path.rglob("*")):
            if file.is_symlink() and repository.resolve() not in file.resolve().parents:
                raise LitetextError(f"{file} links to {file.resolve()}, out of its repository; fetch it anew")


def offline() -> bool:
    """Whether nothing may be fetched: ``--offline``, or HF_HUB_OFFLINE in the environment."""
    return os.environ.get("HF_HUB_OFFLINE", "").upper() in ("1", "ON", "YES", "TRUE")


def cached_file(repository: str, file: str) -> Path | None:
    """Return where a file of a hub repository lies on this machine, or None where it does not."""
    from huggingface_hub import try_to_load_from_cache

    found = try_to_load_from_cache(repository, file)
    return Path(found) if isinstance(found, str) else None


def cached_path(name: str) -> Path | None:
    """Return where a model is on this machine by its name on the hub, or None; nothing is fetched."""
    try:
        return _cached(_hub_name(name), "")
    except LitetextError:
        return None


def cached_models() -> list[tuple[str, Path]]:
    """Return the models that the hub's cache holds, by the names that find them there: folders, and files of weights.

    Of a repository's revisions it is that of ``main``, or where that is not there the one that changed last.
    """
    from huggingface_hub import CacheNotFound, constants, scan_cache_dir

    try:
        found = scan_cache_dir(constants.HF_HUB_CACHE).repos
    except (CacheNotFound, ValueError):  # there is no cache yet, or a file in its place
        return []
    return sorted(
        (f"{name}/{inside}".removesuffix("/"), snapshot / inside)
        for repository in found
        if repository.repo_type == "model" and repository.revisions
        for name, snapshot in [_newest(repository)]
        for inside in _models_in(snapshot)
    )


def _newest(repository: CachedRepoInfo) -> tuple[str, Path]:
    """The name and the snapshot of a cached repository's main revision, or else of its last."""
    if "main" in repository.refs:
        return repository.repo_id, repository.refs["main"].snapshot_path
    last = max(repository.revisions, key=lambda revision: revision.last_modified)
    return f"{repository.repo_id}@{last.commit_hash}", last.snapshot_path


def _models_in(snapshot: Path) -> list[str]:
    """The folders of a snapshot that are models, and the files of weights that belong to none of them."""
    files = [file.relative_to(snapshot).as_posix() for file in snapshot.rglob("*") if file.is_file()]
    folders = _model_folders(files)
    return [*folders, *(file for file in files if file.endswith(WEIGHTS) and _folder(file) not in folders)]


def chosen_files(files: Mapping[str, int], name: str, path: str = "") -> list[str]:
    """Return which files of a repository make up the model that is named.

    Args:
        files: every file of the repository and its size in bytes.
        name: of the repository with its revision, for messages.
        path: a file or folder inside it; empty for the repository itself.

    Raises:
        LitetextError: no such file, no weights, or several models, listed with the command that opens each.
    """
    if path in files:
        return [path]
    inside = [file for file in files if not path or PurePosixPath(path) in PurePosixPath(file).parents]
    if not inside:
        near = difflib.get_close_matches(path, files, n=1, cutoff=0.0)
        hint = f"; the nearest name is {name}/{near[0]}" if near else ""
        raise LitetextError(f"{name} has no file or folder {path!r}{hint}")
    models = _model_folders(inside)
    whole = models[0] if len(models) == 1 else path
    if whole in models or _join(path, "segmenter") in models:
        weights = _weights_of(inside, models)
        within = [file for file in inside if not whole or PurePosixPath(whole) in PurePosixPath(file).parents]
        return [file for file in within if file.endswith(_BESIDE) or file in weights]
    loose = [file for file in inside if file.endswith(WEIGHTS)]
    if models:
        raise _several(name, dict.fromkeys(models))
    if len(loose) == 1:
        return loose
    if not loose:
        raise LitetextError(f"{name} holds no weights that litetext reads ({', '.join(WEIGHTS)})")
    raise _several(name, {file: files[file] for file in loose})


def _model_folders(files: Iterable[str]) -> list[str]:
    """The folders that hold weights as safetensors with a config.json, as transformers' and ours do."""
    held = set(files)
    folders = {_folder(file) for file in held if file.endswith(".safetensors")}
    return sorted(folder for folder in folders if _join(folder, "config.json") in held)


def _weights_of(files: Iterable[str], models: Iterable[str]) -> set[str]:
    """The weights of each model's folder: ``model.safetensors`` alone where it is there, else all (shards)."""
    chosen: set[str] = set()
    for folder in models:
        own = {file for file in files if file.endswith(".safetensors") and _folder(file) == folder}
        whole = _join(folder, "model.safetensors")
        chosen |= {whole} if whole in own else own
    return chosen


def _folder(file: str) -> str:
    return "" if "/" not in file else file.rpartition("/")[0]


def _join(folder: str, file: str) -> str:
    return f"{folder}/{file}" if folder else file


class _SeveralModelsError(LitetextError):
    """A name is that of several models, which the message lists."""


def _several(name: str, models: Mapping[str, int | None]) -> LitetextError:
    listed = "; ".join(
        f"litetext info {name}/{model}" + (f" ({size / 1e9:.2f} GB)" if size else "") for model, size in models.items()
    )
    return _SeveralModelsError(f"{name} holds {len(models)} models, so name one: {listed}")


def _hub_name(text: str) -> HubName:
    """Parse the name of a model on the hub."""
    refusal = LitetextError(
        f"{text}: no such file or folder, and not a name on the hub (owner/name, owner/name@revision, "
        "owner/name/folder/file.pt, or a link to one)"
    )
    written = text.startswith(("hf://", "https://", "http://"))
    owner, _, rest = text.partition("/")
    if not written and (owner in ("", ".", "..", "~") or not rest or ("/" not in rest and rest.endswith(WEIGHTS))):
        raise refusal
    name = parse_hub_name(text)
    if name is None:
        raise refusal
    if name.type != "model":
        raise LitetextError(f"{text} is a {name.type} on the hub, not a model")
    return name


def _title(name: HubName) -> str:
    return name.id if name.revision is None else f"{name.id}@{name.revision}"


def _fetched(name: HubName) -> Path:
    """Fetch what is not here yet; without a network, what is here."""
    from huggingface_hub import HfApi, hf_hub_download
    from huggingface_hub.errors import HfHubHTTPError

    with _refusals_named(name):
        try:
            siblings = HfApi().model_info(name.id, revision=name.revision, files_metadata=True).siblings or []
        except _network_errors() as error:
            if isinstance(error, HfHubHTTPError) and error.response.status_code < 500:
                raise
            return _cached(name, "and the hub cannot be reached; check the network, or give the path of a copy")
        files = {sibling.rfilename: sibling for sibling in siblings}
        sizes = {file: sibling.size or 0 for file, sibling in files.items()}
        chosen = chosen_files(sizes, _title(name), name.path_in_repo)
        for file in chosen:
            _complete(name, files[file])
        paths = [Path(hf_hub_download(name.id, file, revision=name.revision)) for file in chosen]
    return _place(paths)


def _network_errors() -> tuple[type[Exception], ...]:
    """What the HTTP library under huggingface_hub raises; which one that is depends on the version of it."""
    libraries = [sys.modules[name] for name in ("httpx", "httpx2") if name in sys.modules]
    return (OSError, *(library.HTTPError for library in libraries))  # the errors of requests are OSErrors


def _place(paths: Sequence[Path]) -> Path:
    """Where the files are: the one file, or the folder of the repository's snapshot that holds them all."""
    return paths[0] if len(paths) == 1 else Path(os.path.commonpath([path.parent for path in paths]))


def _cached(name: HubName, otherwise: str) -> Path:
    """What is on this machine of a name of the hub; ``otherwise`` ends the message where it is nothing."""
    from huggingface_hub import snapshot_download
    from huggingface_hub.errors import HFValidationError, LocalEntryNotFoundError

    try:
        snapshot = Path(snapshot_download(name.id, revision=name.revision, local_files_only=True))
        files = {
            file.relative_to(snapshot).as_posix(): file.stat().st_size for file in snapshot.rglob("*") if file.is_file()
        }
        chosen = chosen_files(files, _title(name), name.path_in_repo)
    except _SeveralModelsError:
        raise
    except (LocalEntryNotFoundError, HFValidationError, LitetextError):
        asked = f"{_title(name)}/{name.path_in_repo}".removesuffix("/")
        raise LitetextError(f"{asked} is not on this machine, {otherwise}") from None
    return _place([snapshot / file for file in chosen])


@contextmanager
def _refusals_named(name: HubName) -> Iterator[None]:
    """Say what the hub refuses, and what helps."""
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )

    try:
        yield
    except GatedRepoError:
        raise LitetextError(
            f"{name.id} is gated: accept its licence on its hub page, then log in with: hf auth login"
        ) from None
    except RepositoryNotFoundError:
        raise LitetextError(
            f"{name.id}: no such path here and no such repository on the hub; check the spelling"
        ) from None
    except RevisionNotFoundError:
        raise LitetextError(f"{name.id} has no revision {name.revision!r}; check the spelling") from None
    except HFValidationError:
        raise LitetextError(f"{name.id}: no such path here and not a valid hub name (owner/name)") from None
    except HfHubHTTPError as error:
        raise LitetextError(f"{name.id}: the hub answers {error.response.status_code}; try again later") from None


def _complete(name: HubName, file: RepoSibling) -> None:
    """Bring a large file's bytes into the hub's cache, from where an earlier download broke off, and check them.

    huggingface_hub itself resumes within one call only, and compares sizes alone.
    """
    from huggingface_hub import constants, hf_hub_url
    from huggingface_hub.file_download import http_get, repo_folder_name
    from huggingface_hub.utils import WeakFileLock, build_hf_headers  # type: ignore[attr-defined]

    if file.lfs is None:
        return
    blobs = Path(constants.HF_HUB_CACHE) / repo_folder_name(repo_id=name.id, repo_type="model") / "blobs"
    blob, partial = blobs / file.lfs.sha256, blobs / f"{file.lfs.sha256}.partial"
    if blob.exists():
        return
    blobs.mkdir(parents=True, exist_ok=True)
    with WeakFileLock(blobs / f"{file.lfs.sha256}.lock"):
        with partial.open("ab") as content:
            url = hf_hub_url(name.id, file.rfilename, revision=name.revision)
            _received(
                f"{_title(name)}/{file.rfilename}",
                content,
                file.lfs.size,
                lambda: http_get(
                    url,
                    content,
                    resume_size=content.tell(),
                    headers=build_hf_headers(),
                    expected_size=file.lfs.size if file.lfs else None,
                    displayed_filename=file.rfilename,
                ),
            )
        with partial.open("rb") as content:
            if _sha256(content) != file.lfs.sha256:
                partial.unlink()
                raise LitetextError(f"{_title(name)}/{file.rfilename} arrived damaged (SHA-256); fetch it again")
        partial.replace(blob)


def _received(file: str, content: BinaryIO, size: int, receive: Callable[[], None]) -> None:
    """Receive a file; where that breaks off, say how far it came and that it can go on."""
    from huggingface_hub.errors import GatedRepoError, RepositoryNotFoundError

    try:
        receive()
    except _network_errors() as error:
        if isinstance(error, GatedRepoError | RepositoryNotFoundError):
            raise
        raise LitetextError(
            f"{file}: the download broke off at {content.tell() / 1e6:,.2f} of {size / 1e6:,.2f} MB "
            f"({type(error).__name__}); the same command goes on from there"
        ) from None


def _sha256(content: BinaryIO) -> str:
    digest = hashlib.sha256()
    while block := content.read(1 << 22):
        digest.update(block)
    return digest.hexdigest()
