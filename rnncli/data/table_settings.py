"""What the tasks share that read tables: how a user says that one is laid out."""

from dataclasses import dataclass, fields
from typing import ClassVar

from rnncli.data.tables import QUOTINGS, SEPARATORS, Layout
from rnncli.errors import UsageError
from rnncli.settings import option


@dataclass(frozen=True, kw_only=True)
class TableSettings:
    """Settings of a task that reads tables."""

    panel: ClassVar[str] = "Tables"

    separator: str = option(
        "",
        f"What separates the fields of a table: {', '.join(SEPARATORS)} or a character; by default as its name ends.",
        suggest=tuple(SEPARATORS),
        expert=True,
    )
    header: bool = option(False, "Whether the first row of a table names its columns.", expert=True)
    quoting: str = option(
        "auto",
        "Whether quotation marks enclose fields, as in CSV, or are text; auto: text between tabs and blanks.",
        choices=QUOTINGS,
        expert=True,
    )

    @property
    def layout(self) -> Layout:
        """How tables are laid out."""
        return Layout(self.separator, self.header, self.quoting)


def refuse_unused(settings: TableSettings, used: bool) -> None:
    """Raise UsageError for a setting of tables that was given, where no table is read."""
    for field in fields(settings):
        if field.name in _OF_TABLES and getattr(settings, field.name) != field.default and not used:
            flag = field.name if field.default is not True else f"no-{field.name}"
            raise UsageError(f"--{flag} is for a file of rows, and no such file is given: leave it out")


_OF_TABLES = ("separator", "header", "quoting", "columns")
