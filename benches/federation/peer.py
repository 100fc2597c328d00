"""Servers that exist only as a script: rooms with members of as many servers as wanted, in one process, on loopback.

Each is named `localhost:PORT` and speaks TLS there. They publish one key, make and answer joins, take whatever they are sent
without a look at it, and say what they were asked. What they send is signed correctly.
"""

import asyncio
import base64
import collections
import hashlib
import http.client
import json
import socket
import ssl
import threading
import time
from urllib.parse import parse_qs, unquote, urlsplit

from nacl.signing import SigningKey

VERSION = "11"
KEY_ID = "ed25519:bench"
#: Members of an event that redaction keeps in this room version.
KEPT = ("auth_events", "content", "depth", "hashes", "origin_server_ts", "prev_events", "room_id", "sender", "state_key", "type")
#: Types whose content, as it is written here, is kept whole.
WHOLE = ("m.room.create", "m.room.power_levels", "m.room.join_rules", "m.room.history_visibility")


def canonical(value):
    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), sort_keys=True).encode()


def unpadded(data):
    return base64.b64encode(data).decode().rstrip("=")


def redacted(event):
    """What is hashed and signed of an event."""
    kept = {name: event[name] for name in KEPT if name in event}
    if event["type"] == "m.room.member":
        kept["content"] = {"membership": event["content"]["membership"]}
    elif event["type"] not in WHOLE:
        kept["content"] = {}
    return kept


def event_id(event):
    digest = hashlib.sha256(canonical(redacted(event))).digest()
    return "$" + base64.urlsafe_b64encode(digest).decode().rstrip("=")


class Room:
    """A public room of a server, with its current state by type and key."""

    def __init__(self, servers, home, number, members):
        self.servers, self.home = servers, home
        self.id = f"!bench{number}:{home}"
        self.state, self.events, self.last, self.depth = {}, {}, None, 0
        creator = f"@creator:{home}"
        self.put(creator, "m.room.create", {"room_version": VERSION}, "")
        self.put(creator, "m.room.member", {"membership": "join"}, creator)
        levels = {"users": {creator: 100}, "users_default": 0, "events_default": 0, "state_default": 50, "invite": 50}
        self.put(creator, "m.room.power_levels", levels, "")
        self.put(creator, "m.room.join_rules", {"join_rule": "public"}, "")
        self.put(creator, "m.room.history_visibility", {"history_visibility": "shared"}, "")
        for member in members:
            self.put(member, "m.room.member", {"membership": "join", "displayname": member[1:].split(":")[0]}, member)

    def auth_for(self, kind, sender, key):
        keys = [("m.room.create", ""), ("m.room.power_levels", ""), ("m.room.member", sender)]
        if kind == "m.room.member":
            keys += [("m.room.join_rules", ""), ("m.room.member", key)]
        return sorted({event_id(self.state[one]) for one in keys if one in self.state})

    def put(self, sender, kind, content, key=None):
        """An event behind all others, signed by the server of its sender; it is kept."""
        event = {
            "room_id": self.id,
            "sender": sender,
            "type": kind,
            "content": content,
            "depth": self.depth + 1,
            "prev_events": [self.last] if self.last else [],
            "auth_events": [] if kind == "m.room.create" else self.auth_for(kind, sender, key),
            "origin_server_ts": int(time.time() * 1000),
        }
        if key is not None:
            event["state_key"] = key
        event["hashes"] = {"sha256": unpadded(hashlib.sha256(canonical(event)).digest())}
        self.servers.sign(event, sender.split(":", 1)[1], redacted(event))
        self.keep(event)
        return event

    def keep(self, event):
        self.last, self.depth = event_id(event), event["depth"]
        self.events[self.last] = event
        if "state_key" in event:
            self.state[event["type"], event["state_key"]] = event

    def last_of(self, events):
        """Whether its last event is among these."""
        return any(event is self.events[self.last] for event in events)

    def template(self, user):
        return {
            "room_version": VERSION,
            "event": {
                "room_id": self.id,
                "sender": user,
                "state_key": user,
                "type": "m.room.member",
                "content": {"membership": "join"},
                "depth": self.depth + 1,
                "prev_events": [self.last],
                "auth_events": self.auth_for("m.room.member", user, user),
                "origin_server_ts": int(time.time() * 1000),
            },
        }

    def joined(self, event):
        """The answer to `send_join`: the state before it."""
        state = list(self.state.values())
        answer = {"origin": self.home, "members_omitted": False, "state": state, "auth_chain": state, "event": event}
        self.keep(event)
        return answer


