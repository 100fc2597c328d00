// Two people talk: the main line, as one story.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { everyoneOffline, logIn, online } from "./harness.js";

describe("two people talk", () => {
    let alice;
    let bob;
    let roomId;
    let hello;

    before(async () => {
        [alice, bob] = await Promise.all([online("alice"), online("bob")]);
    });
    after(everyoneOffline);

    it("makes a room that both see with its name and topic", async () => {
        ({ room_id: roomId } = await alice.client.createRoom({ name: "A room of two", topic: "Talk", preset: "private_chat" }));
        const room = await alice.room(roomId);
        await alice.shows("the room's name", () => room.name, "A room of two");
        const state = room.getLiveTimeline().getState("f");
        assert.equal(state.getStateEvents("m.room.topic", "").getContent().topic, "Talk");
        assert.equal(room.getJoinRule(), "invite");
        assert.equal(room.getHistoryVisibility(), "shared");
        assert.equal(room.getMember(alice.id).membership, "join");
        assert.ok(state.maySendStateEvent("m.room.name", alice.id));
    });

    it("invites, and the invited one sees who asks and to what", async () => {
        await alice.client.invite(roomId, bob.id);
        const invited = await bob.room(roomId, "invite");
        await bob.shows("the room's name", () => invited.name, "A room of two");
        assert.equal(invited.getMember(bob.id).events.member.getSender(), alice.id);
        assert.equal(invited.getJoinRule(), "invite");
        await alice.shows("the invitation", () => alice.member(roomId, bob.id)?.membership, "invite");
    });

    it("joins, and each sees the other there", async () => {
        await bob.client.joinRoom(roomId);
        const room = await bob.room(roomId);
        await bob.shows("the room's name", () => room.name, "A room of two");
        await alice.shows("bob join", () => alice.member(roomId, bob.id)?.membership, "join");
        await alice.shows("two members", () => alice.client.getRoom(roomId).getJoinedMemberCount(), 2);
    });

    it("sends, and the sender's own echo is the event that the other sees", async () => {
        hello = await alice.say(roomId, "Hello, Bob — こんにちは 🌱");
        const seen = await bob.event(roomId, hello);
        assert.equal(seen.getContent().body, "Hello, Bob — こんにちは 🌱");
        assert.equal(seen.getSender(), alice.id);
        assert.ok(Math.abs(seen.getLocalAge()) < 60_000, "its age is about none");
        await alice.event(roomId, hello);
        assert.equal(alice.bodies(roomId).filter((body) => body.startsWith("Hello, Bob")).length, 1, "no second echo");
    });

    it("answers, in order, both ways", async () => {
        const said = [];
        for (let turn = 0; turn < 10; turn += 1) {
            const [speaker, listener] = turn % 2 ? [alice, bob] : [bob, alice];
            said.push(`turn ${turn}`);
            await listener.event(roomId, await speaker.say(roomId, `turn ${turn}`));
        }
        for (const user of [alice, bob]) {
            await user.shows("all turns", () => user.bodies(roomId).filter((body) => body.startsWith("turn")), said);
        }
    });

    it("edits, and the other sees the new words in the old place", async () => {
        const { event_id: edit } = await alice.client.sendMessage(roomId, {
            "msgtype": "m.text",
            "body": "* Hello, Robert",
            "m.new_content": { msgtype: "m.text", body: "Hello, Robert" },
            "m.relates_to": { rel_type: "m.replace", event_id: hello },
        });
        const original = await bob.event(roomId, hello);
        await bob.sees("the edit", () => original.replacingEventId() === edit);
        assert.equal(original.getContent().body, "Hello, Robert");
    });

    it("reacts, and takes the reaction back", async () => {
        const { event_id: reaction } = await bob.client.sendEvent(roomId, "m.reaction", {
            "m.relates_to": { rel_type: "m.annotation", event_id: hello, key: "👋" },
        });
        const annotations = () =>
            alice.client
                .getRoom(roomId)
                .relations.getChildEventsForEvent(hello, "m.annotation", "m.reaction")
                ?.getSortedAnnotationsByKey() ?? [];
        await alice.sees("the reaction", () => annotations().some(([key, from]) => key === "👋" && from.size === 1));
        await bob.client.redactEvent(roomId, reaction);
        await alice.sees("the reaction gone", () => annotations().every(([, from]) => from.size === 0));
    });

    it("replies", async () => {
        const { event_id: reply } = await bob.client.sendMessage(roomId, {
            "msgtype": "m.text",
            "body": "Hello yourself",
            "m.mentions": { user_ids: [alice.id] },
            "m.relates_to": { "m.in_reply_to": { event_id: hello } },
        });
        const seen = await alice.event(roomId, reply);
        assert.equal(seen.replyEventId, hello);
        const room = alice.client.getRoom(roomId);
        await alice.sees("a highlight", () => room.getUnreadNotificationCount("highlight") >= 1);
    });

    it("redacts, and the words are gone for both and for whoever asks the server", async () => {
        const secret = await alice.say(roomId, "a secret");
        const seen = await bob.event(roomId, secret);
        await alice.client.redactEvent(roomId, secret, undefined, { reason: "said too much" });
        await bob.sees("the redaction", () => seen.isRedacted());
        assert.deepEqual(seen.getContent(), {});
        const fetched = await bob.client.fetchRoomEvent(roomId, secret);
        assert.deepEqual(fetched.content, {});
        assert.equal(fetched.unsigned.redacted_because.content.reason, "said too much");
        await alice.sees("the redaction", () => alice.client.getRoom(roomId).findEventById(secret)?.isRedacted());
    });

    it("shows who is typing, and when they stop", async () => {
        await bob.client.sendTyping(roomId, true, 20_000);
        await alice.sees("bob typing", () => alice.member(roomId, bob.id)?.typing);
        await bob.client.sendTyping(roomId, false, 0);
        await alice.sees("bob stop", () => !alice.member(roomId, bob.id).typing);
    });

    it("changes the room's name, and both see it", async () => {
        await alice.client.setRoomName(roomId, "Renamed");
        await bob.shows("the new name", () => bob.client.getRoom(roomId).name, "Renamed");
        await alice.shows("the new name", () => alice.client.getRoom(roomId).name, "Renamed");
    });

    it("leaves, and comes back to find what was said meanwhile", async () => {
        await bob.client.leave(roomId);
        await bob.room(roomId, "leave");
        await alice.sees("bob leave", () => alice.member(roomId, bob.id)?.membership === "leave");
        const missed = await alice.say(roomId, "while you were out");
        await alice.client.invite(roomId, bob.id);
        await bob.room(roomId, "invite");
        await bob.client.joinRoom(roomId);
        await bob.room(roomId);
        const welcome = await alice.say(roomId, "welcome back");
        await bob.event(roomId, welcome);
        // History is shared, so that the time away can be read after the return.
        const room = bob.client.getRoom(roomId);
        for (let pages = 0; !room.findEventById(missed) && pages < 5; pages += 1) {
            await bob.client.scrollback(room, 20);
        }
        assert.ok(room.findEventById(missed), "what was said meanwhile is readable");
    });

    it("shows the same talk to a second device that starts now", async () => {
        const second = await logIn(bob.account, { deviceName: "second" });
        assert.notEqual(second.deviceId, bob.deviceId);
        const room = await second.room(roomId);
        await second.shows("the room's name", () => room.name, "Renamed");
        await second.shows("the last word", () => second.bodies(roomId).at(-1), "welcome back");
        const word = await bob.say(roomId, "from my other device");
        await second.event(roomId, word);
    });
});
