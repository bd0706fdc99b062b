"""First fit: pods in order of arrival, nodes in order of creation, the first that fits. The twin of `kind: first-fit`."""
import json, sys
from collections import Counter

free, specs, pods, bad = {}, {}, {}, {}  # bad: (spec, node) -> why pods of the spec may not run there
queue, stuck, placed, cycle, changed = [], [], {}, None, False

def refusal(pod, node):  # why a pod does not go to a node, if so
    lacks = (r for r, amount in specs[pods[pod]].items() if amount > free[node].get(r, 0))
    why = ("Too many pods" if r == "pods" else f"Insufficient {r}" for r in lacks)
    return bad.get((pods[pod], node)) or next(why, None)

def take(pod, node, sign=1):
    room, placed[pod] = free.get(node, {}), node if sign > 0 else None
    for resource, amount in specs[pods[pod]].items():
        room[resource] = room.get(resource, 0) - sign * amount

print(json.dumps({"protocol": json.loads(input())["protocol"]}), flush=True)
for line in sys.stdin:
    act, answer = [], {}
    for event in json.loads(line)["events"]:
        kind, this, pod = event["event"], event.get("id"), event.get("pod")
        if kind == "node":
            free[this] = dict(event["allocatable"])
            for p in [p for p, node in placed.items() if node == this]:
                take(p, this)
            bad.update({(spec, this): why for why, ids in event["rejects"].items() for spec in ids})
        elif kind == "node_deleted":
            free.pop(this)
        elif kind == "spec":
            specs[this] = event["requests"]
            bad.update({(this, node): why for why, ids in event["rejected_by"].items() for node in ids})
        elif kind == "pod":
            pods[this] = event["spec"]
            queue.append(this)
        elif kind == "pod_bound" and placed.get(pod) is None:  # somebody else's doing
            pods[pod] = event["spec"]
            take(pod, event["node"])
        elif kind == "cpu_done":
            (pod, node), cycle = cycle, None
            if node is None:
                (queue if changed else stuck).append(pod)
            else:
                take(pod, node)
                act += [{"do": "assume", "pod": pod}, {"do": "bind", "pod": pod, "node": node}]
        elif kind == "pod_gone" and placed.get(pod) is not None or kind == "bind_done" and not event["ok"]:
            take(pod, placed[pod], -1)
            queue += [pod] if kind == "bind_done" else []
        elif kind == "report":
            answer["pending"] = Counter(next(filter(None, (refusal(p, n) for n in free)), "no node") for p in stuck)
        if kind in ("node", "node_deleted", "pod_gone"):
            queue, stuck, changed = queue + stuck, [], True
        if cycle is None and queue:
            pod, nodes = queue.pop(0), [*sorted(free), None]
            at = next(i for i, node in enumerate(nodes) if node is None or not refusal(pod, node))
            cycle, changed, ops = (pod, nodes[at]), False, {"cycle": 1, "node_visited": min(at + 1, len(free))}
            act += [{"do": "cycle", "pod": pod}, {"do": "work", "ops": ops, "tag": 0}]
    print(json.dumps({"actions": act, "backlog": len(queue), **answer}), flush=True)
