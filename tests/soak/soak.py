#!/usr/bin/env python3
"""Attacks a learner on a real Kafka for as long as one likes, then asks whether anybody could tell.

    tests/soak/soak.py --minutes 20 [--seed 1] [--rate 400] [--sluicebox target/release/sluicebox]

A simulator writes at a live rate, `sluicebox run` learns. By the dice of the seed the learner is killed and frozen, the
broker is killed and started again, the disk becomes slow or full, the newest checkpoint rots, and the producer falls
silent until partitions count as idle. After every fault the learner must seal again. At the end a quiet `replay` reads the
same records with the same idle journal: its digest must be that of the attacked learner, and the attacked decision log
must be the beginning of the quiet one, byte for byte. Prints one JSON object and a table; exit code 1 when it does not hold.

Needs Java for the broker, gcc for the slow disk, and the right to mount a tmpfs for the full one; a fault that cannot be
made here is left out and said."""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
import urllib.request
import uuid

ROOT = pathlib.Path(__file__).resolve().parent.parent.parent
HERE = pathlib.Path(__file__).resolve().parent
TOPIC = "soak"
PARTITIONS = 3
DISK_MIB = 64
LATE_SHARE_MAX = 0.01

PROPERTIES = """process.roles=broker,controller
node.id=1
controller.quorum.voters=1@127.0.0.1:{controller}
listeners=PLAINTEXT://127.0.0.1:{port},CONTROLLER://127.0.0.1:{controller}
advertised.listeners=PLAINTEXT://127.0.0.1:{port}
controller.listener.names=CONTROLLER
inter.broker.listener.name=PLAINTEXT
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={data}
offsets.topic.replication.factor=1
offsets.topic.num.partitions=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
transaction.state.log.num.partitions=1
group.initial.rebalance.delay.ms=0
broker.session.timeout.ms=1000
broker.heartbeat.interval.ms=200
auto.create.topics.enable=false
"""


def say(text):
    print(time.strftime("%H:%M:%S"), text, file=sys.stderr, flush=True)


def free_port():
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


def wait_for(what, limit, done):
    begun = time.monotonic()
    while not done():
        if time.monotonic() - begun > limit:
            raise SystemExit(f"not within {limit} s: {what}")
        time.sleep(0.1)


