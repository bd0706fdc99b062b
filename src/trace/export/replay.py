#!/usr/bin/env python3
"""Replays an exported trace on a cluster: creates, changes and deletes objects when schedule.csv says so.

    python3 replay.py                                 kubectl's current cluster, through `kubectl proxy`
    python3 replay.py --speed 10                      ten times as fast; KWOK's pods run a tenth of their time, too
    python3 replay.py --server http://127.0.0.1:8001  an API server or proxy that asks for no credentials

Needs Python 3.8 and kubectl. At the end it says how late requests were sent: if that grows, the client or the API server
does not keep up with the trace.
"""

import argparse
import concurrent.futures
import csv
import http.client
import json
import pathlib
import re
import subprocess
import sys
import threading
import time
import urllib.parse

HERE = pathlib.Path(__file__).resolve().parent
RUN = re.compile(rb"^( *podpace\.dev/run: )([0-9a-z.]+)$", re.M)
NANOSECONDS = {"h": 3600e9, "m": 60e9, "s": 1e9, "ms": 1e6, "us": 1e3, "ns": 1}
local = threading.local()


def proxy(kubectl):
    process = subprocess.Popen([kubectl, "proxy", "--port=0"], stdout=subprocess.PIPE, text=True)
    line = process.stdout.readline()
    port = re.search(r":(\d+)\s*$", line)
    if not port:
        sys.exit(f"{kubectl} proxy did not start: {line.strip()}")
    return process, f"http://127.0.0.1:{port.group(1)}"


def request(server, method, path, body=None, kind="application/yaml"):
    """One request over this thread's connection; (status, text)."""
    for attempt in range(2):
        if not hasattr(local, "connection"):
            at = urllib.parse.urlsplit(server)
            secure = at.scheme == "https"
            connect = http.client.HTTPSConnection if secure else http.client.HTTPConnection
            local.connection = connect(at.hostname, at.port, timeout=60)
        try:
            local.connection.request(method, path, body, {"Content-Type": kind, "Accept": "application/json"})
            response = local.connection.getresponse()
            return response.status, response.read().decode(errors="replace")
        except (OSError, http.client.HTTPException) as error:
            local.connection.close()
            del local.connection
            if attempt:
                return 0, str(error)


def faster(document, speed):
    """The document of a pod that runs so much shorter, as stages.yaml has it run."""
    def scaled(found):
        parts = re.findall(r"([0-9.]+)([a-z]+)", found.group(2).decode())
        run = sum(float(number) * NANOSECONDS[unit] for number, unit in parts)
        return found.group(1) + b"%dns" % round(run / speed)
    return document if speed == 1 else RUN.sub(scaled, document, count=1)


def await_account(server, namespace, seconds=10):
    """A new namespace takes pods once the controller manager has given it its ServiceAccount."""
    until = time.monotonic() + seconds
    path = f"/api/v1/namespaces/{namespace}/serviceaccounts/default"
    while request(server, "GET", path)[0] != 200 and time.monotonic() < until:
        time.sleep(0.05)


def create(server, kind, namespace, document):
    path = {
        "Namespace": "/api/v1/namespaces",
        "PriorityClass": "/apis/scheduling.k8s.io/v1/priorityclasses",
        "Node": "/api/v1/nodes",
        "Pod": f"/api/v1/namespaces/{namespace}/pods",
    }[kind]
    return request(server, "POST", path, document)


