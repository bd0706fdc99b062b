"""E1 (M/M/10) and E2 (hold) in SimPy: python3 simpy_models.py mm10 1000000 | hold 5000 500000.

Draw by draw as podpace::engine::reference defines them. Callbacks on timeouts, the fastest way SimPy has.
"""
import json
import math
import resource
import sys
import time
from collections import deque

import simpy

MASK = (1 << 64) - 1


class SplitMix64:
    def __init__(self):
        self.state = 42

    def exponential(self, rate):
        self.state = (self.state + 0x9E3779B97F4A7C15) & MASK
        z = self.state
        z = ((z ^ (z >> 30)) * 0xBF58476D1CE4E5B9) & MASK
        z = ((z ^ (z >> 27)) * 0x94D049BB133111EB) & MASK
        z ^= z >> 31
        return -math.log(((z >> 11) + 0.5) / (1 << 53)) / rate


def mm10(customers):
    env, random, waiting = simpy.Environment(), SplitMix64(), deque()
    arrived = busy = 0
    wait = 0.0

    def arrival(_):
        nonlocal arrived, busy
        arrived += 1
        if arrived < customers:
            env.timeout(random.exponential(9.0)).callbacks.append(arrival)
        if busy < 10:
            busy += 1
            env.timeout(random.exponential(1.0)).callbacks.append(departure)
        else:
            waiting.append(env.now)

    def departure(_):
        nonlocal busy, wait
        if waiting:
            wait += env.now - waiting.popleft()
            env.timeout(random.exponential(1.0)).callbacks.append(departure)
        else:
            busy -= 1

    env.timeout(random.exponential(9.0)).callbacks.append(arrival)
    env.run()
    return 2 * arrived, wait / customers


def hold(pending, events):
    env, random = simpy.Environment(), SplitMix64()

    def fire(_):
        env.timeout(random.exponential(1.0)).callbacks.append(fire)

    for _ in range(pending):
        env.timeout(random.exponential(1.0)).callbacks.append(fire)
    for _ in range(events):
        env.step()
    return events, None


def main():
    numbers = [int(n) for n in sys.argv[2:]]
    before = time.process_time()
    events, wait = {"mm10": mm10, "hold": hold}[sys.argv[1]](*numbers)
    print(
        json.dumps(
            {
                "engine": "SimPy",
                "workload": sys.argv[1],
                "events": events,
                "cpu_s": round(time.process_time() - before, 4),
                "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024, 1),
                "mean_wait_s": wait and round(wait, 4),
            }
        )
    )


main()
