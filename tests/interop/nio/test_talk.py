"""Two people talk, by matrix-nio."""

import nio
from harness import Story, User, fresh_name


class Talk(Story):
    async def test_register_and_log_in(self):
        user = await User(fresh_name("alice")).register()
        self.addAsyncCleanup(user.stop)
        first = user.client.device_id
        await user.log_in()
        self.assertTrue(first)
        me = await user.client.whoami()
        self.assertEqual((me.user_id, me.device_id), (user.id, user.client.device_id))
        wrong = await nio_login(self, user.name, "wrong")
        self.refused(wrong, 403)
        self.refused(await user.client.register(user.name, "x"), 400)

    async def test_invite_join_and_talk(self):
        alice, bob = await self.user("alice"), await self.user("bob")
        created = await alice.client.room_create(name="Two", topic="Talk", invite=[bob.id])
        room_id = created.room_id
        invitation = await bob.invitation(room_id)
        self.assertEqual((invitation.name, invitation.inviter), ("Two", alice.id))
        await bob.client.join(room_id)
        room = await bob.room(room_id)
        await bob.sees("the room's name and topic", lambda: (room.name, room.topic) == ("Two", "Talk"))
        await bob.sees("both members", lambda: set(room.users) == {alice.id, bob.id})
        for turn in range(10):
            speaker, listener = ((alice, bob), (bob, alice))[turn % 2]
            await listener.event(room_id, await speaker.say(room_id, f"turn {turn} 🌱"))
        for user in (alice, bob):
            await user.sees("all turns", lambda: len(user.bodies(room_id)) == 10)
            self.assertEqual(user.bodies(room_id), [f"turn {turn} 🌱" for turn in range(10)])

    async def test_edit_react_reply_redact(self):
        alice, bob = await self.user("alice"), await self.user("bob")
        room_id = await self.room_of(alice, bob)
        hello = await alice.say(room_id, "Helo")
        await bob.event(room_id, hello)

        new = {"msgtype": "m.text", "body": "Hello"}
        relation = {"rel_type": "m.replace", "event_id": hello}
        edit = await bob_sees(bob, room_id, alice.say(room_id, "* Hello", **{"m.new_content": new, "m.relates_to": relation}))
        self.assertEqual(edit.source["content"]["m.new_content"], new)
        original = await bob.client.room_get_event(room_id, hello)
        self.assertEqual(original.event.source["unsigned"]["m.relations"]["m.replace"]["event_id"], edit.event_id)

        annotation = {"rel_type": "m.annotation", "event_id": hello, "key": "👋"}
        reaction = await bob.send(room_id, "m.reaction", {"m.relates_to": annotation})
        seen = await alice.event(room_id, reaction)
        self.assertIsInstance(seen, nio.ReactionEvent)
        self.assertEqual((seen.reacts_to, seen.key, seen.sender), (hello, "👋", bob.id))

        reply = await bob.say(room_id, "Hi", **{"m.relates_to": {"m.in_reply_to": {"event_id": hello}}})
        seen = await alice.event(room_id, reply)
        self.assertEqual(seen.source["content"]["m.relates_to"]["m.in_reply_to"]["event_id"], hello)

        redacted = await bob.client.room_redact(room_id, reply, reason="never mind")
        self.assertIsInstance(redacted, nio.RoomRedactResponse, redacted)
        seen = await alice.event(room_id, redacted.event_id)
        self.assertIsInstance(seen, nio.RedactionEvent)
        self.assertEqual((seen.redacts, seen.reason), (reply, "never mind"))
        gone = await alice.client.room_get_event(room_id, reply)
        self.assertIsInstance(gone.event, nio.RedactedEvent)

    async def test_read_and_type(self):
        alice, bob = await self.user("alice"), await self.user("bob")
        room_id = await self.room_of(alice, bob)
        room, others = await alice.room(room_id), await bob.room(room_id)
        word = await alice.say(room_id, "read me")
        await bob.event(room_id, word)
        await bob.sees("one unread message", lambda: others.unread_notifications == 1)
        await bob.client.room_read_markers(room_id, word, word)
        await alice.sees("the receipt", lambda: bob.id in room.read_receipts and room.read_receipts[bob.id].event_id == word)
        await bob.sees("its own marker", lambda: others.fully_read_marker == word)
        await bob.sees("nothing unread", lambda: others.unread_notifications == 0)

        threaded = await alice.say(room_id, "in a thread", **{"m.relates_to": {"rel_type": "m.thread", "event_id": word}})
        await bob.event(room_id, threaded)
        await bob.client.update_receipt_marker(room_id, threaded, thread_id=word)
        receipts = lambda: room.threaded_read_receipts.get(bob.id, {})  # noqa: E731
        await alice.sees("the receipt in the thread", lambda: word in receipts() and receipts()[word].event_id == threaded)

        await bob.client.room_typing(room_id, True)
        await alice.sees("bob typing", lambda: room.typing_users == [bob.id])
        await bob.client.room_typing(room_id, False)
        await alice.sees("bob stop", lambda: room.typing_users == [])

    async def test_change_the_profile(self):
        alice, bob = await self.user("alice"), await self.user("bob")
        room_id = await self.room_of(alice, bob)
        room = await alice.room(room_id)
        await bob.client.set_displayname("Bob the Builder")
        await bob.client.set_avatar("mxc://example.org/bob")
        await alice.sees("the new name", lambda: room.users[bob.id].display_name == "Bob the Builder")
        await alice.sees("the new face", lambda: room.users[bob.id].avatar_url == "mxc://example.org/bob")
        profile = await alice.client.get_profile(bob.id)
        self.assertEqual((profile.displayname, profile.avatar_url), ("Bob the Builder", "mxc://example.org/bob"))

    async def test_leave_return_kick_and_ban(self):
        alice, bob = await self.user("alice"), await self.user("bob")
        room_id = await self.room_of(alice, bob)
        room = await alice.room(room_id)
        await bob.client.room_leave(room_id)
        await alice.sees("bob leave", lambda: bob.id not in room.users)
        self.refused(await bob.client.join(room_id), 403)

        await alice.client.room_invite(room_id, bob.id)
        await bob.invitation(room_id)
        await bob.client.join(room_id)
        await alice.sees("bob back", lambda: bob.id in room.users and bob.id not in room.invited_users)
        await bob.event(room_id, await alice.say(room_id, "welcome back"))

        await alice.client.room_kick(room_id, bob.id, "out")
        await alice.sees("bob out", lambda: bob.id not in room.users)
        await alice.client.room_ban(room_id, bob.id)
        self.refused(await bob.client.join(room_id), 403)
        await alice.client.room_unban(room_id, bob.id)
        state = await alice.client.room_get_state_event(room_id, "m.room.member", bob.id)
        self.assertEqual(state.content["membership"], "leave")

    async def test_knock(self):
        alice, bob = await self.user("alice"), await self.user("bob")
        room_id = await self.room_of(alice)
        self.assertIsInstance(await alice.client.room_enable_knocking(room_id), nio.RoomPutStateResponse)
        knocked = await bob.client.room_knock(room_id, "may I?")
        self.assertIsInstance(knocked, nio.RoomKnockResponse, knocked)
        state = await alice.client.room_get_state_event(room_id, "m.room.member", bob.id)
        self.assertEqual((state.content["membership"], state.content["reason"]), ("knock", "may I?"))
        await alice.client.room_invite(room_id, bob.id)
        await bob.invitation(room_id)
        await bob.client.join(room_id)
        await bob.room(room_id)

    async def test_scroll_back(self):
        alice, bob = await self.user("alice"), await self.user("bob")
        room_id = await self.room_of(alice, bob)
        said = [f"message {number}" for number in range(500)]
        for body in said:
            last = await alice.say(room_id, body)
        await bob.event(room_id, last)
        self.assertEqual(bob.bodies(room_id), said)

        late = await self.device(bob, sync_filter={"room": {"timeline": {"limit": 10}}})
        await late.event(room_id, last)
        self.assertEqual(late.bodies(room_id), said[-10:])
        token, found, kinds = (await late.room(room_id)) and late.client.next_batch, [], []
        for _ in range(50):
            page = await late.client.room_messages(room_id, token, limit=50)
            self.assertIsInstance(page, nio.RoomMessagesResponse, page)
            kinds += [event.source["type"] for event in page.chunk]
            found += [event.body for event in page.chunk if isinstance(event, nio.RoomMessageText)]
            token = page.end
            if not token:
                break
        self.assertEqual(found, said[::-1])
        self.assertEqual(kinds[-1], "m.room.create")

        context = await late.client.room_context(room_id, last, limit=10)
        self.assertEqual(context.event.event_id, last)
        self.assertEqual([event.body for event in context.events_before][:5], said[-6:-1][::-1])

    async def test_state_and_power(self):
        alice, bob = await self.user("alice"), await self.user("bob")
        room_id = await self.room_of(alice, bob)
        room = await bob.room(room_id)
        put = await alice.client.room_put_state(room_id, "m.room.topic", {"topic": "News"})
        self.assertIsInstance(put, nio.RoomPutStateResponse, put)
        await bob.sees("the topic", lambda: room.topic == "News")
        self.refused(await bob.client.room_put_state(room_id, "m.room.topic", {"topic": "Mine"}), 403)
        kinds = {event["type"] for event in (await bob.client.room_get_state(room_id)).events}
        self.assertLessEqual({"m.room.create", "m.room.member", "m.room.power_levels", "m.room.topic"}, kinds)
        members = await bob.client.joined_members(room_id)
        self.assertEqual({member.user_id for member in members.members}, {alice.id, bob.id})
        self.assertEqual((await bob.client.joined_rooms()).rooms, [room_id])

    async def test_devices_and_logout(self):
        alice = await self.user("alice")
        second = await self.device(alice)
        devices = (await alice.client.devices()).devices
        self.assertEqual({device.id for device in devices}, {alice.client.device_id, second.client.device_id})
        await alice.client.update_device(second.client.device_id, {"display_name": "renamed"})
        names = {device.id: device.display_name for device in (await alice.client.devices()).devices}
        self.assertEqual(names[second.client.device_id], "renamed")
        token = second.client.access_token
        await second.pause()
        await second.client.logout()
        alice.client.access_token, own = token, alice.client.access_token
        self.refused(await alice.client.whoami(), 401)
        alice.client.access_token = own


async def bob_sees(bob, room_id, sending):
    return await bob.event(room_id, await sending)


async def nio_login(test, name, password):
    stranger = User(name)
    test.addAsyncCleanup(stranger.client.close)
    return await stranger.client.login(password)
