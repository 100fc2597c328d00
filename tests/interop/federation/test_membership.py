"""Coming and going between two servers: joins, invites, knocks, kicks and bans."""

from harness import Story, fresh_name, quote
from servers import Synapse


class Joining(Story):
    def test_by_id(self):
        alice, bob, room_id = self.shared_room(name="The room")
        self.assertEqual(bob.rooms[room_id].content("m.room.name")["name"], "The room")
        self.assertEqual(bob.rooms[room_id].content("m.room.create").get("room_version"), self.version)
        self.assert_same_state(room_id, alice, bob)

    def test_by_alias(self):
        alice, bob = self.pair()
        name = fresh_name("room")
        room_id = alice.create_room(self.version, room_alias_name=name)
        alias = quote(f"#{name}:{self.home.name}")
        reply = bob.do("POST", f"/join/{alias}", {})
        self.assertEqual(reply["room_id"], room_id)
        alice.sees_member(room_id, bob.id, "join")

    def test_is_refused_where_an_invite_is_needed(self):
        alice, bob = self.pair()
        room_id = alice.create_room(self.version, preset="private_chat")
        bob.refused(403, "POST", f"/join/{quote(room_id)}?server_name={quote(self.home.name)}&via={quote(self.home.name)}", {})
        self.assertEqual(alice.rooms[room_id].membership(bob.id), "leave")

    def test_of_a_restricted_room(self):
        alice, bob = self.pair()
        stranger = self.user(self.away, "stranger")
        club = alice.create_room(self.version)
        rule = {"join_rule": "restricted", "allow": [{"type": "m.room_membership", "room_id": club}]}
        initial = [{"type": "m.room.join_rules", "state_key": "", "content": rule}]
        room_id = alice.create_room(self.version, preset="private_chat", initial_state=initial)
        bob.join(club, self.home)
        bob.join(room_id, self.home)
        member = alice.sees_member(room_id, bob.id, "join") and alice.rooms[room_id].content("m.room.member", bob.id)
        self.assertEqual(member["join_authorised_via_users_server"], alice.id)
        via = f"?server_name={quote(self.home.name)}&via={quote(self.home.name)}"
        stranger.refused(403, "POST", f"/join/{quote(room_id)}{via}", {})

    def test_again_after_leaving(self):
        alice, bob, room_id = self.shared_room()
        before = bob.say(room_id, "before")
        alice.sees_event(room_id, before)
        bob.act(room_id, "leave")
        alice.sees_member(room_id, bob.id, "leave")
        bob.sees("that it has left", lambda: room_id in bob.left)
        alice.say(room_id, "meanwhile")
        bob.join(room_id, self.home)
        alice.sees_member(room_id, bob.id, "join")
        after = alice.say(room_id, "after")
        bob.sees_event(room_id, after)
        self.assertEqual(bob.history(room_id), ["before", "meanwhile", "after"])
        self.assert_same_state(room_id, alice, bob)


