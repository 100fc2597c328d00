"""Users of two servers that federate, as their clients see the rooms.

Nothing here sleeps: `User.sees` looks at what the user's syncs brought again after each of them, until what is expected is
there, or the deadline has passed and the test fails with the expectation's name.
"""

import itertools
import os
import time
import unittest
from urllib.parse import quote

from servers import interop

#: How long anything may take to show, in seconds: far more than it takes on a loaded machine.
DEADLINE = float(os.environ.get("INTEROP_DEADLINE_MS", "30000")) / 1000
#: How long a sync may be held by the server, in milliseconds.
POLL = 2_000

V3 = "/_matrix/client/v3"
_numbers = itertools.count()


def fresh_name(stem):
    """A name that nothing else of this run has."""
    return f"{stem}_{next(_numbers)}"


class Room:
    """What a user's syncs brought of one room."""

    def __init__(self):
        self.timeline = []
        self.state = {}
        self.typing = []
        self.receipts = {}

    def take(self, part):
        if part.get("timeline", {}).get("limited"):
            self.timeline.append({"type": "gap", "event_id": None, "content": {}})
        for event in part.get("state", {}).get("events", []):
            self._take_state(event)
        for event in part.get("timeline", {}).get("events", []):
            self.timeline.append(event)
            self._take_state(event)
        for event in part.get("ephemeral", {}).get("events", []):
            if event["type"] == "m.typing":
                self.typing = event["content"]["user_ids"]
            elif event["type"] == "m.receipt":
                for event_id, kinds in event["content"].items():
                    for user_id in kinds.get("m.read", {}):
                        self.receipts[user_id] = event_id

    def _take_state(self, event):
        if "state_key" in event:
            self.state[event["type"], event["state_key"]] = event

    def content(self, kind, key=""):
        """The content of a state event; empty if there is none."""
        return self.state.get((kind, key), {}).get("content", {})

    def membership(self, user_id):
        return self.content("m.room.member", user_id).get("membership", "leave")

    def bodies(self):
        """The bodies of the messages, in the order of delivery."""
        return [event["content"].get("body") for event in self.timeline if event["type"] == "m.room.message"]

    def event(self, event_id):
        return next((event for event in self.timeline if event["event_id"] == event_id), None)


