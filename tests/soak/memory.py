#!/usr/bin/env python3
"""Lets a long stream pass through `sluicebox run` and draws the memory of the process.

    tests/soak/memory.py [--events 50000000] [--rate 100000] [--out docs/images/memory.svg] [--sluicebox target/release/sluicebox]

The log is that of `sluicebox bench`: half decisions with 64 context features, half feedback, sessions that begin and end all
the time. It lies in the embedded broker, which forgets what has been read. Prints one JSON object: resident memory in MiB
after a tenth of the events, at the end, and the most; exit code 1 when the last tenth lies more than 5 % above the second."""

import argparse
import json
import pathlib
import random
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
PARTITIONS, ITEMS, DIMENSION, CONTEXT = 64, 1000, 32, 64
WIDTH, HEIGHT, LEFT, BOTTOM = 720, 300, 60, 40


def resident_mib(pid):
    for line in pathlib.Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith("VmRSS:"):
            return int(line.split()[1]) / 1024
    return 0.0


def records(address):
    try:
        with urllib.request.urlopen(f"http://{address}/status", timeout=5) as answer:
            return sum(partition["next_offset"] for partition in json.load(answer)["partitions"])
    except OSError:
        return 0


def chart(samples, path):
    """Resident memory over events, both from zero."""
    most_events = max(events for events, _ in samples)
    most_mib = 1.2 * max(mib for _, mib in samples)
    x = lambda events: LEFT + (WIDTH - LEFT - 20) * events / most_events
    y = lambda mib: HEIGHT - BOTTOM - (HEIGHT - BOTTOM - 20) * mib / most_mib
    points = " ".join(f"{x(events):.1f},{y(mib):.1f}" for events, mib in samples)
    parts = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {WIDTH} {HEIGHT}" font-family="sans-serif" font-size="12">',
        f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>',
        f'<polyline points="{points}" fill="none" stroke="#1f77b4" stroke-width="2"/>',
        f'<path d="M{LEFT} 20V{HEIGHT - BOTTOM}H{WIDTH - 20}" fill="none" stroke="black"/>',
        f'<text x="{WIDTH / 2}" y="{HEIGHT - 8}" text-anchor="middle">events, million</text>',
        f'<text x="{LEFT}" y="14">resident memory, MiB</text>',
    ]
    for fifth in range(6):
        events, mib = most_events * fifth / 5, most_mib * fifth / 5
        parts.append(f'<text x="{x(events):.1f}" y="{HEIGHT - BOTTOM + 16}" text-anchor="middle">{events / 1e6:.3g}</text>')
        parts.append(f'<text x="{LEFT - 6}" y="{y(mib) + 4:.1f}" text-anchor="end">{mib:.0f}</text>')
    path.write_text("\n".join(parts) + "\n</svg>\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--events", type=int, default=50_000_000)
    parser.add_argument("--rate", type=int, default=100_000)
    parser.add_argument("--out", type=pathlib.Path, default=ROOT / "docs/images/memory.svg")
    parser.add_argument("--sluicebox", default=str(ROOT / "target/release/sluicebox"))
    arguments = parser.parse_args()
    directory = pathlib.Path(tempfile.mkdtemp(prefix="sluicebox-memory-"))
    dice = random.Random(1)
    catalog = directory / "catalog.jsonl"
    with catalog.open("w") as file:
        for item in range(ITEMS):
            numbers = [round(dice.uniform(-1, 1), 5) for _ in range(DIMENSION)]
            file.write(json.dumps({"item": f"item-{item}", "embedding": numbers}) + "\n")
    broker = subprocess.Popen(
        [arguments.sluicebox, "demo-broker", "--topic", "bench", "--partitions", str(PARTITIONS)],
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True,
    )
    address = broker.stdout.readline().strip()
    settings = {
        "kafka.brokers": address, "kafka.topics": "bench", "mapping.context_dimension": CONTEXT,
        "catalog.file": catalog, "learner.hidden": "[256, 256]", "time.lateness": "2s", "session.gap": "20s",
        "checkpoint.every": "10s", "http.listen": "127.0.0.1:8097",
    }
    run = [arguments.sluicebox, "run", "--state", str(directory / "state"), "--log", "warn"]
    run += [word for name, value in settings.items() for word in ("--set", f"{name}={value}")]
    learner = subprocess.Popen(run)
    writer = subprocess.Popen(
        [arguments.sluicebox, "bench-stage", "write", "--directory", str(directory), "--brokers", address,
         "--topic", "bench", "--events", str(arguments.events), "--rate", str(arguments.rate), "--log", "error"],
        stdout=subprocess.DEVNULL,
    )
    samples = []
    try:
        while True:
            read = records("127.0.0.1:8097")
            samples.append((read, resident_mib(learner.pid)))
            if learner.poll() is not None:
                sys.exit(f"the learner ended with {learner.returncode}")
            if writer.poll() not in (None, 0):
                sys.exit(f"the writer ended with {writer.returncode}")
            if read >= arguments.events:
                break
            time.sleep(1)
    finally:
        learner.terminate()
        learner.wait()
        broker.kill()
        writer.kill()
    chart(samples, arguments.out)
    tenth = lambda number: [mib for events, mib in samples if number <= 10 * events / arguments.events <= number + 1]
    second, last = tenth(1), tenth(9)
    result = {
        "events": arguments.events,
        "mib_second_tenth": max(second), "mib_last_tenth": max(last), "mib_most": max(mib for _, mib in samples),
        "flat": max(last) <= 1.05 * max(second),
    }
    print(json.dumps(result, indent=2))
    sys.exit(0 if result["flat"] else 1)


if __name__ == "__main__":
    main()
