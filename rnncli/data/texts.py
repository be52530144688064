"""Texts that a user passes to a model, one by one or as the lines of a file."""

from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from rnncli.errors import UsageError
from rnncli.settings import option


@dataclass(frozen=True, kw_only=True)
class GivenTexts:
    """Texts, or the lines of a file."""

    texts: tuple[str, ...] = option((), "Texts, each in quotation marks; - for standard input.", argument=True)
    file: str | None = option(None, "Take every line of this file, or of - (standard input).")

    @cached_property
    def lines(self) -> list[str]:
        """The texts; a blank line of a file is an empty text, so that answers match lines.

        Raises UsageError for no text or a blank text; RnnError for a file that cannot be read.
        """
        from rnncli.data.text import lines_of, read_stdin, read_text

        if bool(self.texts) == (self.file is not None):
            raise UsageError("give one text or more, each in quotation marks, or --file FILE")
        for place, text in enumerate(self.texts, start=1):
            if not text.strip():
                raise UsageError(f"text {place} is empty: there is no word in it")
        if self.file is None:
            return list(self.texts)
        whole = read_stdin() if self.file == "-" else read_text(Path(self.file))
        return [line if line.strip() else "" for line in lines_of(whole)]

    @cached_property
    def spaced(self) -> list[str]:
        """The same with single blanks between the words."""
        return [" ".join(line.split()) for line in self.lines]
