"""No file imports itself indirectly; imports in functions count, imports for type checkers do not."""

from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter

import grimp


def circle_of(imports: Mapping[str, Iterable[str]]) -> list[str]:
    """The files of one circle, each imported by the previous one; empty without a circle."""
    try:
        TopologicalSorter(imports).prepare()
    except CycleError as error:
        return list(reversed(error.args[1]))
    return []


def test_no_file_imports_itself_indirectly() -> None:
    graph = grimp.build_graph("rnncli", exclude_type_checking_imports=True, cache_dir=None)
    imports = {module: graph.find_modules_directly_imported_by(module) for module in graph.modules}
    assert len(imports) > 150
    assert "rnncli.kernels.engine.scan" in imports["rnncli.kernels.fused"]  # inside a function
    assert circle_of(imports) == []


def test_import_circle_is_found_and_listed_in_order() -> None:
    assert circle_of({"a": ["b", "x"], "b": ["c"], "c": ["a"], "x": []}) in (
        ["a", "b", "c", "a"],
        ["b", "c", "a", "b"],
        ["c", "a", "b", "c"],
    )
    assert circle_of({"a": ["a"]}) == ["a", "a"]
    assert circle_of({"a": ["b"], "b": []}) == []
