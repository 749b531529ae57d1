"""The axes that LoRA Atelier adds to the X/Y/Z plot."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from lib_lora.blocks.errors import PositionError
from lib_lora.blocks.tag import resolve
from lib_lora.errors import AtelierError, InputError
from lib_lora.host.base import Host
from lib_lora.host.webui.axes.changes import WHERE, AxisChange, PromptTags, put_change, tags_of
from lib_lora.host.webui.axes.kinds import KINDS, AxisKind
from lib_lora.host.webui.prompt import hooks
from lib_lora.host.webui.protocols import AxisOption, Processing, XyzGrid

PREFIX = "[LoRA Atelier] "

Say = Callable[[AtelierError], str]
"""How an error is worded for the page; the host shows it in place of the grid."""


def register_axes(host: Host, say: Say = str) -> bool:
    """Put our axes into the X/Y/Z plot, in place of those of an earlier load.

    False where there are none: the host has no plot, or another block-weight extension has precedence.

    Called before the page is built: the plot reads its list of axes then.
    """
    module = _plot()
    if module is None:
        return False
    _remove(module)
    if hooks.other_extension() is not None:
        return False
    module.axis_options.extend(_option(module, host, kind, say) for kind in KINDS)
    return True


def unregister_axes() -> None:
    """Take our axes out of the plot."""
    module = _plot()
    if module is not None:
        _remove(module)


def _plot() -> XyzGrid | None:
    """Return the module of the X/Y/Z plot; a reload of the page makes a new one."""
    from modules import scripts

    for data in reversed(scripts.scripts_data):
        if str(data.path).endswith("xyz_grid.py") and hasattr(data.module, "axis_options"):
            return data.module
    return None


def _remove(module: XyzGrid) -> None:
    module.axis_options[:] = [each for each in module.axis_options if not str(each.label).startswith(PREFIX)]


def _option(module: XyzGrid, host: Host, kind: AxisKind, say: Say) -> AxisOption:
    axis = _Axis(host, kind, say)
    return module.AxisOption(
        PREFIX + kind.label,
        str,
        axis.apply,
        format_value=axis.label,
        confirm=axis.confirm,
        cost=kind.cost,
        choices=None if kind.choices is None else axis.choices,
        prepare=axis.prepare,
    )


@dataclass(frozen=True)
class _Axis:
    """One axis: the host's calls, over what the kind knows."""

    host: Host
    kind: AxisKind
    say: Say

    def prepare(self, text: str) -> list[str]:
        """Return the values in the field."""
        try:
            return self.kind.split(text, self.host)
        except AtelierError as error:
            raise RuntimeError(self.say(error)) from error

    def choices(self) -> list[str]:
        """Return what the drop-down offers."""
        return [] if self.kind.choices is None else self.kind.choices(self.host)

    def confirm(self, p: Processing, values: Sequence[str]) -> None:
        """Check every value before the first picture.

        Raises:
            RuntimeError: the first that cannot be right; the host shows it.
        """
        try:
            tags = tags_of(p)
            if not values:
                raise InputError("This axis has no value", where=WHERE, cure="Type or choose one.")
            for value in values:
                self._check(value, tags)
        except AtelierError as error:
            raise RuntimeError(self.say(error)) from error

    def apply(self, p: Processing, value: str, _values: Sequence[str]) -> None:
        """Let this cell have the value."""
        put_change(p, self._change(value, tags_of(p)))

    def label(self, _p: Processing, _option: AxisOption, value: str) -> str:
        """Return how the grid names the value."""
        return self.kind.shown(value)

    def _check(self, value: str, tags: PromptTags) -> None:
        """Do with the prompt's tags what the cell will do, as far as numbers and names go."""
        try:
            for tag in tags.of(self._change(value, tags)):
                self.host.find_lora(tag.name)
                resolve(tag, self.host.presets, self.host.model.family, seed=0)
        except PositionError as error:  # it points into a tag that nobody typed like that
            raise InputError(error.what, where=WHERE, cure=error.cure) from error

    def _change(self, value: str, tags: PromptTags) -> AxisChange:
        return self.kind.change(value, tags, self.host)