def perform(server, row, document):
    """Sends a row's requests; what went wrong, or None."""
    action, kind, namespace, name = row["action"], row["kind"], row["namespace"], row["name"]
    node = f"/api/v1/nodes/{name}"
    if action == "create":
        answers = [create(server, kind, namespace, document)]
    elif action == "update":
        # The document of an update is JSON. A node's status is changed by itself.
        new = json.loads(document)
        def patch(**fields):
            return json.dumps([{"op": "add", "path": "/" + k.replace("_", "/"), "value": v} for k, v in fields.items()])
        kind_of_patch = "application/json-patch+json"
        labels, taints = new["metadata"].get("labels", {}), new.get("spec", {}).get("taints", [])
        amounts = {"status_capacity": new["status"]["capacity"], "status_allocatable": new["status"]["allocatable"]}
        answers = [
            request(server, "PATCH", node, patch(metadata_labels=labels, spec_taints=taints), kind_of_patch),
            request(server, "PATCH", node + "/status", patch(**amounts), kind_of_patch),
        ]
    else:
        path = node if kind == "Node" else f"/api/v1/namespaces/{namespace}/pods/{name}"
        answers = [request(server, "DELETE", path)]
    for status, text in answers:
        gone = action == "delete" and status == 404
        there = action == "create" and status == 409
        if not (200 <= status < 300 or gone or there):
            return f"{action} {kind} {namespace}/{name}: {status} {text[:300]}"
    return None


def main():
    options = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    options.add_argument("--speed", type=float, default=1.0, help="trace seconds a second (1)")
    options.add_argument("--server", help="address of an API server or proxy; else `kubectl proxy` is started")
    options.add_argument("--kubectl", default="kubectl")
    options.add_argument("--threads", type=int, default=16, help="requests under way at once (16)")
    options.add_argument("--no-nodes", action="store_true", help="the cluster has nodes of its own")
    options = options.parse_args()

    process, server = (None, options.server) if options.server else proxy(options.kubectl)
    failures, late, sent = [], 0.0, 0
    try:
        for document in (HERE / "setup.yaml").read_text().split("---\n")[1:]:
            kind = re.search(r"^kind: (\w+)$", document, re.M).group(1)
            status, text = create(server, kind, "", document.encode())
            if not (200 <= status < 300 or status == 409):
                sys.exit(f"{kind}: {status} {text[:300]}")
            if kind == "Namespace" and status != 409:
                await_account(server, json.loads(text)["metadata"]["name"])
        files = {kind: open(HERE / name, "rb") for kind, name in (("Node", "nodes.yaml"), ("Pod", "pods.yaml"))}
        with concurrent.futures.ThreadPoolExecutor(options.threads) as pool, open(HERE / "schedule.csv") as schedule:
            began, under_way, last = None, set(), {}
            for row in csv.DictReader(schedule):
                if options.no_nodes and row["kind"] == "Node":
                    continue
                document = None
                if row["action"] != "delete":
                    files[row["kind"]].seek(int(row["offset"]))
                    document = files[row["kind"]].read(int(row["bytes"]))
                    if row["kind"] == "Pod":
                        document = faster(document, options.speed)
                if began is None:
                    # The clock starts when the nodes that are there from the beginning are.
                    if row["kind"] == "Node" and row["at_ns"] == "0":
                        under_way.add(pool.submit(perform, server, row, document))
                        sent += 1
                        continue
                    failures += [f.result() for f in under_way if f.result()]
                    began, under_way = time.monotonic(), set()
                due = began + int(row["at_ns"]) / 1e9 / options.speed
                while (wait := due - time.monotonic()) > 0:
                    time.sleep(wait)
                # Requests about one object keep their order; so do a node and the pods that begin on it.
                key = (row["kind"], row["namespace"], row["name"])
                for earlier in [last.pop(key, None)] if row["kind"] == "Pod" else list(under_way):
                    if earlier:
                        earlier.result()
                if len(under_way) >= 4 * options.threads:
                    done, under_way = concurrent.futures.wait(
                        under_way, return_when=concurrent.futures.FIRST_COMPLETED
                    )
                    failures += [f.result() for f in done if f.result()]
                    last = {k: f for k, f in last.items() if not f.done()}
                late = max(late, time.monotonic() - due)
                future = pool.submit(perform, server, row, document)
                under_way.add(future)
                last[key] = future
                if row["kind"] == "Node":
                    future.result()
                sent += 1
            failures += [f.result() for f in under_way if f.result()]
    finally:
        if process:
            process.terminate()
    for failure in failures[:20]:
        print(failure, file=sys.stderr)
    print(f"{sent} actions sent, {len(failures)} failed, at most {late:.3f} s late")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
