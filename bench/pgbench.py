"""The second baseline: raw pgbench, no HTTP and no Python, one wallet, the textbook transaction."""

import re

from bench.load import run_to_end, wallet_id
from bench.stack import Stack
from devstack.binaries import find_postgres
from devstack.errors import StackError
from devstack.process import ChildProcess

CLIENTS = 8


def run(stack: Stack, seconds: float, clients: int = CLIENTS) -> float:
    """Return the transactions per second of `clients` clients on wallet 1 of the direct baseline's database."""
    stack.fill_wallets("direct", 1)
    script = stack.folder / "pgbench.sql"
    script.write_text(stack.query("pgbench"), encoding="utf-8")
    command = [str(find_postgres().path.with_name("pgbench")), "-n", "-M", "prepared", "-f", str(script)]
    command += ["-c", str(clients), "-j", "1", "-T", str(max(1, round(seconds))), "-D", f"wallet={wallet_id(1)}"]
    command += ["-h", stack.postgres.host, "-p", str(stack.postgres.port), "-U", stack.postgres.user, "direct"]
    process = ChildProcess("pgbench", command, stack.folder / "load" / "pgbench.log")
    run_to_end(process, seconds)
    told = re.search(r"^tps = ([\d.]+)", "\n".join(process.log_tail(20)), re.MULTILINE)
    if process.exit_code or not told:
        raise StackError("pgbench failed", process.log_tail())
    return float(told[1])
