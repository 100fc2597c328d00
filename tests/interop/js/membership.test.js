// Coming and going: invitations, refusals, kicks, bans, knocks, forgetting, profiles.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { everyoneOffline, online, refused } from "./harness.js";

describe("membership", () => {
    let alice;
    let bob;
    let carol;

    const memberships = (user, roomId, ...who) => who.map((other) => user.member(roomId, other.id)?.membership);

    before(async () => {
        [alice, bob, carol] = await Promise.all([online("alice"), online("bob"), online("carol")]);
    });
    after(everyoneOffline);

    it("declines an invitation", async () => {
        const { room_id: roomId } = await alice.client.createRoom({ preset: "private_chat", invite: [bob.id] });
        await bob.room(roomId, "invite");
        await bob.client.leave(roomId);
        await bob.room(roomId, "leave");
        await alice.shows("the refusal", () => memberships(alice, roomId, bob), ["leave"]);
        await refused(bob.client.joinRoom(roomId), 403, "M_FORBIDDEN");
    });

    it("marks a direct chat in its invitation", async () => {
        const { room_id: roomId } = await alice.client.createRoom({
            preset: "trusted_private_chat",
            is_direct: true,
            invite: [bob.id],
        });
        const room = await bob.room(roomId, "invite");
        await bob.shows("who asks", () => room.getDMInviter(), alice.id);
        await bob.client.joinRoom(roomId);
        await bob.room(roomId);
        // 100, or beyond all numbers where the room version has creators.
        await bob.sees("to be trusted like the creator", () => {
            const [own, creators] = [bob, alice].map((user) => room.getMember(user.id)?.powerLevel);
            return own >= 100 && own === creators;
        });
    });

    it("joins a public room by its id, and sees what was said before", async () => {
        const { room_id: roomId } = await alice.client.createRoom({ preset: "public_chat" });
        const word = await alice.say(roomId, "said before");
        await bob.client.joinRoom(roomId);
        await bob.room(roomId);
        await bob.event(roomId, word);
        const listed = await bob.client.getJoinedRooms();
        assert.ok(listed.joined_rooms.includes(roomId));
    });

    it("joins a public room by its alias", async () => {
        const localpart = `alias_${process.pid}_${Date.now().toString(36)}`;
        const { room_id: roomId } = await alice.client.createRoom({ preset: "public_chat", room_alias_name: localpart });
        const room = await alice.room(roomId);
        const alias = `#${localpart}:${alice.client.getDomain()}`;
        await alice.shows("the alias", () => room.getCanonicalAlias(), alias);
        await bob.client.joinRoom(alias);
        await bob.room(roomId);
    });

    it("kicks, and the kicked one is out until asked again", async () => {
        const roomId = await alice.roomWith([bob, carol]);
        await refused(carol.client.kick(roomId, bob.id), 403, "M_FORBIDDEN");
        await alice.client.kick(roomId, bob.id, "too loud");
        const room = await bob.room(roomId, "leave");
        assert.equal(room.getMember(bob.id).events.member.getContent().reason, "too loud");
        assert.ok(room.getMember(bob.id).isKicked());
        await carol.shows("bob out", () => memberships(carol, roomId, bob), ["leave"]);
        await refused(bob.client.sendTextMessage(roomId, "let me in"), 403, "M_FORBIDDEN");
        const after = await alice.say(roomId, "peace");
        await carol.event(roomId, after);
        assert.equal(bob.client.getRoom(roomId).findEventById(after), undefined);
        await alice.client.invite(roomId, bob.id);
        await bob.room(roomId, "invite");
        await bob.client.joinRoom(roomId);
        await alice.shows("bob back", () => memberships(alice, roomId, bob), ["join"]);
    });

    it("bans, refuses the banned one's return, and unbans", async () => {
        const { room_id: roomId } = await alice.client.createRoom({ preset: "public_chat" });
        await bob.client.joinRoom(roomId);
        await bob.room(roomId);
        await alice.client.ban(roomId, bob.id, "spam");
        await bob.room(roomId, "ban");
        await alice.shows("bob banned", () => memberships(alice, roomId, bob), ["ban"]);
        await refused(bob.client.joinRoom(roomId), 403);
        await refused(alice.client.invite(roomId, bob.id), 403);
        await alice.client.unban(roomId, bob.id);
        await alice.shows("bob unbanned", () => memberships(alice, roomId, bob), ["leave"]);
        await bob.client.joinRoom(roomId);
        await bob.room(roomId);
    });

    it("knocks, and is let in", async () => {
        const { room_id: roomId } = await alice.client.createRoom({
            name: "Behind the door",
            initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: "knock" } }],
        });
        await alice.room(roomId);
        await refused(bob.client.joinRoom(roomId), 403, "M_FORBIDDEN");
        await bob.client.knockRoom(roomId, { reason: "may I?" });
        const room = await bob.room(roomId, "knock");
        await bob.shows("the room's name", () => room.name, "Behind the door");
        await alice.shows("the knock", () => memberships(alice, roomId, bob), ["knock"]);
        assert.equal(alice.member(roomId, bob.id).events.member.getContent().reason, "may I?");
        await alice.client.invite(roomId, bob.id);
        await bob.room(roomId, "invite");
        await bob.client.joinRoom(roomId);
        await bob.room(roomId);
    });

    it("takes a knock back", async () => {
        const { room_id: roomId } = await alice.client.createRoom({
            initial_state: [{ type: "m.room.join_rules", state_key: "", content: { join_rule: "knock" } }],
        });
        await bob.client.knockRoom(roomId);
        await bob.room(roomId, "knock");
        await bob.client.leave(roomId);
        await bob.room(roomId, "leave");
        await alice.shows("it gone", () => memberships(alice, roomId, bob), ["leave"]);
    });

    it("forgets a room that was left", async () => {
        const roomId = await alice.roomWith([bob]);
        await refused(bob.client.forget(roomId, false), 400, "M_UNKNOWN");
        await bob.client.leave(roomId);
        await bob.room(roomId, "leave");
        await bob.client.forget(roomId);
        assert.equal(bob.client.getRoom(roomId), null);
        await refused(bob.client.createMessagesRequest(roomId, null, 10, "b"), 403, "M_FORBIDDEN");
    });

    it("changes the display name and the avatar in every room", async () => {
        const first = await alice.roomWith([bob]);
        const second = await alice.roomWith([bob]);
        await bob.client.setDisplayName("Bob the Builder");
        await bob.client.setAvatarUrl("mxc://example.org/bob");
        for (const roomId of [first, second]) {
            await alice.shows(
                "bob's new name and face",
                () => [alice.member(roomId, bob.id).name, alice.member(roomId, bob.id).getMxcAvatarUrl()],
                ["Bob the Builder", "mxc://example.org/bob"],
            );
        }
        const profile = await alice.client.getProfileInfo(bob.id);
        assert.deepEqual(
            [profile.displayname, profile.avatar_url],
            ["Bob the Builder", "mxc://example.org/bob"],
        );
        assert.equal((await carol.client.getProfileInfo(bob.id, "displayname")).displayname, "Bob the Builder");
        // The members of a room that has no name of its own make its name.
        await alice.shows("it as the room's name", () => alice.client.getRoom(first).name, "Bob the Builder");
    });

    it("tells two of the same name apart", async () => {
        const roomId = await alice.roomWith([bob, carol]);
        await bob.client.setDisplayName("Twin");
        await carol.client.setDisplayName("Twin");
        await alice.shows(
            "both with their ids",
            () => [alice.member(roomId, bob.id).name, alice.member(roomId, carol.id).name],
            [`Twin (${bob.id})`, `Twin (${carol.id})`],
        );
    });
});
