"""Ray nodes on loopback, as a process of its own: says the address, and kills a node when it is asked to.

Three of them, or as many as the first argument says; with a second one, `client`, what is said is an address of others:
ray://HOST:PORT, which Ray's client takes.
"""

from __future__ import annotations

import os
import socket
import sys
from typing import Any

NODE = "127.0.0.2"  # Ray turns 127.0.0.1 into the machine's own address, and then nobody finds anybody


def arguments() -> dict[str, Any]:
    """Return what a node is started with; for ports that it is not given it waits some seconds only, and then fails."""
    names = ("metrics_agent_port", "metrics_export_port", "dashboard_agent_listen_port", "runtime_env_agent_port")
    probes = {name: socket.socket() for name in names}
    for probe in probes.values():
        probe.bind((NODE, 0))
    ports = {name: probe.getsockname()[1] for name, probe in probes.items()}
    for probe in probes.values():
        probe.close()
    return {"node_ip_address": NODE, "num_cpus": 1, "object_store_memory": 80_000_000, **ports}


def main() -> None:
    """Start the nodes, print where they are, obey lines of standard input until it ends."""
    os.umask(0o077)
    os.environ["RAY_raylet_start_wait_time_s"] = "180"  # noqa: SIM112 - Ray spells it so; a busy machine needs more than 30
    from ray.cluster_utils import Cluster

    with socket.socket() as probe:
        probe.bind((NODE, 0))
        port = probe.getsockname()[1]
    client = {"ray_client_server_port": port} if "client" in sys.argv else {}
    head = {**arguments(), "include_dashboard": False, **client}
    cluster: Any = Cluster(initialize_head=True, head_node_args=head)
    others = [cluster.add_node(**arguments(), wait=False) for _ in range(int((sys.argv[1:] or ["3"])[0]) - 1)]
    print(f"ray://{NODE}:{port}" if client else cluster.address, flush=True)
    for line in sys.stdin:
        if line.strip() == "kill":
            cluster.remove_node(others.pop(), allow_graceful=False)
            print("killed", flush=True)
    cluster.shutdown()


if __name__ == "__main__":
    main()
