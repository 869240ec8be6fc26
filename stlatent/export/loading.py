"""How `diffusers` builds what was exported again, with this library installed."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, ClassVar

from diffusers import ConfigMixin

from ..files import replace_text
from ..model.config import Strict, parse

LOADER_TEXT = """from stlatent import {name}

__all__ = ["{name}"]
"""


class Checked(ConfigMixin):
    """A class whose `config.json` is checked before anything is built of it.

    Attributes:
        settings: what it says for the constructor.
    """

    settings: ClassVar[type[Strict]]

    @classmethod
    def extract_init_dict(cls, config_dict: Mapping[str, Any], **kwargs: Any) -> tuple:
        """What goes to the constructor.

        Raises:
            ValueError: it is not what the constructor takes.
        """
        own = cls._get_init_keys(cls) & {*config_dict}
        parse(cls.settings, {k: config_dict[k] for k in own}, f"config.json of {cls.__name__}")
        return super().extract_init_dict(config_dict, **kwargs)


class Reloaded(Checked):
    """A class whose `config.json` also says what pipelines look up, and from where `AutoModel`
    loads it.

    Attributes:
        loader: the file that `trust_remote_code=True` runs.
    """

    loader: ClassVar[str]

    @classmethod
    def auto_map(cls) -> dict[str, str]:
        """What `config.json` says under this name."""
        return {"AutoModel": f"{cls.loader}.{cls.__name__}"}

    @classmethod
    def extract_init_dict(cls, config_dict: Mapping[str, Any], **kwargs: Any) -> tuple:
        """Only what the constructor takes: the other names in `config.json` follow from it."""
        own = cls._get_init_keys(cls)
        kept = {k: v for k, v in config_dict.items() if k in own or k.startswith("_")}
        return super().extract_init_dict(kept, **kwargs)

    def save_config(self, save_directory: str | Path, *args: Any, **kwargs: Any) -> None:
        """Also writes the file that `AutoModel` loads the class from."""
        super().save_config(save_directory, *args, **kwargs)
        text = LOADER_TEXT.format(name=type(self).__name__)
        replace_text(Path(save_directory) / f"{self.loader}.py", text)
