"""The parameters of publishing: `publish/params.yaml`, checked like `params.yaml`."""

from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field

from text2sql.base import arms
from text2sql.base.params import Section, check, read_yaml

PATH = Path("publish/params.yaml")
ADAPTER, MERGED = arms.ADAPTER, arms.MERGED
RECORD = arms.MADE_OF["merge"]  # of the check, and of what was merged
EXPORTS = arms.EXPORTS  # GGUF files, Modelfiles, and the record of what they were made from and how they answer


class Base(Section):
    """What the card says of a base model. `license` is the Hub's identifier; `other` needs a name and a link."""

    model: str | None = None
    license: str
    license_name: str | None = None
    license_link: str | None = None


class PublishParams(Section):
    repo: Annotated[str, Field(pattern=r"^[\w.-]+/[\w.-]+$")] | None
    model: Literal["models/finetuned", "publish/merged"]
    private: bool
    bases: dict[str, Base]


def read_publish_params(path: Path = PATH) -> PublishParams:
    """The checked parameters of publishing. Raises UserError naming the first key that is wrong."""
    return check(read_yaml(path), path, PublishParams)
