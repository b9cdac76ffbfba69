"""The rules of the house, read from the source: who may know whom, what stands where, how long a thing may be."""

import ast
import re
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[2]
# A package that is not there yet has no files, and keeps every rule.
SERVICE = ("gateway", "worker", "shared", "inspector", "sql")
OTHERS = ("devstack", "bench")
LINES_MAX = 350
FUNCTION_LINES_MAX = 60
# Commands, outcomes, money, keys and the rules of the books: no I/O, no framework, nothing to wait for.
PURE = (
    "shared/commands.py",
    "shared/ids.py",
    "shared/money.py",
    "shared/keys.py",
    "shared/messages.py",
    "shared/codec.py",
    "worker/ledger.py",
    "worker/partitions.py",
    "worker/batch.py",
)
# What may be imported from outside the standard library beside the other pure modules.
PURE_EXTRAS = {
    "shared/codec.py": {"msgspec"},
    "shared/commands.py": {"msgspec"},
    "shared/ids.py": {"asyncpg.pgproto", "uuid_utils"},
    "shared/messages.py": {"msgspec"},
}


def files_of(*packages: str) -> list[Path]:
    return [path for package in packages for path in sorted((ROOT / package).rglob("*.py"))]


def name_of(path: Path) -> str:
    return path.relative_to(ROOT).as_posix()


