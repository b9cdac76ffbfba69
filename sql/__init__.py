"""Every SQL statement of the service, one file each.

`migrations/NNNN_name.sql` make the schema; `queries/<name>.sql` are the statements the service runs, read once by
name. Guarantees that SQL stands nowhere else; knows nothing of connections.
"""

from functools import cache
from pathlib import Path

MIGRATIONS = Path(__file__).parent / "migrations"
QUERIES = Path(__file__).parent / "queries"


@cache
def query(name: str) -> str:
    """Return the text of `queries/<name>.sql`; raises FileNotFoundError for a name that does not exist."""
    return (QUERIES / f"{name}.sql").read_text(encoding="utf-8")
