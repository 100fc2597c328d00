"""Users of the server under test, as matrix-nio shows them.

Nothing here sleeps: `User.sees` looks at nio's own objects again after each answered sync, until what is expected is there, or
the deadline has passed and the test fails with the expectation's name.
"""

import asyncio
import itertools
import logging
import os
import time
import unittest

import nio

#: The server under test.
URL = os.environ["INTEROP_URL"]
#: How long anything may take to show, in seconds: far more than it takes on a loaded machine.
DEADLINE = float(os.environ.get("INTEROP_DEADLINE_MS", "20000")) / 1000
#: How long a sync may be held by the server, in milliseconds.
POLL = 10_000

logging.getLogger("nio").setLevel(logging.CRITICAL)
_numbers = itertools.count()


def fresh_name(stem):
    """A name that no other user of this run has."""
    return f"nio_{stem}_{os.getpid()}_{time.time_ns():x}_{next(_numbers)}"


class User:
    """One account on one device, with its sync loop."""

    def __init__(self, name):
        self.name = name
        self.password = f"password of {name}"
        self.client = nio.AsyncClient(URL, name)
        self.events = {}
        self.client.add_event_callback(self._keep, nio.Event)
        self._loop = None

    def _keep(self, room, event):
        self.events.setdefault(room.room_id, []).append(event)

    @property
    def id(self):
        return self.client.user_id

    async def register(self):
        reply = await self.client.register(self.name, self.password, "interop")
        assert isinstance(reply, nio.RegisterResponse), reply
        return self

    async def log_in(self):
        reply = await self.client.login(self.password, "interop")
        assert isinstance(reply, nio.LoginResponse), reply
        return self

    async def start(self, **options):
        """Runs the sync loop; returns when the first sync is shown."""
        self._loop = asyncio.create_task(self.client.sync_forever(timeout=POLL, **options))
        await self.sees("the first sync", lambda: self.client.next_batch)
        return self

    async def stop(self):
        await self.pause()
        await self.client.close()

    async def pause(self):
        """Ends the sync loop."""
        if self._loop is not None:
            self._loop.cancel()
            await asyncio.gather(self._loop, return_exceptions=True)
            self._loop = None

    async def sees(self, what, look):
        """Waits until `look` returns something truthy, and returns it."""
        end = time.monotonic() + DEADLINE
        while not (found := look()):
            if self._loop is not None and self._loop.done():
                self._loop.result()
            try:
                await asyncio.wait_for(self.client.synced.wait(), end - time.monotonic())
            except TimeoutError:
                raise AssertionError(f"{self.id} never saw {what}") from None
        return found

    async def room(self, room_id):
        """The room, once it is one of this user's."""
        return await self.sees(f"{room_id} as one of its rooms", lambda: self.client.rooms.get(room_id))

    async def invitation(self, room_id):
        return await self.sees(f"the invitation to {room_id}", lambda: self.client.invited_rooms.get(room_id))

    async def event(self, room_id, event_id):
        """The event as the sync loop delivered it."""
        return await self.sees(
            f"event {event_id}",
            lambda: next((event for event in self.events.get(room_id, []) if event.event_id == event_id), None),
        )

    async def say(self, room_id, body, **content):
        return await self.send(room_id, "m.room.message", {"msgtype": "m.text", "body": body, **content})

    async def send(self, room_id, kind, content):
        reply = await self.client.room_send(room_id, kind, content)
        assert isinstance(reply, nio.RoomSendResponse), reply
        return reply.event_id

    def bodies(self, room_id):
        """The bodies of the texts that the sync loop delivered, in the order of delivery."""
        return [event.body for event in self.events.get(room_id, []) if isinstance(event, nio.RoomMessageText)]


class Story(unittest.IsolatedAsyncioTestCase):
    """A test with users that are stopped at its end."""

    async def user(self, stem, **options):
        user = await User(fresh_name(stem)).register()
        self.addAsyncCleanup(user.stop)
        return await user.start(**options)

    async def device(self, user, **options):
        """Another device of that user."""
        device = User(user.name)
        self.addAsyncCleanup(device.stop)
        await device.log_in()
        return await device.start(**options)

    async def room_of(self, creator, *others, **options):
        """A room that all of them have joined."""
        reply = await creator.client.room_create(invite=[other.id for other in others], **options)
        self.assertIsInstance(reply, nio.RoomCreateResponse, reply)
        room = await creator.room(reply.room_id)
        for other in others:
            await other.invitation(reply.room_id)
            joined = await other.client.join(reply.room_id)
            self.assertIsInstance(joined, nio.JoinResponse, joined)
            await other.room(reply.room_id)
            await creator.sees(f"{other.id} join", lambda: self._joined(room, other.id))
        return reply.room_id

    @staticmethod
    def _joined(room, user_id):
        return user_id in room.users and user_id not in room.invited_users

    def refused(self, reply, status):
        self.assertIsInstance(reply, nio.ErrorResponse, reply)
        self.assertEqual(reply.transport_response.status, status, reply)