class Servers:
    """Servers of one key. The first is home to rooms."""

    def __init__(self, authority, count=1):
        self.key = SigningKey.generate()
        context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
        context.load_cert_chain(authority.leaf, authority.leaf_key)
        self.sockets = [listening() for _ in range(count)]
        self.names = [f"localhost:{one.getsockname()[1]}" for one in self.sockets]
        self.rooms = {}
        #: Requests that were answered, by what they are.
        self.asked = collections.Counter()
        self.outgoing = ssl.create_default_context(cafile=authority.certificate)
        self.transactions = 0
        self.loop = asyncio.new_event_loop()
        self.listeners = {}
        self.connections = collections.defaultdict(set)
        ready = threading.Event()

        async def listen():
            for name, one in zip(self.names, self.sockets):
                handler = self.handler(name)
                self.listeners[name] = await asyncio.start_server(handler, sock=one, ssl=context, limit=1 << 24)
            ready.set()

        def run():
            asyncio.set_event_loop(self.loop)
            self.task = self.loop.create_task(listen())
            self.loop.run_forever()

        threading.Thread(target=run, daemon=True).start()
        ready.wait(60)

    def close(self, names):
        """These do not listen any more, and their connections are closed: who connects is refused."""

        async def close():
            for name in names:
                self.listeners[name].close()
                for writer in self.connections[name]:
                    writer.transport.abort()

        asyncio.run_coroutine_threadsafe(close(), self.loop).result(60)

    def room(self, members=()):
        room = Room(self, self.names[0], len(self.rooms), members)
        self.rooms[room.id] = room
        return room

    def sign(self, value, server, signed=None):
        signed = value if signed is None else signed
        plain = {name: member for name, member in signed.items() if name not in ("signatures", "unsigned")}
        signature = unpadded(self.key.sign(canonical(plain)).signature)
        value.setdefault("signatures", {}).setdefault(server, {})[KEY_ID] = signature
        return value

    # What is asked of them.

    def handler(self, name):
        async def serve(reader, writer):
            self.connections[name].add(writer)
            try:
                while head := await reader.readuntil(b"\r\n\r\n"):
                    request, *lines = head.decode("latin-1").split("\r\n")
                    headers = dict(line.lower().split(": ", 1) for line in lines if ": " in line)
                    body = await reader.readexactly(int(headers.get("content-length", 0)))
                    method, target, _ = request.split(" ")
                    status, answer = self.answer(name, method, target, body)
                    data = canonical(answer)
                    writer.write(b"HTTP/1.1 %d .\r\nContent-Type: application/json\r\nContent-Length: %d\r\n\r\n" % (status, len(data)))
                    writer.write(data)
                    await writer.drain()
            except (asyncio.IncompleteReadError, OSError):
                pass
            finally:
                self.connections[name].discard(writer)
                writer.close()

        return serve

    def answer(self, name, method, target, body):
        path = urlsplit(target)
        parts = [unquote(part) for part in path.path.split("/")[2:]]
        room = self.rooms.get(parts[3]) if len(parts) > 3 else None
        match parts:
            case ["key", "v2", "server"]:
                self.asked["keys"] += 1
                key = unpadded(bytes(self.key.verify_key))
                until = int(time.time() * 1000) + 86_400_000
                document = {"server_name": name, "valid_until_ts": until, "verify_keys": {KEY_ID: {"key": key}}, "old_verify_keys": {}}
                return 200, self.sign(document, name)
            case ["federation", "v1", "make_join", _, user] if room:
                self.asked["make_join"] += 1
                assert VERSION in parse_qs(path.query)["ver"]
                return 200, room.template(user)
            case ["federation", "v2", "send_join", _, _] if room:
                self.asked["send_join"] += 1
                return 200, room.joined(json.loads(body))
            case ["federation", "v1", "send", _] if method == "PUT":
                self.asked["send"] += 1
                self.asked["events"] += body.count(b'"auth_events"')
                return 200, {"pdus": {}}
        self.asked[f"{method} {'/'.join(parts[:3])}"] += 1
        return 404, {"errcode": "M_UNRECOGNIZED", "error": "this is a script"}

    # What they ask.

    def connect(self, destination):
        host, port = destination.split(":")
        return http.client.HTTPSConnection(host, int(port), context=self.outgoing, timeout=120)

    def send(self, connection, destination, events):
        """One transaction of the first server; the answer must take every event."""
        self.transactions += 1
        target = f"/_matrix/federation/v1/send/{self.names[0].replace(':', '.')}-{self.transactions}"
        content = {"origin": self.names[0], "origin_server_ts": int(time.time() * 1000), "pdus": events}
        signed = {"method": "PUT", "uri": target, "origin": self.names[0], "destination": destination, "content": content}
        signature = unpadded(self.key.sign(canonical(signed)).signature)
        header = f'X-Matrix origin="{self.names[0]}",destination="{destination}",key="{KEY_ID}",sig="{signature}"'
        connection.request("PUT", target, canonical(content), {"Authorization": header, "Content-Type": "application/json"})
        reply = connection.getresponse()
        answer = json.loads(reply.read())
        wrong = [error for error in answer.get("pdus", {}).values() if error]
        assert reply.status == 200 and not wrong, f"{reply.status}: {answer}"


def listening():
    one = socket.socket()
    one.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    one.bind(("127.0.0.1", 0))
    one.listen(64)
    one.setblocking(False)
    return one