class User:
    """One account on one device, with what its syncs brought."""

    def __init__(self, server, stem):
        self.server = server
        reply = interop.register(server.port, fresh_name(stem))
        self.id = reply["user_id"]
        self.client = interop.Client(server.port, reply["access_token"])
        self.since = None
        self.rooms, self.invites, self.knocks, self.left = {}, {}, {}, {}

    def request(self, method, path, body=None):
        return self.client.request(method, path, body)

    def do(self, method, path, body=None):
        """The JSON of an answer that must be 200."""
        return self.client.expect(method, V3 + path, body)

    def refused(self, status, method, path, body=None):
        """The JSON of an answer that must have this status."""
        found, reply = self.request(method, V3 + path, body)
        assert found == status, f"{method} {path}: {found}, not {status}: {reply}"
        return reply

    def sync(self, timeout):
        since = f"&since={quote(self.since)}" if self.since else ""
        reply = self.do("GET", f"/sync?timeout={timeout if self.since else 0}{since}")
        self.since = reply["next_batch"]
        parts = reply.get("rooms", {})
        for room_id, part in parts.get("join", {}).items():
            self.rooms.setdefault(room_id, Room()).take(part)
            for others in (self.invites, self.knocks, self.left):
                others.pop(room_id, None)
        for name, kept, member in (("invite", self.invites, "invite_state"), ("knock", self.knocks, "knock_state")):
            for room_id, part in parts.get(name, {}).items():
                kept[room_id] = part[member]["events"]
                self.rooms.pop(room_id, None)
        for room_id, part in parts.get("leave", {}).items():
            self.left[room_id] = self.rooms.pop(room_id, Room())
            self.left[room_id].take(part)
            self.invites.pop(room_id, None)
            self.knocks.pop(room_id, None)

    def sees(self, what, look, deadline=DEADLINE):
        """Syncs until `look` returns something truthy, and returns it."""
        end = time.monotonic() + deadline
        self.sync(0)
        while not (found := look()):
            assert time.monotonic() < end, f"{self.id} never saw {what}"
            self.sync(POLL)
        return found

    # What users do.

    def create_room(self, version, preset="public_chat", **options):
        body = {"preset": preset, "room_version": version, **options}
        room_id = self.do("POST", "/createRoom", body)["room_id"]
        self.sees("its own room", lambda: room_id in self.rooms)
        return room_id

    def join(self, room, via):
        """Joins by id or alias, over another server, until the own sync shows it."""
        reply = self.do("POST", f"/join/{quote(room, safe='')}?server_name={quote(via.name)}&via={quote(via.name)}", {})
        room_id = reply["room_id"]
        self.sees(f"itself in {room}", lambda: room_id in self.rooms and self.rooms[room_id].membership(self.id) == "join")
        return room_id

    def act(self, room_id, action, **body):
        """`invite`, `leave`, `kick`, `ban`, `unban`, `forget`."""
        return self.do("POST", f"/rooms/{quote(room_id)}/{action}", body)

    def send(self, room_id, kind, content):
        return self.do("PUT", f"/rooms/{quote(room_id)}/send/{kind}/{fresh_name('txn')}", content)["event_id"]

    def say(self, room_id, body):
        return self.send(room_id, "m.room.message", {"msgtype": "m.text", "body": body})

    def set_state(self, room_id, kind, content, key=""):
        return self.do("PUT", f"/rooms/{quote(room_id)}/state/{kind}/{quote(key, safe='')}", content)["event_id"]

    # What users see.

    def sees_event(self, room_id, event_id):
        return self.sees(f"event {event_id}", lambda: room_id in self.rooms and self.rooms[room_id].event(event_id))

    def sees_member(self, room_id, user_id, membership):
        return self.sees(
            f"{user_id} with membership {membership}",
            lambda: room_id in self.rooms and self.rooms[room_id].membership(user_id) == membership,
        )

    def messages(self, room_id):
        """All messages of the room, oldest first, by paging back to its beginning."""
        found, token = [], ""
        while True:
            page = self.do("GET", f"/rooms/{quote(room_id)}/messages?dir=b&limit=100{token}")
            found += [event for event in page["chunk"] if event["type"] == "m.room.message"]
            if not page.get("end"):
                return found[::-1]
            token = f"&from={quote(page['end'])}"

    def history(self, room_id):
        """The bodies of all messages of the room, oldest first."""
        return [event["content"].get("body") for event in self.messages(room_id)]

    def state(self, room_id):
        """The room's state as its server has it now: type and state key to event id."""
        events = self.do("GET", f"/rooms/{quote(room_id)}/state")
        return {(event["type"], event["state_key"]): event["event_id"] for event in events}


class Story(unittest.TestCase):
    """A test with a room's home and another server that takes part; `run.py` makes one for each pair and room version."""

    home = away = None
    version = None

    def user(self, server, stem):
        return User(server, stem)

    def pair(self):
        """A user of the room's home, and one of the other server."""
        return self.user(self.home, "alice"), self.user(self.away, "bob")

    def shared_room(self, **options):
        """A room that a user of each has joined, and whose members both see."""
        alice, bob = self.pair()
        room_id = alice.create_room(self.version, **options)
        bob.join(room_id, self.home)
        alice.sees_member(room_id, bob.id, "join")
        return alice, bob, room_id

    def moderated_room(self):
        """A shared room in which both may do everything."""
        alice, bob, room_id = self.shared_room()
        levels = alice.do("GET", f"/rooms/{quote(room_id)}/state/m.room.power_levels")
        levels.setdefault("users", {})[bob.id] = 100
        bob.sees_event(room_id, alice.set_state(room_id, "m.room.power_levels", levels))
        return alice, bob, room_id

    def assert_same_state(self, room_id, *users):
        """Waits until the servers of these users have the same state of the room."""
        end = time.monotonic() + DEADLINE
        while True:
            first, *others = [user.state(room_id) for user in users]
            if all(first == other for other in others):
                return
            if time.monotonic() > end:
                self.assertEqual(first, others[0])
            users[0].sync(POLL)
