#!/usr/bin/env python3
"""Prints the figures that benches and simulations wrote (<folder>/*.json) as one table.

Each file is a list of {"figure", "value", "unit", "bar", "holds", "machine", "commit"}. A bar that does not hold is shown
as such. Exits 1 if there are no figures, or a file is not what it should be.
"""

import json
import sys
from pathlib import Path

COLUMNS = ("suite", "figure", "value", "unit", "bar", "holds", "machine", "commit")


def shown(value):
    if value is None:
        return ""
    if isinstance(value, bool):
        return "yes" if value else "NO"
    if isinstance(value, float):
        return f"{value:.4g}" if abs(value) < 1000 else f"{value:,.0f}"
    return str(value)


def main(folder):
    rows = []
    for file in sorted(folder.glob("*.json")):
        try:
            for figure in json.loads(file.read_text()):
                rows.append([file.stem] + [shown(figure.get(column)) for column in COLUMNS[1:]])
        except (ValueError, AttributeError, TypeError) as error:
            print(f"{file} is not a list of figures: {error}", file=sys.stderr)
            return 1
    if not rows:
        print(f"no figures in {folder}: run `infra/just bench` first", file=sys.stderr)
        return 1
    widths = [max(map(len, column)) for column in zip(COLUMNS, *rows)]
    for row in [COLUMNS, ["-" * width for width in widths], *rows]:
        print("| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths)) + " |")
    return 0


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit(f"usage: {sys.argv[0]} FOLDER")
    sys.exit(main(Path(sys.argv[1])))
