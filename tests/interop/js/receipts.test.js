// Who has read what: public, private and threaded receipts, read markers, unread counts.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { ReceiptType } from "matrix-js-sdk";
import { everyoneOffline, logIn, online } from "./harness.js";

describe("receipts", () => {
    let alice;
    let bob;
    let roomId;

    const counts = (user) => {
        const room = user.client.getRoom(roomId);
        return [room.getUnreadNotificationCount("total"), room.getUnreadNotificationCount("highlight")];
    };

    before(async () => {
        [alice, bob] = await Promise.all([online("alice"), online("bob")]);
        roomId = await alice.roomWith([bob]);
    });
    after(everyoneOffline);

    it("counts what is unread until it is read", async () => {
        await alice.say(roomId, "one");
        await alice.say(roomId, "two");
        const third = await bob.event(roomId, await alice.say(roomId, "three"));
        await bob.shows("three unread messages", () => counts(bob), [3, 0]);
        await bob.client.sendReadReceipt(third);
        await bob.shows("nothing unread", () => counts(bob), [0, 0]);
        await alice.say(roomId, "four");
        await bob.shows("one unread message", () => counts(bob), [1, 0]);
    });

    it("counts a mention as a highlight", async () => {
        await alice.client.sendMessage(roomId, {
            "msgtype": "m.text",
            "body": "Look here",
            "m.mentions": { user_ids: [bob.id] },
        });
        await bob.shows("the highlight", () => counts(bob), [2, 1]);
    });

    it("does not count the own messages, and sending reads", async () => {
        await bob.client.sendReadReceipt(await bob.event(roomId, await alice.say(roomId, "five")));
        // Seen by alice before she goes on: the SDK orders by what it saw, its own echoes included.
        await alice.event(roomId, await bob.say(roomId, "mine"));
        await bob.shows("nothing unread", () => counts(bob), [0, 0]);
    });

    it("shows the others a public receipt", async () => {
        const word = await alice.say(roomId, "read this");
        await bob.client.sendReadReceipt(await bob.event(roomId, word));
        const room = alice.client.getRoom(roomId);
        await alice.shows("bob's receipt", () => room.getEventReadUpTo(bob.id), word);
        const receipts = () => room.getReceiptsForEvent(room.findEventById(word));
        await alice.sees("the receipt at its event", () => receipts().some((receipt) => receipt.userId === bob.id));
        const { ts } = receipts().find((receipt) => receipt.userId === bob.id).data;
        assert.ok(Math.abs(Date.now() - ts) < 60_000, "with the time of reading");
    });

    it("keeps a private receipt from the others, and shows it to the reader's other device", async () => {
        const second = await logIn(bob.account);
        await second.room(roomId);
        const seenBefore = alice.client.getRoom(roomId).getEventReadUpTo(bob.id);
        const word = await alice.say(roomId, "read this quietly");
        await bob.client.sendReadReceipt(await bob.event(roomId, word), ReceiptType.ReadPrivate);
        await bob.shows("nothing unread", () => counts(bob), [0, 0]);
        const own = () => second.client.getRoom(roomId).getEventReadUpTo(bob.id);
        await second.shows("its user's private receipt", own, word);

        // A later public receipt in the same stream, so that the private one had its chance to arrive.
        const later = await alice.say(roomId, "and this openly");
        const room = alice.client.getRoom(roomId);
        assert.equal(room.getEventReadUpTo(bob.id), seenBefore);
        assert.equal(room.getReadReceiptForUserId(bob.id, true, ReceiptType.ReadPrivate), null);
        await bob.client.sendReadReceipt(await bob.event(roomId, later));
        await alice.shows("bob's public receipt", () => room.getEventReadUpTo(bob.id), later);
        assert.equal(room.getReadReceiptForUserId(bob.id, true, ReceiptType.ReadPrivate), null);
        second.client.stopClient();
    });

    it("reads one thread without reading the room", async () => {
        const root = await alice.say(roomId, "a root");
        await bob.event(roomId, root);
        const first = await bob.client.sendMessage(roomId, root, { msgtype: "m.text", body: "opening the thread" });
        await alice.event(roomId, first.event_id);
        const reply = await alice.client.sendMessage(roomId, root, { msgtype: "m.text", body: "in the thread" });
        const inThread = await bob.event(roomId, reply.event_id);
        const room = bob.client.getRoom(roomId);
        const thread = () => room.getThreadUnreadNotificationCount(root, "total");
        await bob.shows("the root unread in the room", () => room.getRoomUnreadNotificationCount("total"), 1);
        await bob.shows("the reply unread in the thread", thread, 1);
        await bob.client.sendReadReceipt(inThread);
        await bob.shows("the thread read", thread, 0);
        assert.equal(room.getRoomUnreadNotificationCount("total"), 1, "the room's main part is still unread");
        const receipts = () =>
            alice.client.getRoom(roomId).getThread(root)?.getReadReceiptForUserId(bob.id, true)?.eventId;
        await alice.shows("bob's receipt in the thread", receipts, reply.event_id);
        await bob.client.sendReadReceipt(await bob.event(roomId, root));
        await bob.shows("all read", () => counts(bob), [0, 0]);
    });

    it("keeps the read marker, for the own devices only", async () => {
        const second = await logIn(bob.account);
        await second.room(roomId);
        const word = await bob.event(roomId, await alice.say(roomId, "marked"));
        await bob.client.setRoomReadMarkers(roomId, word.getId(), word);
        for (const device of [bob, second]) {
            const marker = () => device.client.getRoom(roomId).getAccountData("m.fully_read")?.getContent().event_id;
            await device.shows("the read marker", marker, word.getId());
        }
        const room = alice.client.getRoom(roomId);
        await alice.shows("the receipt that came with it", () => room.getEventReadUpTo(bob.id), word.getId());
        assert.equal(room.getAccountData("m.fully_read"), undefined);
    });
});
