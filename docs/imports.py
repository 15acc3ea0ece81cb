"""Draws docs/images/imports.svg: which room of the package imports which, from the code itself.

`python docs/imports.py` reads the imports with grimp, import-linter's engine, and the layers from
pyproject.toml; with `--check` it changes nothing and exits 1 where the picture is stale. `--count
ROOT` prints figures instead, of the package `receiver` in any checkout. Rooms stand in the order of their
layers, so that a dot below the diagonal is an import upwards. Modules without a room, which all may import, are the leaves.
"""

import sys
import tomllib
from collections import Counter
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path

import grimp

ROOT = Path(__file__).parent.parent
PICTURE = ROOT / "docs" / "images" / "imports.svg"
PACKAGE = "receiver"
LEAVES = "leaves"
WIRING = ("service", "__main__")
"""Modules that stand above rooms and import them."""
LEFT, CELL = 96, 30


def room_of(module: str, rooms: Iterable[str]) -> str:
    """Name the room of a module: its folder, or the leaves for a module that has none."""
    first = module.split(".")[1] if "." in module else module
    return first if first in {*rooms, *WIRING} else LEAVES


def edges(graph: grimp.ImportGraph, rooms: Sequence[str]) -> Counter[tuple[str, str]]:
    """Count the imports from room to room."""
    found: Counter[tuple[str, str]] = Counter()
    for module in graph.modules:
        for imported in graph.find_modules_directly_imported_by(module):
            pair = room_of(module, rooms), room_of(imported, rooms)
            if pair[0] != pair[1]:
                found[pair] += 1
    return found


def layers() -> list[list[str]]:
    """Read the rooms from top to bottom; what is no folder is a leaf."""
    document = tomllib.loads((ROOT / "pyproject.toml").read_text())
    contract = document["tool"]["importlinter"]["contracts"][0]
    rows = [layer.split(" | ") for layer in contract["layers"]]
    rooms = [[name for name in row if (ROOT / PACKAGE / name).is_dir()] for row in rows]
    return [row for row in rooms if row]


def folders(root: Path) -> list[str]:
    """List the folders of a package that hold modules."""
    return sorted(path.parent.name for path in (root / PACKAGE).glob("*/__init__.py"))


def draw() -> str:
    """Draw the picture: a dot where the row's room imports the column's."""
    rows = layers()
    rows.insert(1, ["service"])
    names = [*(name for row in rows for name in row), "sandbox", LEAVES]
    pairs = {pair for pair in edges(grimp.build_graph(PACKAGE, cache_dir=None), names) if {*pair} <= {*names}}  # fmt: skip
    side = LEFT + len(names) * CELL
    return "\n".join([*_head(side), *_grid(names), *_dots(names, pairs), "</svg>\n"])


def _head(side: int) -> Iterator[str]:
    yield f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {side + 20} {side + 20}" font-family="sans-serif" font-size="14">'
    yield "<title>Which room of the package imports which: the row's room imports the column's; nothing stands below the diagonal</title>"
    yield f'<rect width="{side + 20}" height="{side + 20}" fill="#fff"/>'


def _grid(names: Sequence[str]) -> Iterator[str]:
    for number, name in enumerate(names):
        place = LEFT + number * CELL
        middle = place + CELL // 2
        yield f'<rect x="{LEFT}" y="{place}" width="{len(names) * CELL}" height="{CELL}" fill="{"#f3f5f7" if number % 2 else "#fff"}"/>'
        yield f'<rect x="{place}" y="{place}" width="{CELL}" height="{CELL}" fill="#c9d1d9"/>'
        yield f'<text x="{LEFT - 8}" y="{middle + 5}" text-anchor="end" fill="#222">{name}</text>'
        yield f'<text transform="translate({middle + 5} {LEFT - 8}) rotate(-90)" fill="#222">{name}</text>'


def _dots(names: Sequence[str], pairs: Iterable[tuple[str, str]]) -> Iterator[str]:
    for source, target in sorted(pairs):
        row, column = names.index(source), names.index(target)
        x, y = (LEFT + place * CELL + CELL // 2 for place in (column, row))
        yield f'<circle cx="{x}" cy="{y}" r="6" fill="{"#2f6f9f" if column > row else "#c0392b"}"/>'


def count(root: Path) -> Iterator[str]:
    """Say how a checkout hangs together: modules a folder, imports between folders, cycles."""
    sys.path.insert(0, str(root))
    graph = grimp.build_graph(PACKAGE, cache_dir=None)
    rooms = folders(root)
    sizes = Counter(room_of(module, rooms) for module in graph.modules)
    pairs = edges(graph, rooms)
    both_ways = {tuple(sorted(pair)) for pair in pairs if pair[::-1] in pairs}
    yield f"{len(graph.modules)} modules, {graph.count_imports()} imports"
    yield "modules a folder: " + ", ".join(f"{name} {n}" for name, n in sizes.most_common())
    yield f"pairs of folders that import: {len(pairs)}, with {sum(pairs.values())} imports"
    yield f"pairs of folders that import each other: {len(both_ways)} {sorted(both_ways)}"


def main(arguments: list[str]) -> int:
    """Draw, compare or count."""
    if "--count" in arguments:
        print(*count(Path(arguments[-1])), sep="\n")  # noqa: T201 - a command's output
        return 0
    picture = draw()
    is_stale = not PICTURE.exists() or PICTURE.read_text() != picture
    if is_stale and "--check" in arguments:
        print("docs/images/imports.svg is stale: run `make docs`")  # noqa: T201 - the same
        return 1
    if is_stale:
        PICTURE.write_text(picture)
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
