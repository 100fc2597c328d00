"""Servers that do not hear each other for a while, and what is the same afterwards."""

import threading

from harness import Story
from servers import Myelin, interop

#: How long it may take until all is the same again, in seconds: until a request to a server that hung has timed out, and more.
LONG = 90


class Trouble(Story):
    def assert_all_is_there(self, room_id, users, sent):
        def ids(user):
            return [event["event_id"] for event in user.messages(room_id)]

        for user in users:
            user.sees("all that was sent", lambda: set(sent) <= set(ids(user)), LONG)
            found = ids(user)
            self.assertEqual(len(found), len(set(found)), "each once")
        # What was written although nobody was told so is there for both or for none.
        users[0].sees("the same as the other", lambda: len({frozenset(ids(user)) for user in users}) == 1)
        self.assert_same_state(room_id, *users)

    def test_a_partition_heals(self):
        alice, bob, room_id = self.moderated_room()
        sent = [bob.say(room_id, "hello")]
        alice.sees_event(room_id, sent[0])
        self.away.pause()
        sent += [alice.say(room_id, f"alice alone {number}") for number in range(5)]
        alice.set_state(room_id, "m.room.topic", {"topic": "of alice"})
        alice.set_state(room_id, "m.room.name", {"name": "of alice"})
        self.home.pause()
        self.away.go_on()
        sent += [bob.say(room_id, f"bob alone {number}") for number in range(5)]
        bob.set_state(room_id, "m.room.topic", {"topic": "of bob"})
        self.home.go_on()
        # Whoever speaks again wakes who had given up.
        sent += [alice.say(room_id, "alice again"), bob.say(room_id, "bob again")]
        self.assert_all_is_there(room_id, (alice, bob), sent)

    def test_kill_9_under_load(self):
        alice, bob, room_id = self.moderated_room()
        victim = self.home if isinstance(self.home, Myelin) else self.away
        sent, enough = [], threading.Event()

        def write(user):
            for number in range(200):
                try:
                    sent.append(user.say(room_id, f"{user.id} {number}"))
                except interop.Down:
                    break
                if len(sent) >= 60:
                    enough.set()
            enough.set()

        writers = [threading.Thread(target=write, args=(user,)) for user in (alice, bob)]
        for writer in writers:
            writer.start()
        enough.wait()
        victim.kill()
        for writer in writers:
            writer.join()
        victim.start()
        sent += [user.say(room_id, f"{user.id} again") for user in (alice, bob)]
        self.assert_all_is_there(room_id, (alice, bob), sent)
