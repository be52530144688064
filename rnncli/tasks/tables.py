"""What the tasks share that read tables: how a user says that one is laid out."""

from dataclasses import dataclass
from typing import ClassVar

from rnncli.data.tables import QUOTINGS, SEPARATORS, Layout
from rnncli.training.settings import option


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """Settings of a task that reads tables."""

    panel: ClassVar[str] = "Tables"

    separator: str = option(
        "",
        f"What separates the fields of a table: {', '.join(SEPARATORS)} or a character; by default as its name ends.",
        suggest=tuple(SEPARATORS),
    )
    header: bool = option(False, "Whether the first row of a table names its columns.")
    quoting: str = option(
        "auto",
        "Whether quotation marks enclose fields, as in CSV, or are text; auto: text between tabs and blanks.",
        choices=QUOTINGS,
    )

    @property
    def layout(self) -> Layout:
        """How tables are laid out."""
        return Layout(self.separator, self.header, self.quoting)
