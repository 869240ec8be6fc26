"""Models on the Hugging Face hub: what is fetched from there, and what its errors mean.

`HF_ENDPOINT` names another hub, `HF_TOKEN` or `hf auth login` says who asks, and
`HF_HUB_OFFLINE=1` keeps to what was fetched before.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

NAME = re.compile(r"([\w][\w.-]*/[\w][\w.-]*)(?:@([\w][\w.-]*))?")  # user/model, perhaps @revision
PATIENCE = 5.0  # seconds that the hub has for its first answer


def endpoint() -> str | None:
    """Of the hub that the environment names now; None is the usual one."""
    return os.environ.get("HF_ENDPOINT") or None


def named(reference: str | Path) -> re.Match[str] | None:
    """Whether something may be the name of a model on the hub: `user/model` or
    `user/model@revision`, and no path: nothing lies there, nor in a folder called `user`, and it is
    not called as files of weights are."""
    if not isinstance(reference, str) or reference.endswith(".safetensors"):
        return None
    found = NAME.fullmatch(reference)
    return found if found and not Path(reference.partition("/")[0]).exists() else None


def fetch(name: re.Match[str], files: tuple[tuple[str, ...], ...]) -> Path:
    """The first file of the first of these sets that a model on the hub has, all of that set
    fetched into the cache of the hub's library; where the hub is out of reach, one that is there.

    Raises:
        ValueError: the model is not there, holds none of these, or cannot be reached.
    """
    from huggingface_hub import hf_hub_download
    from huggingface_hub.errors import EntryNotFoundError, LocalEntryNotFoundError

    where = _where(name[1], name[2])
    with in_one_line(name[0]):
        where |= {"local_files_only": not _answers(files[0][0], where)}
        for wanted in files:
            try:
                first, *_ = [Path(hf_hub_download(filename=file, **where)) for file in wanted]
                return first
            except EntryNotFoundError as error:
                missing = error
        if isinstance(missing, LocalEntryNotFoundError):
            raise missing
    held = " nor ".join(wanted[0] for wanted in files)
    raise ValueError(f"{name[0]} on the Hugging Face hub holds neither {held}: no stlatent model")


def only_local(name: str, file: str, revision: str | None = None) -> bool:
    """Whether a library that fetches by itself has to keep to what was fetched before, as the hub
    is out of reach; it would ask for a minute and more.

    Args:
        file: of those that the library needs.

    Raises:
        OSError: as of such a library, where the file was not fetched before either.
    """
    from huggingface_hub import hf_hub_download

    where = _where(name, revision)
    if _answers(file, where):
        return False
    try:
        with in_one_line(name):
            hf_hub_download(filename=file, local_files_only=True, **where)
    except ValueError as error:
        raise FileNotFoundError(str(error)) from None
    return True


def _where(name: str, revision: str | None) -> dict[str, str | None]:
    return {"repo_id": name, "revision": revision, "endpoint": endpoint()}


def _answers(file: str, where: Mapping[str, str | None]) -> bool:
    """Whether the hub says anything, if only that this is not there. It is asked once: the library
    below asks six times, for up to six minutes, before it says that the hub is out of reach."""
    from huggingface_hub import get_hf_file_metadata, hf_hub_url
    from huggingface_hub.errors import HfHubHTTPError

    try:
        get_hf_file_metadata(hf_hub_url(filename=file, **where), timeout=PATIENCE)
    except HfHubHTTPError:
        return True
    except Exception:  # of the library below, which is another one by version
        return False
    return True


@contextmanager
def in_one_line(what: str) -> Iterator[None]:
    """What goes wrong with the hub as a ValueError that says what to do."""
    from huggingface_hub import constants
    from huggingface_hub.errors import (
        GatedRepoError,
        HfHubHTTPError,
        HFValidationError,
        LocalEntryNotFoundError,
        OfflineModeIsEnabled,
        RepositoryNotFoundError,
        RevisionNotFoundError,
    )
    from huggingface_hub.utils import logging

    hub, verbosity = endpoint() or "the Hugging Face hub", logging.get_verbosity()
    logging.set_verbosity_error()  # it tells of every time that it tries again
    try:
        yield
    except GatedRepoError:
        reason = f"{what} is gated: ask for access on its page, then `hf auth login`"
    except RepositoryNotFoundError:
        reason = (
            f"{what} is neither here nor on {hub}; give a path that exists or user/model, and "
            "`hf auth login` if it is private"
        )
    except RevisionNotFoundError:
        reason = f"{what}: this revision is not on {hub}"
    except (OfflineModeIsEnabled, LocalEntryNotFoundError):
        far = "kept out of reach by HF_HUB_OFFLINE" if constants.HF_HUB_OFFLINE else "out of reach"
        reason = f"{what} is not here, was not fetched before, and {hub} is {far}"
    except HFValidationError as error:
        reason = f"{what}: {error}"
    except HfHubHTTPError as error:
        status = getattr(error.response, "status_code", None)
        login = "; `hf auth login`, or set HF_TOKEN" if status in (401, 403) else ""
        reason = f"{what}: {hub} answers {status or 'nothing'}{login}"
    except ValueError:
        raise
    except Exception as error:  # of the library below, which is another one by version
        reason = f"{what}: {hub} is out of reach ({type(error).__name__})"
    else:
        return
    finally:
        logging.set_verbosity(verbosity)
    raise ValueError(reason) from None
