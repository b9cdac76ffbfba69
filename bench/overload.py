"""Overload: three times as many clients as the gateway takes, none of whom waits before it asks again.

That is worse than three times the sustainable rate: who is refused comes back at once, Retry-After or not.
"""

from concurrent.futures import ThreadPoolExecutor

from bench import counters
from bench.load import Load, deposit, send, uniform, write_requests
from bench.measures import Bench
from bench.part import Cell, Part
from bench.probe import Latencies, percentile, probe
from bench.scenarios import DRAWN

DATABASE = "overload"
WALLETS = 100
REQUESTS_MAX = 256  # the gateway's limit of requests under way
CONNECTIONS = 3 * REQUESTS_MAX
PROBES_PER_SECOND = 20.0
APPLIED, REFUSED = 200, 503


def measure(bench: Bench) -> Part:
    """Measure the best that the service does, then overload it, and look at both through a probe."""
    stack, seconds = bench.stack, bench.plan.overload_seconds
    service = stack.service(DATABASE, environment={"REQUESTS_MAX": str(REQUESTS_MAX)})
    stack.fill_wallets(DATABASE, WALLETS)
    lines = [deposit(wallet) for wallet in uniform(WALLETS, DRAWN)]
    requests = write_requests(lines, stack.folder)
    processes = {name: pids for name, pids in counters.components(stack, service).items() if name != "postgres"}
    rows: list[list[Cell]] = []
    resident: list[dict[str, float]] = []
    for what, connections, lasts in (
        ("as many clients as it takes", REQUESTS_MAX // 2, bench.plan.seconds),
        ("three times as many as it takes", CONNECTIONS, seconds),
    ):
        load = Load(lines, connections, counts_statuses=True)
        bench.tell(f"{what}: warming up")
        send(load, service.port, bench.plan.warm_seconds or 1.0, stack.folder, use_wrk=bench.plan.use_wrk)
        resident.append({name: counters.resident_mb(pids) for name, pids in processes.items()})
        bench.tell(f"{what}: measuring")
        with ThreadPoolExecutor(1) as beside:
            probing = beside.submit(probe, service.port, requests, PROBES_PER_SECOND, lasts)
            sample = send(load, service.port, lasts, stack.folder, use_wrk=bench.plan.use_wrk)
            seen: Latencies = probing.result()
        applied, refused = sample.requests - sample.refused - sample.failed, sample.refused
        rows.append(
            [
                what,
                applied / sample.seconds,
                refused / sample.seconds,
                *(percentile(seen.get(status, []), percent) for status in (APPLIED, REFUSED) for percent in (50, 99)),
            ]
        )
    resident.append({name: counters.resident_mb(pids) for name, pids in processes.items()})
    stack.discard(service)
    kept = float(rows[1][1] or 0) / float(rows[0][1] or 1)
    before, after = resident[-2:]
    memory = ", ".join(f"{name} {before[name]:.0f} → {after[name]:.0f} MiB" for name in processes)
    return Part(
        "overload",
        "Overload",
        ["load", "applied/s", "refused/s", "applied p50 ms", "applied p99 ms", "refused p50 ms", "refused p99 ms"],
        rows,
        f"{kept:.0%} of the best throughput; memory over {seconds:.0f} s: {memory}",
        [
            f"{WALLETS} wallets, deposits; `REQUESTS_MAX={REQUESTS_MAX}`; {REQUESTS_MAX // 2} and {CONNECTIONS} "
            "connections, each of which asks again as soon as it is answered; latencies are those of a probe of "
            f"{PROBES_PER_SECOND:.0f} requests a second. Resident memory in {seconds:.0f} s of overload: {memory}.",
        ],
    )
