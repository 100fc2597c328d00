// Long histories: paging back, gaps, context, members loaded lazily, what a newcomer may see.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { Direction, Filter, TimelineWindow } from "matrix-js-sdk";
import { everyoneOffline, logIn, online } from "./harness.js";

const MESSAGES = 500;

describe("history", () => {
    let alice;
    let bob;
    let roomId;
    const said = [];
    const ids = [];

    before(async () => {
        [alice, bob] = await Promise.all([online("alice"), online("bob")]);
        roomId = await alice.roomWith([bob]);
        for (let number = 0; number < MESSAGES; number += 1) {
            said.push(`message ${number}`);
            ids.push(await alice.say(roomId, `message ${number}`));
        }
    });
    after(everyoneOffline);

    it("delivered all of it, in order, to who was there", async () => {
        await bob.event(roomId, ids.at(-1));
        await bob.shows("every message", () => bob.bodies(roomId), said);
    });

    it("scrolls back through all of it, in order, to the room's creation", async () => {
        const late = await logIn(bob.account, { start: { initialSyncLimit: 10 } });
        const room = await late.room(roomId);
        await late.shows("the last ten", () => late.bodies(roomId), said.slice(-10));
        let pages = 0;
        while (room.getLiveTimeline().getPaginationToken(Direction.Backward) !== null && pages < 50) {
            await late.client.scrollback(room, 50);
            pages += 1;
        }
        assert.deepEqual(late.bodies(roomId), said);
        assert.ok(pages >= 10 && pages < 20, `${pages} pages of 50`);
        assert.equal(room.getLiveTimeline().getEvents()[0].getType(), "m.room.create");
        late.client.stopClient();
    });

    it("marks a gap when much was missed, and fills it by paging", async () => {
        const late = await logIn(bob.account, { start: { initialSyncLimit: 5 } });
        await late.room(roomId);
        late.client.stopClient();
        const missed = [];
        for (let number = 0; number < 40; number += 1) {
            missed.push(`missed ${number}`);
            await alice.say(roomId, `missed ${number}`);
        }
        await late.start({ initialSyncLimit: 5 });
        await late.sees("the newest", () => late.bodies(roomId).at(-1) === "missed 39");
        assert.ok(!late.bodies(roomId).includes("missed 0"));
        const room = late.client.getRoom(roomId);
        for (let pages = 0; !late.bodies(roomId).includes("missed 0") && pages < 10; pages += 1) {
            await late.client.scrollback(room, 10);
        }
        assert.deepEqual(
            late.bodies(roomId).filter((body) => body.startsWith("missed")),
            missed,
        );
        late.client.stopClient();
    });

    it("opens the middle of it by an event's context, and pages both ways", async () => {
        const late = await logIn(bob.account, { start: { initialSyncLimit: 5 } });
        const room = await late.room(roomId);
        const window = new TimelineWindow(late.client, room.getUnfilteredTimelineSet());
        await window.load(ids[250], 21);
        const bodies = () => window.getEvents().map((event) => event.getContent().body);
        assert.ok(bodies().includes("message 250"));
        await window.paginate(Direction.Backward, 20);
        await window.paginate(Direction.Forward, 20);
        const [first, last] = [said.indexOf(bodies().at(0)), said.indexOf(bodies().at(-1))];
        assert.ok(first <= 230 && last >= 270, `from ${first} to ${last}`);
        assert.deepEqual(bodies(), said.slice(first, last + 1));
        late.client.stopClient();
    });

    it("pages by a filter", async () => {
        const filter = Filter.fromJson(bob.id, "none", {
            room: { timeline: { types: ["m.room.member"], senders: [bob.id] } },
        });
        const page = await bob.client.createMessagesRequest(roomId, null, 100, Direction.Backward, filter);
        assert.deepEqual(
            page.chunk.map((event) => [event.type, event.state_key, event.content.membership]),
            [["m.room.member", bob.id, "join"]],
        );
    });

    it("goes on where it was after being stopped", async () => {
        bob.client.stopClient();
        const meanwhile = await alice.say(roomId, "meanwhile");
        await bob.start();
        await bob.event(roomId, meanwhile);
        assert.equal(bob.bodies(roomId).filter((body) => body === "meanwhile").length, 1);
    });

    it("shows a newcomer only what the room's history visibility allows", async () => {
        const carol = await online("carol");
        const { room_id: quiet } = await alice.client.createRoom({
            preset: "public_chat",
            initial_state: [
                { type: "m.room.history_visibility", state_key: "", content: { history_visibility: "joined" } },
            ],
        });
        await alice.say(quiet, "before");
        await carol.client.joinRoom(quiet);
        const room = await carol.room(quiet);
        const after = await alice.say(quiet, "after");
        await carol.event(quiet, after);
        for (let pages = 0; room.getLiveTimeline().getPaginationToken(Direction.Backward) !== null && pages < 5; ) {
            await carol.client.scrollback(room, 50);
            pages += 1;
        }
        assert.deepEqual(carol.bodies(quiet), ["after"]);
    });

    it("loads the members of a room when they are asked for", async () => {
        const others = await Promise.all(Array.from({ length: 6 }, () => online("extra")));
        const { room_id: crowd } = await alice.client.createRoom({ preset: "public_chat", name: "Crowd" });
        for (const other of others) {
            await other.client.joinRoom(crowd);
        }
        await alice.say(crowd, "enough?");
        for (let number = 0; number < 10; number += 1) {
            await others[0].say(crowd, `word ${number}`);
        }
        const late = await logIn(bob.account, { start: { initialSyncLimit: 3 } });
        await late.client.joinRoom(crowd);
        const room = await late.room(crowd);
        await late.shows("the count of members", () => room.getJoinedMemberCount(), 8);
        await room.loadMembersIfNeeded();
        await late.shows(
            "each of them",
            () => new Set(room.getJoinedMembers().map((member) => member.userId)),
            new Set([alice.id, bob.id, ...others.map((other) => other.id)]),
        );
        late.client.stopClient();
    });
});
