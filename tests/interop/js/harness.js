// Users of the server under test, as matrix-js-sdk shows them.
//
// Nothing here sleeps. `User.sees` looks at the SDK's own objects again whenever the SDK announces anything, until what is
// expected is there, or the deadline has passed and the test fails with the expectation's name.

import assert from "node:assert/strict";
import { isDeepStrictEqual } from "node:util";
import "./quiet.js";
import { createClient, Direction, SyncState } from "matrix-js-sdk";

/** How long anything may take to show, in milliseconds: far more than it takes on a loaded machine. */
const DEADLINE = Number(process.env.INTEROP_DEADLINE_MS ?? 20_000);

/** The server under test. */
export const baseUrl = process.env.INTEROP_URL ?? assert.fail("INTEROP_URL names the server under test");

const everyone = [];
let counter = 0;

/** A name that no other user of this run has. */
export function freshName(stem) {
    counter += 1;
    return `${stem}_${process.pid}_${Date.now().toString(36)}_${counter}`;
}

/** Registers an account (through its user-interactive stages), without logging in. Returns its user id and password. */
export async function register(stem) {
    const username = freshName(stem);
    const password = `password of ${username}`;
    const guest = createClient({ baseUrl });
    const request = { username, password, inhibit_login: true };
    const challenge = await refused(guest.registerRequest(request), 401);
    assert.ok(
        challenge.data.flows.some((flow) => flow.stages.length === 1 && flow.stages[0] === "m.login.dummy"),
        "open registration offers the dummy stage alone",
    );
    const auth = { type: "m.login.dummy", session: challenge.data.session };
    const reply = await guest.registerRequest({ ...request, auth });
    assert.equal(reply.access_token, undefined, "inhibit_login gives no token");
    return { userId: reply.user_id, username, password };
}

/** Registers an account, logs in, and runs the sync loop until the first sync is shown. */
export async function online(stem, options = {}) {
    const account = await register(stem);
    return logIn(account, options);
}

/** Logs an account in on a new device and runs its sync loop until the first sync is shown. */
export async function logIn(account, { deviceName = "interop", start = {} } = {}) {
    const reply = await createClient({ baseUrl }).loginRequest({
        type: "m.login.password",
        identifier: { type: "m.id.user", user: account.username },
        password: account.password,
        initial_device_display_name: deviceName,
    });
    assert.equal(reply.user_id, account.userId);
    const user = new User(account, reply);
    everyone.push(user);
    await user.start(start);
    return user;
}

/** Stops every sync loop. To be called when a file's tests are done. */
export function everyoneOffline() {
    for (const user of everyone.splice(0)) {
        user.client.stopClient();
    }
}

/** Waits for a request to be refused with `status` (and `errcode`); returns the error. */
export async function refused(request, status, errcode) {
    try {
        await request;
    } catch (error) {
        assert.equal(error.httpStatus, status, `${error.errcode}: ${error.message}`);
        if (errcode !== undefined) {
            assert.equal(error.errcode, errcode);
        }
        return error;
    }
    return assert.fail(`the request should have been refused with ${status}`);
}

/** One account on one device, and the client that shows what it sees. */
export class User {
    constructor(account, login) {
        this.account = account;
        this.id = login.user_id;
        this.deviceId = login.device_id;
        this.waiting = new Set();
        this.client = createClient({
            baseUrl,
            accessToken: login.access_token,
            userId: login.user_id,
            deviceId: login.device_id,
            timelineSupport: true,
        });
        this.wakeOn(this.client);
    }

    /** Looks again at all expectations whenever `emitter` announces anything. */
    wakeOn(emitter) {
        const emit = emitter.emit;
        emitter.emit = (...announcement) => {
            const heard = emit.apply(emitter, announcement);
            queueMicrotask(() => this.lookAgain());
            return heard;
        };
    }

    lookAgain() {
        for (const look of [...this.waiting]) {
            look();
        }
    }

    async start(options) {
        await this.client.startClient({ initialSyncLimit: 20, lazyLoadMembers: true, threadSupport: true, ...options });
        await this.sees("the first sync", () =>
            [SyncState.Prepared, SyncState.Syncing].includes(this.client.getSyncState()),
        );
    }

    /** Waits until `look` returns something truthy, and returns it. */
    async sees(what, look) {
        let timer;
        let attempt;
        try {
            return await new Promise((resolve, reject) => {
                attempt = () => {
                    try {
                        const found = look();
                        if (found) {
                            resolve(found);
                        }
                    } catch (error) {
                        reject(error);
                    }
                };
                timer = setTimeout(
                    () => reject(new assert.AssertionError({ message: `${this.id} never saw ${what}` })),
                    DEADLINE,
                );
                this.waiting.add(attempt);
                attempt();
            });
        } finally {
            clearTimeout(timer);
            this.waiting.delete(attempt);
        }
    }

    /** Waits until `look` returns a value deeply equal to `expected`; what it returned last is told on failure. */
    async shows(what, look, expected) {
        let last;
        const wanted = () => {
            last = look();
            return isDeepStrictEqual(last, expected);
        };
        await this.sees(what, wanted).catch((error) => {
            assert.deepEqual(last, expected, `${this.id} should see ${what}`);
            throw error;
        });
    }

    /** The room as this user's client has it, once it has it with that membership. */
    async room(roomId, membership = "join") {
        return this.sees(`${roomId} as one of its rooms (${membership})`, () => {
            const room = this.client.getRoom(roomId);
            return room?.getMyMembership() === membership && room;
        });
    }

    /** The event, once the room's live timeline (or a thread of the room) shows it as sent. */
    async event(roomId, eventId) {
        return this.sees(`event ${eventId}`, () => {
            const event = this.client.getRoom(roomId)?.findEventById(eventId);
            return event && !event.status && event;
        });
    }

    /** Sends a text and returns its event id. */
    async say(roomId, body) {
        const { event_id: eventId } = await this.client.sendTextMessage(roomId, body);
        return eventId;
    }

    /** Makes a room in which the others are invited and join; returns its id once everyone sees everyone there. */
    async roomWith(others, options = {}) {
        const { room_id: roomId } = await this.client.createRoom({
            preset: "private_chat",
            invite: others.map((user) => user.id),
            ...options,
        });
        await this.room(roomId);
        for (const other of others) {
            await other.room(roomId, "invite");
            await other.client.joinRoom(roomId);
            await other.room(roomId);
        }
        for (const other of others) {
            await this.sees(`${other.id} join`, () => this.member(roomId, other.id)?.membership === "join");
        }
        return roomId;
    }

    /** A member of a room as this client has it now. */
    member(roomId, userId) {
        return this.client.getRoom(roomId)?.getMember(userId);
    }

    /** The bodies of the messages that the room shows now, oldest first: the live timeline, and those that paging joined to it. */
    bodies(roomId) {
        const bodies = [];
        let timeline = this.client.getRoom(roomId).getLiveTimeline();
        while (timeline) {
            const messages = timeline
                .getEvents()
                .filter((event) => event.getType() === "m.room.message" && !event.isRedacted());
            bodies.unshift(...messages.map((event) => event.getContent().body));
            timeline = timeline.getNeighbouringTimeline(Direction.Backward);
        }
        return bodies;
    }
}
