"""Upstream's node, as it is inside the wheel, started from a YAML file: `upstream_node.py --config FILE`; SIGTERM ends it."""
import signal
import sys

import slim_bindings


def main():
    if len(sys.argv) != 3 or sys.argv[1] != "--config":
        sys.exit("usage: upstream_node.py --config FILE")
    # Blocked before the library makes its threads, so that none of them takes the signal.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM, signal.SIGINT})
    slim_bindings.initialize_from_config_with_error(sys.argv[2])
    signal.sigwait({signal.SIGTERM, signal.SIGINT})
    slim_bindings.shutdown_blocking()


main()
