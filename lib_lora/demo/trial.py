"""What a new studio over the pocket model has to try at once: a shipped LoRA, prompts, an analysis, pictures.

`shipped/` holds them; `tools/trial.py` makes it from a run of the demo. Everything of it is the project's own.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from pathlib import Path

from lib_lora.atomic import make_folder, replace_file
from lib_lora.data.tags import write_captions
from lib_lora.demo import settings as use
from lib_lora.errors import AtelierError
from lib_lora.formats.saving import save_atomically
from lib_lora.services.atelier import Atelier

SHIPPED = use.HERE / "shipped"
LORA = SHIPPED / f"{use.NAME}.safetensors"
ANALYSIS = SHIPPED / "analysis"
POCKET = use.HERE.parent / "host" / "pocket" / "pocket.safetensors"
PLACED = "trial.placed"
"""Under this key the settings remember that the LoRA was put into the list once."""

logger = logging.getLogger(__name__)


@dataclass(frozen=True)
class Example:
    """A prompt to begin with, the seed that its picture was made with, and that picture."""

    name: str
    prompt: str
    seed: int = 1

    @property
    def picture(self) -> Path:
        """What it looked like where it was made."""
        return SHIPPED / f"{self.name}.webp"


EXAMPLES = (
    Example("front", f"{use.PROMPTS[0][1]} <lora:{use.NAME}:1>"),
    Example("yellow", f"{use.PROMPTS[1][1]} <lora:{use.NAME}:1>"),
    Example("blocks", f"{use.PROMPTS[1][1]} <lora:{use.NAME}:1:{use.PRESET}>"),
)
ANALYZED = EXAMPLES[0]
"""The picture whose blocks the shipped analysis looks at."""


def place(atelier: Atelier) -> None:
    """Put the shipped LoRA into the list of a new studio: once, and only where no LoRA is yet.

    Whoever deleted it has deleted it. A disk that refuses is said in the log: everything else works without it.
    """
    if not fits(atelier) or atelier.settings.get(PLACED):
        return
    try:
        if not atelier.host.list_loras():
            data = LORA.read_bytes()
            save_atomically(atelier.folders.loras / LORA.name, [data], size=len(data))
    except (AtelierError, OSError) as error:
        logger.warning("the LoRA to begin with cannot be put into the list: %s", error)
        return
    atelier.settings.put(PLACED, True)


def fits(atelier: Atelier) -> bool:
    """Return whether the pocket model is loaded and the things to try are there: another model knows no krnk."""
    return getattr(atelier.host.model, "path", None) == POCKET and LORA.is_file()


def has_lora(atelier: Atelier) -> bool:
    """Return whether the shipped LoRA can be tried: it fits, and lies in the list."""
    return fits(atelier) and use.NAME in atelier.host.list_loras()


def pictures(atelier: Atelier) -> Path:
    """Return a folder with krnk's pictures and captions under the studio's pictures; it is made where it is missing.

    A folder of the same name that holds anything else is somebody's, and stays as it is.

    Raises:
        FileError: the disk refuses.
    """
    wanted = {path.name for path in use.PICTURES.glob("*.png")}
    number = 1
    while True:
        folder = atelier.folders.pictures / (use.TRIGGER if number == 1 else f"{use.TRIGGER}_{number}")
        if not folder.exists():
            break
        if wanted <= {path.name for path in folder.iterdir()}:
            return folder
        number += 1
    return _copied(folder)


def _copied(folder: Path) -> Path:
    make_folder(folder)
    for path in sorted(use.PICTURES.glob("*.png")):
        replace_file(folder / path.name, path.read_bytes())
    write_captions(folder, keyword=use.TRIGGER, lists=use.lists())
    return folder


def analysis(atelier: Atelier) -> Path:
    """Return a folder with the shipped analysis under the studio's outputs, from where the page can show it.

    Raises:
        FileError: the disk refuses.
    """
    folder = atelier.folders.outputs / "analysis" / use.NAME
    make_folder(folder)
    for path in sorted(ANALYSIS.iterdir()):
        if not (folder / path.name).exists():
            replace_file(folder / path.name, path.read_bytes())
    return folder