def tree_of(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def imports_of(path: Path) -> set[str]:
    """Return every module that a file imports, anywhere in it; relative ones as they are meant."""
    modules: set[str] = set()
    package = ".".join(path.relative_to(ROOT).parent.parts)
    for node in ast.walk(tree_of(path)):
        if isinstance(node, ast.Import):
            modules |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            module = f"{package}.{node.module or ''}" if node.level else node.module or ""
            # `from shared import keys` imports shared.keys.
            modules |= {module, *(f"{module}.{alias.name}" for alias in node.names)}
    return modules


def who_imports(module: str, *packages: str) -> set[str]:
    """Return the files that import a module or something below it."""
    return {
        name_of(path)
        for path in files_of(*packages)
        if any(name == module or name.startswith(f"{module}.") for name in imports_of(path))
    }


def literals_of(path: Path) -> Iterator[str]:
    """Yield every text of a file that is not a docstring; the parts of an f-string one by one."""
    tree = tree_of(path)
    bodies = [node.body for node in ast.walk(tree) if hasattr(node, "body") and isinstance(node.body, list)]
    docs = {id(body[0].value) for body in bodies if body and isinstance(body[0], ast.Expr)}
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and id(node) not in docs:
            yield node.value


def test_house__is_found_where_this_test_looks() -> None:
    assert len(files_of("gateway")) > 5
    assert len(files_of("worker")) > 4
    assert len(files_of("shared")) > 8
    assert all((ROOT / name).exists() for name in PURE)


# Who may know whom.


def test_gateway_and_worker__do_not_know_each_other() -> None:
    assert who_imports("worker", "gateway") == set()
    assert who_imports("gateway", "worker") == set()


def test_shared__knows_neither() -> None:
    for package in ("gateway", "worker", "inspector", "bench"):
        assert who_imports(package, "shared", "sql") == set()


@pytest.mark.parametrize("stranger", ["devstack", "tests", "bench"])
def test_service__knows_neither_the_dev_stack_nor_its_tests(stranger: str) -> None:
    assert who_imports(stranger, *SERVICE) == set()


def test_redis__is_imported_in_one_place() -> None:
    # arq brings its own connection to the housekeeping, and to that only.
    assert who_imports("redis", *SERVICE) == {"shared/node.py", "shared/nodes.py"}
    assert who_imports("arq", *SERVICE) <= {"worker/maintenance.py"}


def test_postgres__is_imported_in_one_place() -> None:
    # Its id type, which is no I/O, in one more.
    assert who_imports("asyncpg", *SERVICE) == {"shared/database.py", "shared/ids.py"}


def test_http__is_known_to_the_edge_only() -> None:
    assert {name.split("/")[0] for name in who_imports("aiohttp", *SERVICE)} == {"gateway"}


def test_environment__is_read_in_the_settings_only() -> None:
    readers = set()
    for path in files_of(*SERVICE):
        text = path.read_text(encoding="utf-8")
        if re.search(r"\bos\.environ|\bgetenv\b|\benviron\b", text) or "pydantic_settings" in imports_of(path):
            readers.add(name_of(path))
    assert readers == {"shared/settings.py"}


# The core is pure.


@pytest.mark.parametrize("name", PURE)
def test_pure_module__waits_for_nothing(name: str) -> None:
    waiting = [node for node in ast.walk(tree_of(ROOT / name)) if isinstance(node, ast.AsyncFunctionDef | ast.Await)]

    assert waiting == []


@pytest.mark.parametrize("name", PURE)
def test_pure_module__imports_the_standard_library_and_its_like_only(name: str) -> None:
    pure = {path.removesuffix(".py").replace("/", ".") for path in PURE}
    allowed = pure | PURE_EXTRAS.get(name, set())

    for module in imports_of(ROOT / name):
        top = module.split(".")[0]
        is_standard = top in sys.stdlib_module_names and top not in {"asyncio", "socket", "subprocess", "threading"}
        is_like = module in allowed or any(module.startswith(f"{other}.") for other in allowed)
        is_package_of_like = any(other.startswith(f"{module}.") for other in pure)
        assert is_standard or is_like or is_package_of_like, f"{name} imports {module}"


# One place for each thing.


def test_sql__stands_in_the_sql_folder_only() -> None:
    statement = re.compile(
        r"^\s*(?:WITH\s+\w+\s+AS|SELECT\s+.*\s+FROM|SELECT\s+\w+\s*\(|INSERT\s+INTO|UPDATE\s+\w+\s+SET|DELETE\s+FROM"
        r"|CREATE\s+(?:TABLE|INDEX|UNIQUE)|ALTER\s+TABLE|DROP\s+|TRUNCATE|LISTEN\s|NOTIFY\s|BEGIN$|COMMIT$|SET\s+\w+\s*=)",
        re.IGNORECASE | re.DOTALL,
    )
    for path in files_of("gateway", "worker", "shared", "inspector"):
        assert [text for text in literals_of(path) if statement.match(text)] == [], name_of(path)


def test_every_query__is_used_and_every_name_has_a_query() -> None:
    named = set()
    for path in files_of(*SERVICE):
        named |= set(re.findall(r"""\bquery\("(\w+)"\)""", path.read_text(encoding="utf-8")))

    assert named == {path.stem for path in (ROOT / "sql" / "queries").glob("*.sql")}


def test_redis_keys__are_spelled_in_one_place() -> None:
    spelled = re.compile(r"\{p\d|\{p$|\{\{p|\}:|^:(?:wallet|ready|meta|dead|replies)\b|\{gw-")
    for path in files_of(*SERVICE):
        if name_of(path) != "shared/keys.py":
            assert [text for text in literals_of(path) if spelled.search(text)] == [], name_of(path)


def test_stores__are_never_mocked() -> None:
    own = Path(__file__)
    for path in files_of("tests"):
        modules = imports_of(path)
        assert not {m for m in modules if m.split(".")[0] in {"mock", "fakeredis", "pytest_mock"}}, name_of(path)
        assert not {m for m in modules if m.startswith("unittest")}, name_of(path)
        assert path == own or "fakeredis" not in path.read_text(encoding="utf-8"), name_of(path)


# How things look.


@pytest.mark.parametrize("word", ["utils", "helpers", "common", "manager", "base", "misc", "util", "helper"])
def test_no_module__is_named_after_nothing(word: str) -> None:
    for path in files_of(*SERVICE, *OTHERS, "tests"):
        assert word not in path.stem.split("_"), name_of(path)


def test_no_file__is_longer_than_a_newcomer_reads() -> None:
    lengths = {
        name_of(path): len(path.read_text(encoding="utf-8").splitlines()) for path in files_of(*SERVICE, *OTHERS)
    }

    assert {name: lines for name, lines in lengths.items() if lines > LINES_MAX} == {}


def test_no_function__is_longer_than_a_screen() -> None:
    long = {}
    for path in files_of(*SERVICE, *OTHERS):
        for node in ast.walk(tree_of(path)):
            if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
                lines = (node.end_lineno or 0) - node.lineno + 1
                if lines > FUNCTION_LINES_MAX:
                    long[f"{name_of(path)}:{node.name}"] = lines
    assert long == {}


def test_every_module__says_what_it_is_for() -> None:
    silent = [name_of(p) for p in files_of(*SERVICE, *OTHERS) if not ast.get_docstring(tree_of(p))]

    assert silent == []


def test_nothing__is_left_to_be_done() -> None:
    sources = [*files_of(*SERVICE, *OTHERS, "tests"), *ROOT.glob("sql/**/*.sql"), *ROOT.glob("shared/*.lua")]
    left = re.compile(r"\b(?:TO" + "DO|FIX" + "ME|XX" + r"X)\b")

    assert [name_of(path) for path in sources if left.search(path.read_text(encoding="utf-8"))] == []


def test_every_function_in_redis__has_a_header() -> None:
    text = (ROOT / "shared" / "wallet_streams.lua").read_text(encoding="utf-8")
    registered = re.findall(r"(?:register_function\('|function_name = ')(\w+)'", text)

    assert registered
    for name in set(registered) - {"wallet_version"}:
        assert re.search(rf"^-- {name}: .*\n(?:-- .*\n)*-- KEYS  .*\n-- ARGV  ", text, re.MULTILINE), name
