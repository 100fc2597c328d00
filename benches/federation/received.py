"""What an event costs that another server sends: `received.py BINARY [--events N] [--rooms N] [--only myelin|synapse]`.

One scripted server sends the same stream of messages, in transactions of 50, to Myelin and to Synapse, each of which has a user
in the rooms: once all in one room, once in many rooms in turn. Measured is the CPU (user and system) of the receiving process
from the first transaction until all is shown to its user, less what it takes to look whether it is. What comes before (joins,
keys, a first few transactions) is not.

Each transaction is sent when the one before is shown: of more than 100 events that wait in a room Synapse throws away some and
asks for them again later. `--stream` sends each as soon as the one before is acknowledged, as a busy server does.
"""

import argparse
import os
import pathlib
import sys
import tempfile
import time
from urllib.parse import quote

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent.parent / "tests" / "interop" / "federation"))

import servers as homeservers  # noqa: E402
from measure import cpu  # noqa: E402
from peer import Servers  # noqa: E402

AT_ONCE = 50
#: Looks by which it is measured what one takes.
LOOKS = 500
#: The first and the longest pause between two looks whether all is there, in seconds.
PAUSES = (0.01, 0.2)


def look(client, room):
    return client.request("GET", f"/_matrix/client/v3/rooms/{quote(room.id)}/event/{quote(room.last)}")


def await_shown(client, rooms, deadline=60):
    """Waits until the last event of each room is shown; says how often it looked."""
    end, looks = time.monotonic() + deadline, 0
    for room in rooms:
        pause = PAUSES[0]
        while True:
            status, answer = look(client, room)
            looks += 1
            if status == 200:
                break
            if time.monotonic() > end:
                raise SystemExit(f"the last event of {room.id} is not shown: {answer}")
            time.sleep(pause)
            pause = min(2 * pause, PAUSES[1])
    return looks


def measure(server, peer, options, count, in_rooms):
    """CPU and wall time of an event, in µs."""
    users = [f"@user{number}:{peer.names[0]}" for number in range(5)]
    rooms = [peer.room(users) for _ in range(in_rooms)]
    account = homeservers.interop.register(server.port, f"reader{in_rooms}")
    client = homeservers.interop.Client(server.port, account["access_token"])
    for room in rooms:
        client.expect("POST", f"/_matrix/client/v3/join/{quote(room.id)}?server_name={peer.names[0]}&via={peer.names[0]}", {})
    connection = peer.connect(server.name)

    def send(count):
        """Sends so many events; returns the looks that were needed."""
        looks = 0
        bodies = ["A message of usual length, as people write them. " * 4 + str(at) for at in range(count)]
        for begin in range(0, count, AT_ONCE):
            several = [
                rooms[at % in_rooms].put(users[at % len(users)], "m.room.message", {"msgtype": "m.text", "body": body})
                for at, body in enumerate(bodies[begin : begin + AT_ONCE], begin)
            ]
            peer.send(connection, server.name, several)
            if not options.stream:
                # The rooms' last events, as far as this transaction has any there.
                looks += await_shown(client, [room for room in rooms if room.last_of(several)][-1:])
        return looks + await_shown(client, rooms)

    send(4 * AT_ONCE)
    before, begun, asked = cpu(server.process.pid), time.monotonic(), dict(peer.asked)
    looks = send(count)
    used, took = cpu(server.process.pid) - before, time.monotonic() - begun
    extra = {what: number - asked.get(what, 0) for what, number in peer.asked.items() if number != asked.get(what, 0)}
    if extra:
        print(f"  it asked the sender for more: {extra}")
    before = cpu(server.process.pid)
    for _ in range(LOOKS):
        look(client, rooms[0])
    of_look = (cpu(server.process.pid) - before) / LOOKS
    return (used - looks * of_look) / count * 1e6, took / count * 1e6, looks, of_look * 1e6


def main():
    arguments = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    arguments.add_argument("binary")
    arguments.add_argument("--events", type=int, default=2000, help="of Myelin's stream")
    arguments.add_argument("--part", type=int, default=5, help="Synapse gets only the first so-manieth part of it")
    arguments.add_argument("--rooms", type=int, default=20)
    arguments.add_argument("--only", choices=["myelin", "synapse"])
    arguments.add_argument("--stream", action="store_true", help="do not wait for each transaction to be shown")
    options = arguments.parse_args()
    results = {}
    with tempfile.TemporaryDirectory(prefix="received-", dir=os.environ.get("MYELIN_BENCH_DIR")) as folder:
        folder = pathlib.Path(folder)
        authority = homeservers.Authority(folder)
        peer = Servers(authority)
        make = {
            "myelin": lambda: homeservers.Myelin(options.binary, folder / "myelin", authority),
            "synapse": lambda: homeservers.Synapse(folder / "synapse", authority),
        }
        for kind in [options.only] if options.only else list(make):
            server, count = make[kind](), options.events // (options.part if kind == "synapse" else 1)
            try:
                server.start()
                for in_rooms in (1, options.rooms):
                    results[kind, in_rooms], took, looks, of_look = measure(server, peer, options, count, in_rooms)
                    print(
                        f"{kind:8} {count:5} events in {in_rooms:3} rooms: {results[kind, in_rooms]:7.0f} µs of CPU an event "
                        f"(without {looks} looks of {of_look:.0f} µs), {took:.0f} µs of time",
                        flush=True,
                    )
            finally:
                server.end()
    for in_rooms in (1, options.rooms) if not options.only else ():
        ratio = results["synapse", in_rooms] / results["myelin", in_rooms]
        print(f"in {in_rooms} rooms Synapse takes {ratio:.1f} times the CPU")


if __name__ == "__main__":
    main()
