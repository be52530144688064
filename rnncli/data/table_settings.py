"""Settings of the tasks that read tables: the layout of a table."""

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
        f"Separator of fields: {', '.join(SEPARATORS)} or a character; by default, the file's ending decides.",
        suggest=tuple(SEPARATORS),
        expert=True,
    )
    header: bool = option(False, "Whether the first row of a table names its columns.", expert=True)
    quoting: str = option(
        "auto",
        "Quotation marks enclose fields, as in CSV, or are text (none); auto: text with tabs and blanks.",
        choices=QUOTINGS,
        expert=True,
    )

    @property
    def layout(self) -> Layout:
        """The layout of tables."""
        return Layout(self.separator, self.header, self.quoting)


def refuse_unused(settings: TableSettings, used: bool) -> None:
    """Raise UsageError for a table setting where no table is read."""
    for field in fields(settings):
        if field.name in _OF_TABLES and getattr(settings, field.name) != field.default and not used:
            flag = field.name if field.default is not True else f"no-{field.name}"
            raise UsageError(f"--{flag} applies to a table, and no table is given: leave it out")


_OF_TABLES = ("separator", "header", "quoting", "columns")