class Inviting(Story):
    def invited(self):
        alice, bob = self.pair()
        room_id = alice.create_room(self.version, preset="private_chat", name="Come in")
        alice.act(room_id, "invite", user_id=bob.id)
        shown = bob.sees("the invite", lambda: bob.invites.get(room_id))
        self.assertIn(("m.room.name", "Come in"), [(event["type"], event["content"].get("name")) for event in shown])
        alice.sees_member(room_id, bob.id, "invite")
        return alice, bob, room_id

    def test_is_accepted(self):
        alice, bob, room_id = self.invited()
        # No server is named: the invite tells the way.
        bob.do("POST", f"/join/{quote(room_id)}", {})
        alice.sees_member(room_id, bob.id, "join")
        bob.sees_event(room_id, alice.say(room_id, "welcome"))
        self.assert_same_state(room_id, alice, bob)

    def test_is_rejected(self):
        alice, bob, room_id = self.invited()
        bob.act(room_id, "leave")
        alice.sees_member(room_id, bob.id, "leave")
        bob.sees("no invite any more", lambda: room_id not in bob.invites)

    def test_is_taken_back(self):
        alice, bob, room_id = self.invited()
        alice.act(room_id, "kick", user_id=bob.id)
        bob.sees("no invite any more", lambda: room_id not in bob.invites)

    def test_on_a_server_that_is_in_the_room(self):
        alice, bob, room_id = self.shared_room()
        carol = self.user(self.away, "carol")
        alice.act(room_id, "invite", user_id=carol.id)
        carol.sees("the invite", lambda: room_id in carol.invites)
        carol.do("POST", f"/join/{quote(room_id)}", {})
        for user in (alice, bob):
            user.sees_member(room_id, carol.id, "join")

    def test_the_guest_of_a_guest(self):
        alice, bob, room_id = self.moderated_room()
        dave = self.user(self.home, "dave")
        bob.act(room_id, "invite", user_id=dave.id)
        dave.sees("the invite", lambda: room_id in dave.invites)
        dave.do("POST", f"/join/{quote(room_id)}", {})
        bob.sees_member(room_id, dave.id, "join")


class Knocking(Story):
    def knocked(self):
        alice, bob = self.pair()
        rule = {"type": "m.room.join_rules", "state_key": "", "content": {"join_rule": "knock"}}
        room_id = alice.create_room(self.version, preset="private_chat", name="Knock", initial_state=[rule])
        via = f"?server_name={quote(self.home.name)}&via={quote(self.home.name)}"
        bob.do("POST", f"/knock/{quote(room_id)}{via}", {"reason": "please"})
        alice.sees_member(room_id, bob.id, "knock")
        self.assertEqual(alice.rooms[room_id].content("m.room.member", bob.id)["reason"], "please")
        shown = bob.sees("its knock", lambda: bob.knocks.get(room_id))
        self.assertIn(("m.room.name", "Knock"), [(event["type"], event["content"].get("name")) for event in shown])
        return alice, bob, room_id

    def test_is_answered(self):
        alice, bob, room_id = self.knocked()
        alice.act(room_id, "invite", user_id=bob.id)
        bob.sees("the invite", lambda: room_id in bob.invites)
        bob.do("POST", f"/join/{quote(room_id)}", {})
        alice.sees_member(room_id, bob.id, "join")

    def test_is_taken_back(self):
        if isinstance(self.away, Synapse):
            self.skipTest("Synapse takes a knock back for itself alone")
        alice, bob, room_id = self.knocked()
        bob.act(room_id, "leave")
        alice.sees_member(room_id, bob.id, "leave")
        bob.sees("no knock any more", lambda: room_id not in bob.knocks)


class PuttingOut(Story):
    def test_by_a_kick(self):
        alice, bob, room_id = self.shared_room()
        alice.act(room_id, "kick", user_id=bob.id, reason="enough")
        bob.sees("that it was kicked", lambda: room_id in bob.left)
        bob.refused(403, "PUT", f"/rooms/{quote(room_id)}/send/m.room.message/{fresh_name('txn')}", {"body": "still here"})
        bob.join(room_id, self.home)
        alice.sees_member(room_id, bob.id, "join")

    def test_by_a_ban(self):
        alice, bob, room_id = self.shared_room()
        alice.act(room_id, "ban", user_id=bob.id, reason="enough")
        bob.sees("that it was banned", lambda: room_id in bob.left)
        self.assertEqual(bob.left[room_id].membership(bob.id), "ban")
        via = f"?server_name={quote(self.home.name)}&via={quote(self.home.name)}"
        bob.refused(403, "POST", f"/join/{quote(room_id)}{via}", {})
        alice.act(room_id, "unban", user_id=bob.id)
        bob.join(room_id, self.home)
        alice.sees_member(room_id, bob.id, "join")
        self.assert_same_state(room_id, alice, bob)
