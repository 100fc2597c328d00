"""What two servers that share a room tell each other."""

from harness import Story, fresh_name, quote


class Talking(Story):
    def test_messages(self):
        alice, bob, room_id = self.shared_room()
        for number in range(5):
            for sender, body in ((alice, f"alice {number}"), (bob, f"bob {number}")):
                event_id = sender.say(room_id, body)
                for user in (alice, bob):
                    user.sees_event(room_id, event_id)
        expected = [f"{name} {number}" for number in range(5) for name in ("alice", "bob")]
        for user in (alice, bob):
            self.assertEqual(user.rooms[room_id].bodies(), expected)
            self.assertEqual(user.history(room_id), expected)

    def test_many_messages_at_once(self):
        alice, bob, room_id = self.shared_room()
        sent = [alice.say(room_id, str(number)) for number in range(120)]
        bob.sees_event(room_id, sent[-1])
        self.assertEqual(bob.history(room_id), [str(number) for number in range(120)])

    def test_state(self):
        alice, bob, room_id = self.shared_room()
        topic = alice.set_state(room_id, "m.room.topic", {"topic": "of alice"})
        bob.sees_event(room_id, topic)
        bob.refused(403, "PUT", f"/rooms/{quote(room_id)}/state/m.room.topic", {"topic": "of bob"})
        levels = alice.do("GET", f"/rooms/{quote(room_id)}/state/m.room.power_levels")
        levels.setdefault("users", {})[bob.id] = 50
        bob.sees_event(room_id, alice.set_state(room_id, "m.room.power_levels", levels))
        alice.sees_event(room_id, bob.set_state(room_id, "m.room.topic", {"topic": "of bob"}))
        self.assert_same_state(room_id, alice, bob)

    def test_redactions(self):
        alice, bob, room_id = self.shared_room()
        for sender, reader in ((alice, bob), (bob, alice), (bob, alice)):
            event_id = sender.say(room_id, "never said")
            reader.sees_event(room_id, event_id)
            # The last one by the moderator.
            redactor = alice if sender is bob and reader.rooms[room_id].bodies().count("never said") > 2 else sender
            path = f"/rooms/{quote(room_id)}/redact/{quote(event_id)}/{fresh_name('txn')}"
            redaction = redactor.do("PUT", path, {"reason": "oops"})["event_id"]
            for user in (alice, bob):
                user.sees_event(room_id, redaction)
                shown = user.do("GET", f"/rooms/{quote(room_id)}/event/{quote(event_id)}")
                self.assertEqual(shown["content"], {})
                self.assertEqual(shown["unsigned"]["redacted_because"]["event_id"], redaction)

    def test_old_messages_are_fetched(self):
        alice, bob = self.pair()
        room_id = alice.create_room(self.version)
        for number in range(200):
            alice.say(room_id, str(number))
        bob.join(room_id, self.home)
        self.assertEqual(bob.history(room_id), [str(number) for number in range(200)])

    def test_typing(self):
        alice, bob, room_id = self.shared_room()
        for writer, reader in ((alice, bob), (bob, alice)):
            path = f"/rooms/{quote(room_id)}/typing/{writer.id}"
            writer.do("PUT", path, {"typing": True, "timeout": 30000})
            reader.sees("somebody typing", lambda: reader.rooms[room_id].typing == [writer.id])
            writer.do("PUT", path, {"typing": False})
            reader.sees("nobody typing", lambda: not reader.rooms[room_id].typing)

    def test_receipts(self):
        alice, bob, room_id = self.shared_room()
        for writer, reader in ((alice, bob), (bob, alice)):
            event_id = writer.say(room_id, "read me")
            reader.sees_event(room_id, event_id)
            reader.do("POST", f"/rooms/{quote(room_id)}/receipt/m.read/{quote(event_id)}", {})
            writer.sees("the receipt", lambda: writer.rooms[room_id].receipts.get(reader.id) == event_id)

    def test_a_new_name(self):
        alice, bob, room_id = self.shared_room()
        for changed, reader in ((alice, bob), (bob, alice)):
            changed.do("PUT", f"/profile/{changed.id}/displayname", {"displayname": "New name"})
            reader.sees(
                "the new name",
                lambda: reader.rooms[room_id].content("m.room.member", changed.id).get("displayname") == "New name",
            )
        self.assert_same_state(room_id, alice, bob)