class Broker:
    def __init__(self, directory):
        self.directory = directory
        self.port, self.process = free_port(), None
        jars = subprocess.run([ROOT / "tests/kafka/fetch.sh"], check=True, capture_output=True, text=True).stdout.strip()
        self.java = ["java", "-Xmx512m", "-XX:+UseSerialGC", "-cp", f"{jars}/*"]
        directory.mkdir()
        text = PROPERTIES.format(port=self.port, controller=free_port(), data=directory / "data")
        (directory / "server.properties").write_text(text)
        cluster = "sluicebox-soak-" + uuid.uuid4().hex[:7]
        form = ["kafka.tools.StorageTool", "format", "-t", cluster, "-c", "server.properties"]
        subprocess.run(self.java + form, cwd=directory, check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        self.start()

    @property
    def address(self):
        return f"127.0.0.1:{self.port}"

    def start(self):
        log = open(self.directory / "broker.log", "ab")
        command = self.java + ["kafka.Kafka", "server.properties"]
        self.process = subprocess.Popen(command, cwd=self.directory, stdout=log, stderr=log)

        def listens():
            if self.process.poll() is not None:
                raise SystemExit(f"the broker ended; see {self.directory}/broker.log")
            with socket.socket() as probe:
                return probe.connect_ex(("127.0.0.1", self.port)) == 0

        wait_for("the broker listens", 120, listens)

    def kill(self):
        self.process.kill()
        self.process.wait()


class Soak:
    def __init__(self, options, work):
        self.options, self.work = options, work
        self.dice = random.Random(options.seed)
        self.faults, self.left_out, self.exits = {}, [], {}
        self.disk = work / "disk"
        self.disk.mkdir()
        self.is_mounted = self.mount()
        self.state, self.decisions = self.disk / "state", work / "decisions.jsonl"
        self.delay = work / "delay"
        self.shim = self.compile_shim()
        self.broker = Broker(work / "broker")
        self.http = f"127.0.0.1:{free_port()}"
        self.settings = ["-c", str(HERE / "soak.toml"), "--set", f"kafka.brokers={self.broker.address}"]
        self.settings += ["--set", f"kafka.topics={TOPIC}", "--set", f"catalog.file={work}/items.jsonl"]
        self.simulator, self.learner, self.writers = None, None, 0

    def mount(self):
        command = ["mount", "-t", "tmpfs", "-o", f"size={DISK_MIB}m", "none", str(self.disk)]
        mounted = os.geteuid() == 0 and subprocess.run(command, capture_output=True).returncode == 0
        if not mounted:
            self.left_out.append("full disk: no right to mount a tmpfs")
        return mounted

    def compile_shim(self):
        library = self.work / "slow_disk.so"
        command = ["gcc", "-shared", "-fPIC", "-o", str(library), str(HERE / "slow_disk.c"), "-ldl"]
        if shutil.which("gcc") and subprocess.run(command, capture_output=True).returncode == 0:
            return library
        self.left_out.append("slow disk: no gcc")
        return None

    def simulate(self):
        # Every writer goes on where the clock stands, so that a new one is not late; each has a seed of its own.
        self.writers += 1
        seed = self.options.seed * 1000 + self.writers
        command = [self.options.sluicebox, "simulate", "--topic", TOPIC, "--partitions", str(PARTITIONS)]
        command += ["--rate", str(self.options.rate), "--seed", str(seed), "--set", 'simulate.start=now']
        log = open(self.work / "simulate.log", "ab")
        self.simulator = subprocess.Popen(command + self.settings, stdout=log, stderr=log)

    def learn(self):
        environment = dict(os.environ)
        if self.shim:
            environment |= {"LD_PRELOAD": str(self.shim), "SLOW_DISK": str(self.delay)}
        command = [self.options.sluicebox, "run", "--state", str(self.state), "--decisions", str(self.decisions)]
        command += ["--set", f"http.listen={self.http}"]
        log = open(self.work / "run.log", "ab")
        self.learner = subprocess.Popen(command + self.settings, stdout=log, stderr=log, env=environment)

    def status(self):
        try:
            with urllib.request.urlopen(f"http://{self.http}/status", timeout=5) as answer:
                return json.load(answer)
        except (OSError, ValueError):
            return None

    def checkpoints(self):
        found = self.state.glob("checkpoint-*") if self.state.exists() else []
        return sorted(int(path.name.split("-")[1]) for path in found)

    def newest(self):
        checkpoints = self.checkpoints()
        return checkpoints[-1] if checkpoints else 0

    def keep_up(self):
        """Starts again whoever ended; a supervisor does the same."""
        if self.learner.poll() is not None:
            code = self.learner.returncode
            self.exits[code] = self.exits.get(code, 0) + 1
            self.learn()
        if self.simulator.poll() is not None:
            self.simulate()

    def seals_again(self, what):
        begun = self.newest()

        def sealed():
            self.keep_up()
            return self.newest() > begun

        wait_for(f"a seal after: {what}", 180, sealed)

    # The faults. Each ends when the world is whole again.

    def kill_learner(self):
        self.learner.send_signal(signal.SIGKILL)
        self.learner.wait()
        self.learn()

    def kill_in_a_row(self):
        for _ in range(4):
            self.kill_learner()
            time.sleep(self.dice.uniform(0.05, 1.5))

    def freeze_learner(self):
        self.learner.send_signal(signal.SIGSTOP)
        time.sleep(self.dice.uniform(1, 6))
        self.learner.send_signal(signal.SIGCONT)

    def kill_broker(self):
        self.broker.kill()
        time.sleep(self.dice.uniform(0, 6))
        self.broker.start()

    def kill_both(self):
        self.broker.kill()
        self.learner.send_signal(signal.SIGKILL)
        self.learner.wait()
        self.broker.start()
        self.learn()

    def slow_disk(self):
        self.delay.write_text(str(self.dice.randrange(50, 800)))
        time.sleep(self.dice.uniform(5, 15))
        if self.dice.random() < 0.5:
            self.kill_learner()
        self.delay.write_text("0")

    def full_disk(self):
        ballast = self.disk / "ballast"
        with open(ballast, "wb", buffering=0) as file:
            try:
                while True:
                    file.write(bytes(1 << 16))
            except OSError:
                pass
        begun = time.monotonic()
        while self.learner.poll() is None and time.monotonic() - begun < 60:
            time.sleep(0.1)
        if self.learner.poll() is None:
            raise SystemExit("a full disk was not noticed within 60 s")
        if self.learner.returncode != 74:
            raise SystemExit(f"a full disk ended with exit code {self.learner.returncode}, not 74")
        ballast.unlink()

    def rot_checkpoint(self):
        self.learner.send_signal(signal.SIGKILL)
        self.learner.wait()
        checkpoints = self.checkpoints()
        if len(checkpoints) >= 2:
            newest = self.state / f"checkpoint-{checkpoints[-1]}"
            path = newest / self.dice.choice(["policy", "optimizer", "state", "manifest.json"])
            content = bytearray(path.read_bytes())
            content[self.dice.randrange(len(content))] ^= 1 << self.dice.randrange(8)
            path.write_bytes(content)
        self.learn()

    def silence(self):
        self.simulator.send_signal(signal.SIGSTOP)
        time.sleep(self.dice.uniform(3, 8))
        self.simulator.send_signal(signal.SIGCONT)

    def run(self):
        kinds = [self.kill_learner, self.kill_in_a_row, self.freeze_learner, self.kill_broker, self.kill_both]
        kinds += [self.rot_checkpoint, self.silence]
        kinds += [self.slow_disk] * bool(self.shim) + [self.full_disk] * self.is_mounted
        self.simulate()
        time.sleep(3)
        self.learn()
        end = time.monotonic() + 60 * self.options.minutes
        self.seals_again("start")
        while time.monotonic() < end:
            time.sleep(self.dice.uniform(1, 8))
            self.keep_up()
            fault = self.dice.choice(kinds)
            name = fault.__name__.replace("_", " ")
            say(name)
            fault()
            self.seals_again(name)
            self.faults[name] = self.faults.get(name, 0) + 1
        return self.compare()

    def compare(self):
        say("no more faults: the producer stops, the learner reads to the end and stops")
        self.simulator.send_signal(signal.SIGCONT)
        self.simulator.send_signal(signal.SIGTERM)
        self.simulator.wait()

        def is_read():
            if self.learner.poll() is not None:
                self.learn()
            status = self.status()
            lags = [part.get("lag_records") for part in status["partitions"]] if status else [None]
            return all(lag == 0 for lag in lags)

        wait_for("everything is read", 300, is_read)
        time.sleep(5)
        self.learner.send_signal(signal.SIGTERM)
        if self.learner.wait(timeout=120) != 0:
            raise SystemExit(f"a graceful stop ended with exit code {self.learner.returncode}")
        attacked = self.inspect(self.state)
        say("the quiet replay of the same records")
        until = ",".join(f"{lane['partition']}:{lane['next_offset']}" for lane in attacked["lanes"])
        quiet = self.work / "quiet"
        command = [self.options.sluicebox, "replay", "--json", "--state", str(quiet), "--until", f"offset={until}"]
        command += ["--decisions", str(self.work / "quiet.jsonl")]
        journal = self.state / "idle-journal.jsonl"
        if journal.exists():
            command += ["--journal", str(journal)]
        log = open(self.work / "replay.log", "ab")
        subprocess.run(command + self.settings, check=True, stdout=log, stderr=log)
        # The last checkpoint has closed what was open; the one before it is where the attacked learner stands.
        numbers = sorted(int(path.name.split("-")[1]) for path in quiet.glob("checkpoint-*"))
        undisturbed = self.inspect(quiet / f"checkpoint-{numbers[-2]}")
        counters = attacked["counters"]
        lines, its = self.decisions.read_bytes(), (self.work / "quiet.jsonl").read_bytes()
        return {
            "seed": self.options.seed,
            "minutes": self.options.minutes,
            "rate": self.options.rate,
            "faults": dict(sorted(self.faults.items())),
            "left_out": self.left_out,
            "exits_by_themselves": {str(code): count for code, count in sorted(self.exits.items())},
            "seals": attacked["sequence"],
            "idle_decisions": attacked["journal"],
            "restarts": attacked["restarts"],
            "writers": self.writers,
            "counters": counters,
            "late_share": counters["late"] / max(counters["events"], 1),
            "digest": attacked["digest"],
            "digest_of_the_quiet_run": undisturbed["digest"],
            "decisions": lines.count(b"\n"),
            "same_decisions": bool(lines) and its.startswith(lines),
            "same": attacked["digest"] == undisturbed["digest"],
        }

    def inspect(self, path):
        command = [self.options.sluicebox, "inspect", str(path), "--json"]
        return json.loads(subprocess.run(command, check=True, capture_output=True).stdout)

    def end(self):
        for process in [self.learner, self.simulator, self.broker.process if hasattr(self, "broker") else None]:
            if process and process.poll() is None:
                process.send_signal(signal.SIGCONT)
                process.kill()
                process.wait()
        if self.is_mounted:
            subprocess.run(["umount", "-l", str(self.disk)], check=False)


def table(report):
    rows = ["| fault | times survived |", "|---|---|"]
    rows += [f"| {name} | {count} |" for name, count in report["faults"].items()]
    return "\n".join(rows)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--minutes", type=float, default=20)
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--rate", type=int, default=400, help="events per second")
    parser.add_argument("--sluicebox", default=str(ROOT / "target/release/sluicebox"))
    parser.add_argument("--keep", action="store_true", help="leave the directory with all logs")
    options = parser.parse_args()
    work = pathlib.Path(tempfile.mkdtemp(prefix="sluicebox-soak-"))
    say(f"working in {work}, seed {options.seed}")
    soak = Soak(options, work)
    try:
        report = soak.run()
    except BaseException:
        options.keep = True
        raise
    finally:
        soak.end()
        if options.keep:
            say(f"left in {work}")
        else:
            shutil.rmtree(work)
    print(json.dumps(report, indent=2))
    say("faults survived:\n" + table(report))
    if report["late_share"] > LATE_SHARE_MAX:
        say("too many events were late: they load the learner little, so this soak proves little")
    sound = report["same"] and report["same_decisions"] and report["late_share"] <= LATE_SHARE_MAX
    sys.exit(0 if sound else 1)


if __name__ == "__main__":
    main()
