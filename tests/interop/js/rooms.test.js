// Rooms and their state: presets, versions, power levels, state events, transaction ids.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { everyoneOffline, online, refused } from "./harness.js";

describe("rooms", () => {
    let alice;
    let bob;

    const state = (user, roomId, type, key = "") =>
        user.client.getRoom(roomId).getLiveTimeline().getState("f").getStateEvents(type, key)?.getContent();

    before(async () => {
        [alice, bob] = await Promise.all([online("alice"), online("bob")]);
    });
    after(everyoneOffline);

    for (const [preset, joinRule, visibility, guests] of [
        ["private_chat", "invite", "shared", "can_join"],
        ["trusted_private_chat", "invite", "shared", "can_join"],
        ["public_chat", "public", "shared", "forbidden"],
    ]) {
        it(`makes a room by the preset ${preset}`, async () => {
            const { room_id: roomId } = await alice.client.createRoom({ preset });
            const room = await alice.room(roomId);
            await alice.shows("its rules", () => [room.getJoinRule(), room.getHistoryVisibility()], [joinRule, visibility]);
            await alice.shows("its guests' access", () => room.getGuestAccess(), guests);
        });
    }

    for (let version = 1; version <= 12; version += 1) {
        it(`makes a room of version ${version} in which two talk`, async () => {
            const { room_id: roomId } = await alice.client.createRoom({
                preset: "private_chat",
                room_version: String(version),
                invite: [bob.id],
            });
            const room = await alice.room(roomId);
            await alice.shows("its version", () => room.getVersion(), String(version));
            await bob.room(roomId, "invite");
            await bob.client.joinRoom(roomId);
            await bob.room(roomId);
            const word = await bob.say(roomId, "hello");
            await alice.event(roomId, word);
            await bob.client.redactEvent(roomId, word);
            await alice.sees("the redaction", () => room.findEventById(word)?.isRedacted());
            assert.ok(room.getLiveTimeline().getState("f").maySendStateEvent("m.room.name", alice.id));
            assert.ok(!room.getLiveTimeline().getState("f").maySendStateEvent("m.room.name", bob.id));
        });
    }

    it("makes a room with everything that createRoom takes", async () => {
        const { room_id: roomId } = await alice.client.createRoom({
            name: "Everything",
            topic: "All of it",
            preset: "private_chat",
            creation_content: { "type": "m.space", "m.federate": false },
            initial_state: [
                { type: "org.example.thing", state_key: "a key", content: { one: 1 } },
                { type: "m.room.encryption", state_key: "", content: { algorithm: "m.megolm.v1.aes-sha2" } },
            ],
            power_level_content_override: { events_default: 25, users_default: 30 },
        });
        const room = await alice.room(roomId);
        await alice.shows("its name", () => room.name, "Everything");
        assert.equal(room.getType(), "m.space");
        assert.equal(state(alice, roomId, "m.room.create")["m.federate"], false);
        assert.deepEqual(state(alice, roomId, "org.example.thing", "a key"), { one: 1 });
        assert.ok(room.hasEncryptionStateEvent());
        assert.equal(state(alice, roomId, "m.room.power_levels").events_default, 25);
        assert.equal(state(alice, roomId, "m.room.power_levels").users_default, 30);
    });

    it("sets and gets state, also under an empty and an odd key", async () => {
        const roomId = await alice.roomWith([bob]);
        for (const key of ["", "plain", "a/b c%2Fd+é"]) {
            await alice.client.sendStateEvent(roomId, "org.example.state", { at: key }, key);
            await bob.shows(`the state at "${key}"`, () => state(bob, roomId, "org.example.state", key), { at: key });
            assert.deepEqual(await bob.client.getStateEvent(roomId, "org.example.state", key), { at: key });
        }
        await refused(bob.client.getStateEvent(roomId, "org.example.state", "none"), 404, "M_NOT_FOUND");
        const all = await bob.client.roomState(roomId);
        assert.equal(all.filter((event) => event.type === "org.example.state").length, 3);
    });

    it("gives power, and takes heed of it", async () => {
        const roomId = await alice.roomWith([bob]);
        await refused(bob.client.setRoomName(roomId, "mine"), 403, "M_FORBIDDEN");
        await alice.client.setPowerLevel(roomId, bob.id, 50);
        await bob.shows("its new power", () => bob.member(roomId, bob.id).powerLevel, 50);
        await bob.client.setRoomName(roomId, "mine");
        await alice.shows("the name", () => alice.client.getRoom(roomId).name, "mine");
        await refused(bob.client.setPowerLevel(roomId, bob.id, 100), 403, "M_FORBIDDEN");
    });

    it("does a thing once, however often the request is sent", async () => {
        const roomId = await alice.roomWith([bob]);
        const put = async (transaction) => {
            const path = `/rooms/${encodeURIComponent(roomId)}/send/m.room.message/${transaction}`;
            return alice.client.http.authedRequest("PUT", path, undefined, { msgtype: "m.text", body: "once" });
        };
        const [first, again] = [await put("one"), await put("one")];
        assert.deepEqual(first, again);
        const other = await put("two");
        assert.notEqual(other.event_id, first.event_id);
        await bob.event(roomId, other.event_id);
        await bob.shows("two messages", () => bob.bodies(roomId).length, 2);
    });

    it("refuses what may not be, and stays as it was", async () => {
        const roomId = await alice.roomWith([]);
        await refused(bob.client.sendTextMessage(roomId, "not a member"), 403, "M_FORBIDDEN");
        await refused(bob.client.createMessagesRequest(roomId, null, 10, "b"), 403, "M_FORBIDDEN");
        await refused(alice.client.createRoom({ room_version: "no such" }), 400, "M_UNSUPPORTED_ROOM_VERSION");
        await refused(
            alice.client.sendMessage(roomId, { msgtype: "m.text", body: "x".repeat(70_000) }),
            413,
            "M_TOO_LARGE",
        );
        await refused(bob.client.getStateEvent(roomId, "m.room.create", ""), 403, "M_FORBIDDEN");
        await alice.say(roomId, "still here");
    });
});
