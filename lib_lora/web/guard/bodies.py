"""How much a request may bring, counted while it comes: files to the disk, fields only as far as memory allows."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from python_multipart.exceptions import FormParserError
from python_multipart.multipart import MultipartParser, parse_options_header

KEPT_IN_MEMORY = 16 * 2**20


@dataclass(frozen=True)
class Limits:
    """What one request may bring.

    Attributes:
        whole: bytes of all its files together; gradio 3 would take any number.
        fields: bytes of what is no file, JSON or a form's texts: servers keep it in memory.
    """

    whole: int = 2**31
    fields: int = KEPT_IN_MEMORY


class BodyCount:
    """Counts a request's body."""

    def __init__(self, headers: Mapping[str, str], limits: Limits) -> None:
        self._limits = limits
        self._come = self._fields = 0
        self._in_file = False
        self._name, self._value = bytearray(), bytearray()
        kind, options = parse_options_header(headers.get("content-type", ""))
        self._parser: Any = None
        if kind == b"multipart/form-data" and options.get(b"boundary"):
            self._parser = MultipartParser(options[b"boundary"], self._callbacks())
        length = headers.get("content-length", "0")
        self._said = int(length) if length.isascii() and length.isdecimal() and len(length) < 20 else limits.whole + 1

    @property
    def too_much(self) -> bool:
        """Whether more has come, or is said to come, than may."""
        most = self._limits.whole if self._parser else min(self._limits.whole, self._limits.fields)
        return max(self._come, self._said) > most or self._fields > self._limits.fields

    def add(self, data: bytes) -> None:
        """Count a part of the body."""
        self._come += len(data)
        if self._parser is not None and not self.too_much:
            try:
                self._parser.write(data)
            except FormParserError:
                self._fields += len(data)  # what is no form cannot be told apart; whoever reads it will refuse it

    def _callbacks(self) -> dict[str, Any]:
        return {
            "on_part_begin": self._begin,
            "on_header_field": self._header_name,
            "on_header_value": self._header_value,
            "on_header_end": self._header,
            "on_part_data": self._data,
        }

    def _begin(self) -> None:
        self._in_file = False

    def _header_name(self, data: bytes, start: int, end: int) -> None:
        self._fields += end - start
        self._name += data[start:end]

    def _header_value(self, data: bytes, start: int, end: int) -> None:
        self._fields += end - start
        self._value += data[start:end]

    def _header(self) -> None:
        if self._name.lower() == b"content-disposition":  # read as the form's reader does: the last one counts
            self._in_file = b"filename" in parse_options_header(bytes(self._value))[1]
        self._name.clear()
        self._value.clear()

    def _data(self, data: bytes, start: int, end: int) -> None:
        if not self._in_file:
            self._fields += end - start
