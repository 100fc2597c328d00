// Threads and the relations that make them.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { everyoneOffline, logIn, online } from "./harness.js";

describe("threads", () => {
    let alice;
    let bob;
    let roomId;
    let root;
    const replies = [];

    const inThread = (user) => {
        const thread = user.client.getRoom(roomId)?.getThread(root);
        return (thread?.timeline ?? [])
            .filter((event) => !event.status && event.getId() !== root)
            .map((event) => event.getContent().body);
    };

    before(async () => {
        [alice, bob] = await Promise.all([online("alice"), online("bob")]);
        roomId = await alice.roomWith([bob]);
        alice.wakeOn(alice.client.getRoom(roomId));
        bob.wakeOn(bob.client.getRoom(roomId));
    });
    after(everyoneOffline);

    it("opens a thread under a message, and both see it there", async () => {
        root = await alice.say(roomId, "Shall we?");
        await bob.event(roomId, root);
        const { event_id: reply } = await bob.client.sendMessage(roomId, root, { msgtype: "m.text", body: "We shall" });
        replies.push(reply);
        const thread = await alice.sees("the thread", () => alice.client.getRoom(roomId).getThread(root));
        await alice.shows("the reply in it", () => inThread(alice), ["We shall"]);
        assert.equal(thread.rootEvent.getId(), root);
        await alice.shows("its length", () => thread.length, 1);
    });

    it("keeps the replies out of the room's main timeline", async () => {
        assert.ok(!alice.bodies(roomId).includes("We shall"));
        assert.ok(!bob.bodies(roomId).includes("We shall"));
    });

    it("answers in the thread, in order", async () => {
        for (const [speaker, listener, body] of [
            [alice, bob, "When?"],
            [bob, alice, "Now"],
            [alice, bob, "Then go"],
        ]) {
            const { event_id: reply } = await speaker.client.sendMessage(roomId, root, { msgtype: "m.text", body });
            replies.push(reply);
            await listener.sees(`"${body}"`, () => inThread(listener).includes(body));
        }
        for (const user of [alice, bob]) {
            await user.shows("the thread in order", () => inThread(user), ["We shall", "When?", "Now", "Then go"]);
        }
    });

    it("shows a thread's root and summary to a device that starts later", async () => {
        const late = await logIn(bob.account, { start: { initialSyncLimit: 1 } });
        await late.room(roomId);
        const seen = await late.client.fetchRoomEvent(roomId, root);
        const summary = seen.unsigned["m.relations"]["m.thread"];
        assert.equal(summary.count, 4);
        assert.equal(summary.latest_event.event_id, replies.at(-1));
        assert.equal(summary.current_user_participated, true);
        late.client.stopClient();
    });

    it("pages through a thread's relations", async () => {
        const page = await bob.client.relations(roomId, root, "m.thread", null, { limit: 3, dir: "b" });
        assert.deepEqual(
            page.events.map((event) => event.getId()),
            replies.slice(1).reverse(),
        );
        const rest = await bob.client.relations(roomId, root, "m.thread", null, { from: page.nextBatch, dir: "b" });
        assert.deepEqual(
            rest.events.map((event) => event.getId()),
            replies.slice(0, 1),
        );
    });
});
