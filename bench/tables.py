"""What was measured, as tables. found: {server: list of reports}."""
import statistics

from nodes import NATS, ONE_WORKER, OURS, TWO_WORKERS, UPSTREAM
from shapes import LATENCIES, NATS_GOAL


def values(reports, key):
    return [report[key] for report in reports if report.get(key) is not None]


def median(reports, key):
    found = values(reports, key)
    return statistics.median(found) if found else None


def spread(reports, key):
    """From the lowest to the highest over the median, as text."""
    found, middle = values(reports, key), median(reports, key)
    return "-" if middle is None else f"{(max(found) - min(found)) / middle * 100 if middle else 0:.0f} %"


def number(value, digits=2):
    return "-" if value is None else f"{value:,.{digits}f}"


def ratio(above, below):
    return above / below if above is not None and below else None


def table(rows):
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    for index, row in enumerate(rows):
        print("| " + " | ".join(cell.ljust(width) if column == 0 else cell.rjust(width)
                                for column, (cell, width) in enumerate(zip(row, widths))) + " |")
        if index == 0:
            print("|" + "|".join("-" * (width + 1) + ("-" if column == 0 else ":") for column, width in enumerate(widths)) + "|")


def measured(reports, key, digits=2):
    """Two cells."""
    return number(median(reports, key), digits), spread(reports, key)


def rate_key(shape):
    return "requests_rate" if shape.mode == "request" else "rate"


def shape_rows(results):
    yield ("shape", "CPU ours, us", "spread", "CPU upstream, us", "spread", "upstream / ours", "goal", "rate ours, /s", "rate upstream, /s",
           "p50 ours, us", "p50 upstream, us")
    for shape, found in results:
        ours, theirs = found[OURS], found[UPSTREAM]
        times = ratio(median(theirs, "node_cpu_us"), median(ours, "node_cpu_us"))
        yield (shape.label, *measured(ours, "node_cpu_us"), *measured(theirs, "node_cpu_us"), number(times, 1),
               number(1 / shape.goal, 1) if shape.goal else "", number(median(ours, rate_key(shape)), 0),
               number(median(theirs, rate_key(shape)), 0), number(median(ours, "latency_p50_us"), 0),
               number(median(theirs, "latency_p50_us"), 0))


def nats_rows(results):
    yield "shape", "CPU ours, us", "spread", "CPU NATS, us", "spread", "ours / NATS", "goal", "rate ours, /s", "rate NATS, /s"
    for shape, found in results:
        if found.get(NATS):
            ours, theirs = found[OURS], found[NATS]
            yield (shape.label, *measured(ours, "node_cpu_us"), *measured(theirs, "node_cpu_us"),
                   number(ratio(median(ours, "node_cpu_us"), median(theirs, "node_cpu_us"))), number(NATS_GOAL),
                   number(median(ours, "rate"), 0), number(median(theirs, "rate"), 0))


def latency_rows(results):
    yield "round trip", "ours, us", "spread", "upstream, us", "spread", "ours / upstream", "goal"
    for shape, found in results:
        for key, column, goal in LATENCIES if shape.mode == "request" else []:
            yield (f"{shape.label}, {column}", *measured(found[OURS], key, 1), *measured(found[UPSTREAM], key, 1),
                   number(ratio(median(found[OURS], key), median(found[UPSTREAM], key))), number(goal))


def worker_rows(results):
    yield "shape", "CPU one, us", "spread", "CPU two, us", "spread", "two / one", "goal", "rate one, /s", "rate two, /s"
    for shape, found in results:
        one, two = found[ONE_WORKER], found[TWO_WORKERS]
        yield (shape.label, *measured(one, "node_cpu_us"), *measured(two, "node_cpu_us"),
               number(ratio(median(two, "node_cpu_us"), median(one, "node_cpu_us"))), number(shape.goal), number(median(one, "rate"), 0),
               number(median(two, "rate"), 0))


def footprint_rows(results):
    with_nats = any(found.get(NATS) for _, found in results)
    yield "footprint", "ours", "spread", "upstream", "spread", *(["NATS", "spread"] if with_nats else [])
    for footprint, found in results:
        for column, key, digits in footprint.columns:
            yield (f"{footprint.label}, {column}", *measured(found[OURS], key, digits), *measured(found[UPSTREAM], key, digits),
                   *(measured(found.get(NATS, []), key, digits) if with_nats else []))


def client_rows(results):
    yield "real clients", "ours, /s", "spread", "upstream, /s", "spread", "ours / upstream", "goal"
    for clients, found in results:
        ours, theirs = median(found[OURS], "rate"), median(found[UPSTREAM], "rate")
        counts = clients.goal and theirs is not None and theirs < clients.SLOW
        yield (clients.label, *measured(found[OURS], "rate", 0), *measured(found[UPSTREAM], "rate", 0), number(ratio(ours, theirs), 1),
               number(clients.goal, 0) if counts else "")


def warnings(results):
    """What slimbench warned of, once per shape and server."""
    for shape, found in results:
        for label, reports in found.items():
            for warning in dict.fromkeys(text.split(":")[0] for report in reports for text in report["warnings"]):
                yield f"{shape.label}, {label}: {warning}"


def bars(results):
    """Rows of the chart: how many times our CPU the others take."""
    for shape, found in results:
        ours = median(found[OURS], "node_cpu_us")
        for label in (UPSTREAM, NATS):
            theirs = median(found.get(label, []), "node_cpu_us")
            if ours and theirs:
                yield (f"{shape.label} (NATS)" if label == NATS else shape.label, theirs / ours, f"{ours:.2f} us / {theirs:.2f} us")
