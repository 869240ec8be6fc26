"""Tables of files and numbers (`.parquet`), read and written by pyarrow."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .place import file_system


def open_table(path: str) -> Any:
    """The `pyarrow.parquet.ParquetFile` at a path or a URL; whoever asks for it closes it.

    Raises:
        ValueError: pyarrow is not installed, or this is no such file.
    """
    parquet = _parquet(path)
    fs, place = file_system(path)
    try:
        return parquet.ParquetFile(fs.open(place, "rb"), pre_buffer=False)
    except (OSError, ValueError) as error:  # pyarrow's own are of these
        raise ValueError(f"{path} cannot be read as parquet: {error}") from None


def bytes_column(path: str, schema: Any) -> tuple[str, bool]:
    """The first column of files, and whether it holds their names, too.

    Raises:
        ValueError: there is none.
    """
    import pyarrow.types as types

    for field in schema:
        if types.is_struct(field.type) and field.type.get_field_index("bytes") >= 0:
            return field.name, field.type.get_field_index("path") >= 0
        if types.is_binary(field.type) or types.is_large_binary(field.type):
            return field.name, False
    raise ValueError(
        f"{path} has no column of files, as bytes or {{bytes, path}}; its columns are "
        f"{', '.join(schema.names)[:200]}"
    )


class TableWriter:
    """Writes a table row by row; none of them is kept for long.

    Args:
        rows: in a group, which is what is in memory.
    """

    def __init__(self, path: Path, rows: int = 64) -> None:
        self.path, self.rows = path, rows
        self._parquet = _parquet(str(path))
        self._waiting: list[dict[str, Any]] = []
        self._file: Any = None

    def __enter__(self) -> TableWriter:
        return self

    def __exit__(self, *_: object) -> None:
        self._flush()
        if self._file is not None:
            self._file.close()

    def add(self, row: dict[str, Any]) -> None:
        """Numpy arrays of one axis become lists of their type."""
        self._waiting.append(row)
        if len(self._waiting) == self.rows:
            self._flush()

    def _flush(self) -> None:
        import pyarrow as arrow

        if not self._waiting:
            return
        columns = {name: [row[name] for row in self._waiting] for name in self._waiting[0]}
        schema = self._file.schema if self._file else None
        table = arrow.table({name: _column(arrow, values) for name, values in columns.items()})
        if schema is None:
            self._file = self._parquet.ParquetWriter(self.path, table.schema)
        self._file.write_table(table)
        self._waiting = []


def _column(arrow: Any, values: Sequence[Any]) -> Any:
    if hasattr(values[0], "dtype"):
        kind = arrow.list_(arrow.from_numpy_dtype(values[0].dtype))
        return arrow.array(list(values), kind)
    if all(value is None or isinstance(value, str) for value in values):
        return arrow.array(values, arrow.string())
    if isinstance(values[0], float) or values[0] is None:
        return arrow.array(values, arrow.float64())
    return arrow.array(values)


def _parquet(path: str) -> Any:
    try:
        import pyarrow.parquet as parquet
    except ImportError:
        raise ValueError(
            f"{path} takes pyarrow, which is not installed: pip install 'stlatent[parquet]'"
        ) from None
    return parquet
