"""An adapter with another one inside, whose alpha and shape it has."""

from __future__ import annotations

from dataclasses import dataclass

from lib_lora.formats.adapters.base import Adapter


@dataclass(frozen=True, eq=False)
class Around(Adapter):
    """``inner`` is the other one, under the same key."""

    key: str
    inner: Adapter

    @property
    def alpha(self) -> float:  # type: ignore[override]  # of what is inside, in place of a field
        """Alpha of what is inside."""
        return self.inner.alpha

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape of ``delta()``."""
        return self.inner.shape

    def fits(self, shape: tuple[int, ...]) -> bool:
        """Whether what is inside fits."""
        return self.inner.fits(shape)
