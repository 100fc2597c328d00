"""What it costs to send into a room with users of many other servers: `destinations.py BINARY [--live N] [--dead N]`.

The other servers are one script. Myelin joins a room of theirs; a user sends there, and into a room without other servers.

First N servers that take everything: time and CPU of a send, and what each transaction costs behind it. Then, with an empty data
folder, N servers that do not listen any more: what their first failures cost, then a send, and then the memory and the CPU of a
process that nobody asks anything, in the minutes in which all are tried again (`--first-retry`), and once pauses are long.
"""

import argparse
import os
import pathlib
import statistics
import sys
import tempfile
import time
import urllib.request
from urllib.parse import quote

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "interop" / "federation"))

import servers as homeservers  # noqa: E402
from measure import cpu, resident_mb  # noqa: E402
from peer import Servers  # noqa: E402

interop = homeservers.interop


class House:
    """A Myelin with a user in a room of other servers, and in one without any."""

    def __init__(self, binary, folder, authority, count, **environment):
        # First, so that none of them takes a port that is meant for Myelin.
        self.others = Servers(authority, count + 1)
        self.metrics_port = interop.free_port()
        self.server = homeservers.Myelin(binary, folder, authority)
        self.server.environment |= {"MYELIN_LISTENERS_METRICS": f"127.0.0.1:{self.metrics_port}", **environment}
        self.server.start()
        self.pid = self.server.process.pid
        account = interop.register(self.server.port, "alice")
        self.client = interop.Client(self.server.port, account["access_token"], timeout=300)
        self.alone = self.client.expect("POST", "/_matrix/client/v3/createRoom", {"preset": "public_chat"})["room_id"]
        self.home = self.others.names[0]
        room = self.others.room([f"@user:{name}" for name in self.others.names[1:]])
        self.shared = room.id
        begun, before = time.monotonic(), cpu(self.pid)
        self.client.expect("POST", f"/_matrix/client/v3/join/{quote(self.shared)}?server_name={self.home}&via={self.home}", {})
        print(f"joined a room of {count} servers in {time.monotonic() - begun:.1f} s, {cpu(self.pid) - before:.2f} s of CPU")
        self.sent = 0

    def metrics(self):
        """All numbers by their names."""
        text = urllib.request.urlopen(f"http://127.0.0.1:{self.metrics_port}/metrics", timeout=60).read().decode()
        lines = (line.rpartition(" ") for line in text.splitlines() if not line.startswith("#"))
        return {name: float(value) for name, _, value in lines}

    def is_quiet(self):
        """Nothing waits or is on its way."""
        found = self.metrics()
        names = ("active_servers", "on_the_way", "waiting_events", "lag")
        return all(found[f"myelin_federation_{name}"] == 0 for name in names)

    def settle(self, deadline=600):
        end = time.monotonic() + deadline
        while not self.is_quiet():
            assert time.monotonic() < end, self.metrics()
            time.sleep(0.3)

    def send(self, room):
        """Sends a message; returns the milliseconds until the answer."""
        self.sent += 1
        body = {"msgtype": "m.text", "body": f"A message of usual length, as people write them, {self.sent}"}
        begun = time.monotonic()
        self.client.expect("PUT", f"/_matrix/client/v3/rooms/{quote(room)}/send/m.room.message/{self.sent}", body)
        return (time.monotonic() - begun) * 1000

    def sends(self, room, count):
        """Median milliseconds of a send, one after the other, and µs of the process's CPU for each until all is quiet."""
        self.settle()
        before = cpu(self.pid)
        times = [self.send(room) for _ in range(count)]
        self.settle()
        return statistics.median(times), (cpu(self.pid) - before) / count * 1e6

    def idle(self, seconds):
        """Milliseconds of CPU that the process takes by itself."""
        before = cpu(self.pid)
        time.sleep(seconds)
        return (cpu(self.pid) - before) * 1000

    def end(self):
        self.server.end()


def live(house, count):
    house.send(house.shared)
    house.sends(house.alone, 50)
    _, alone_us = house.sends(house.alone, 500)
    alone, shared, used, sent = [], [], 0.0, 0
    # Each by itself, so that every server gets a transaction of one event.
    for _ in range(20):
        house.settle()
        alone.append(house.send(house.alone))
        house.settle()
        before, asked = cpu(house.pid), house.others.asked["send"]
        shared.append(house.send(house.shared))
        house.settle()
        used, sent = used + cpu(house.pid) - before, sent + house.others.asked["send"] - asked
    print(f"a send by itself: {statistics.median(alone):.1f} ms into a room without other servers ({alone_us:.0f} µs of CPU),")
    print(f"  {statistics.median(shared):.1f} ms into a room of {count} servers")
    print(f"each transaction of one event behind it: {(used - 20 * alone_us / 1e6) / sent * 1e6:.0f} µs of CPU ({sent} sent)")
    asked, events = house.others.asked["send"], house.others.asked["events"]
    milliseconds, used = house.sends(house.shared, 200)
    sent, events = house.others.asked["send"] - asked, house.others.asked["events"] - events
    print(f"200 sends one after the other: {milliseconds:.1f} ms each; {events} events in {sent} transactions, {used * 200 / events:.0f} µs of CPU an event and server")
    print(f"resident memory: {resident_mb(house.pid):.0f} MB", flush=True)


def dead(house, count, minutes):
    house.settle()
    time.sleep(3)
    idle, resident = house.idle(20) * 3, resident_mb(house.pid)
    print(f"before any fails: {resident:.0f} MB, {idle:.0f} ms of CPU in an idle minute", flush=True)
    house.others.close(house.others.names)
    before = cpu(house.pid)
    house.send(house.shared)
    house.settle()
    failing = house.metrics()["myelin_federation_failing_servers"]
    print(f"{failing:.0f} servers fail: {(cpu(house.pid) - before) / count * 1e6:.0f} µs of CPU for each", flush=True)
    house.sends(house.alone, 50)
    for name, room in (("without other servers", house.alone), (f"of {count} servers that fail", house.shared)) * 2:
        milliseconds, microseconds = house.sends(room, 300)
        print(f"a send into a room {name}: {milliseconds:.1f} ms, {microseconds:.0f} µs of CPU, background included", flush=True)
    for minute in range(minutes):
        failed = house.metrics()["myelin_federation_failed"]
        used = house.idle(60)
        failed = house.metrics()["myelin_federation_failed"] - failed
        print(f"idle minute {minute + 1}: {used:.0f} ms of CPU, {failed:.0f} tried again, {resident_mb(house.pid):.0f} MB", flush=True)


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--live", type=int, default=1000, help="servers that take everything; 0: none")
    arguments.add_argument("--dead", type=int, default=5000, help="servers that do not listen; 0: none")
    arguments.add_argument("--minutes", type=int, default=2, help="how long dead servers are looked at")
    arguments.add_argument("--first-retry", default="1m", help="as in the configuration")
    options = arguments.parse_args()
    with tempfile.TemporaryDirectory(prefix="destinations-", dir=os.environ.get("MYELIN_BENCH_DIR")) as folder:
        folder = pathlib.Path(folder)
        authority = homeservers.Authority(folder)
        for name, count in (("live", options.live), ("dead", options.dead)):
            if not count:
                continue
            retries = {"MYELIN_FEDERATION_FIRST_RETRY": options.first_retry, "MYELIN_FEDERATION_LONGEST_RETRY": "6h"}
            house = House(options.binary, folder / name, authority, count, **retries)
            try:
                live(house, count) if name == "live" else dead(house, count, options.minutes)
            finally:
                house.end()


if __name__ == "__main__":
    main()
