// What belongs to a user: account data, tags, devices, push rules, ignored users, logging out.

import assert from "node:assert/strict";
import { after, before, describe, it } from "node:test";
import { PushRuleKind } from "matrix-js-sdk";
import { baseUrl, everyoneOffline, logIn, online, refused, register } from "./harness.js";

describe("an account", () => {
    let alice;
    let second;
    let bob;

    before(async () => {
        [alice, bob] = await Promise.all([online("alice"), online("bob")]);
        second = await logIn(alice.account, { deviceName: "second" });
    });
    after(everyoneOffline);

    it("says who it is", async () => {
        const me = await alice.client.whoami();
        assert.deepEqual([me.user_id, me.device_id], [alice.id, alice.deviceId]);
    });

    it("refuses a wrong password, a taken name and an unknown token", async () => {
        const { username, userId } = await register("carol");
        const request = { type: "m.login.password", identifier: { type: "m.id.user", user: username }, password: "no" };
        await refused(bob.client.loginRequest(request), 403, "M_FORBIDDEN");
        await refused(bob.client.registerRequest({ username, password: "x" }), 400, "M_USER_IN_USE");
        await refused(bob.client.isUsernameAvailable(username).then((free) => assert.equal(free, false)), 400).catch(() => {});
        const stranger = await fetch(`${baseUrl}/_matrix/client/v3/account/whoami`, {
            headers: { authorization: "Bearer nonsense" },
        });
        assert.equal(stranger.status, 401);
        assert.equal((await stranger.json()).errcode, "M_UNKNOWN_TOKEN");
        const login = await bob.client.loginRequest({ ...request, password: `password of ${username}` });
        assert.equal(login.user_id, userId);
    });

    it("keeps account data, and shows a change to the other device", async () => {
        await alice.client.setAccountData("org.example.colours", { favourite: "green" });
        const colours = () => second.client.getAccountData("org.example.colours")?.getContent();
        await second.shows("the data", colours, { favourite: "green" });
        await alice.client.setAccountData("org.example.colours", { favourite: "blue" });
        await second.shows("the change", colours, { favourite: "blue" });
        assert.deepEqual(await second.client.getAccountDataFromServer("org.example.colours"), { favourite: "blue" });
    });

    it("tags rooms and keeps data of a room", async () => {
        const { room_id: roomId } = await alice.client.createRoom({});
        await alice.room(roomId);
        const room = await second.room(roomId);
        await alice.client.setRoomTag(roomId, "m.favourite", { order: 0.25 });
        await alice.client.setRoomTag(roomId, "u.work", {});
        await second.shows("the tags", () => room.tags, { "m.favourite": { order: 0.25 }, "u.work": {} });
        await alice.client.deleteRoomTag(roomId, "u.work");
        await second.shows("one tag less", () => room.tags, { "m.favourite": { order: 0.25 } });
        assert.deepEqual((await alice.client.getRoomTags(roomId)).tags, { "m.favourite": { order: 0.25 } });
        await alice.client.setRoomAccountData(roomId, "org.example.note", { text: "a note" });
        const note = () => room.getAccountData("org.example.note")?.getContent();
        await second.shows("the note", note, { text: "a note" });
    });

    it("lists, renames and deletes its devices", async () => {
        const third = await logIn(alice.account, { deviceName: "third" });
        const named = async () =>
            new Map((await alice.client.getDevices()).devices.map((device) => [device.device_id, device.display_name]));
        assert.deepEqual(
            await named(),
            new Map([
                [alice.deviceId, "interop"],
                [second.deviceId, "second"],
                [third.deviceId, "third"],
            ]),
        );
        await alice.client.setDeviceDetails(third.deviceId, { display_name: "the third" });
        assert.equal((await alice.client.getDevice(third.deviceId)).display_name, "the third");
        const challenge = await refused(alice.client.deleteDevice(third.deviceId), 401);
        await refused(alice.client.deleteDevice(third.deviceId, passwordAuth(alice, challenge, "wrong")), 401, "M_FORBIDDEN");
        await alice.client.deleteDevice(third.deviceId, passwordAuth(alice, challenge, alice.account.password));
        assert.ok(!(await named()).has(third.deviceId));
        await refused(third.client.whoami(), 401, "M_UNKNOWN_TOKEN");
        third.client.stopClient();
    });

    it("has the default push rules, and changes them", async () => {
        const rules = await alice.client.getPushRules();
        const kinds = ["override", "content", "room", "sender", "underride"];
        assert.deepEqual(kinds.filter((kind) => !Array.isArray(rules.global[kind])), []);
        assert.ok(rules.global.override.some((rule) => rule.rule_id === ".m.rule.master" && !rule.enabled));
        await alice.client.addPushRule("global", PushRuleKind.ContentSpecific, "beer", {
            pattern: "beer",
            actions: ["notify", { set_tweak: "highlight" }],
        });
        const beer = () => second.client.pushRules?.global.content.find((rule) => rule.rule_id === "beer");
        await second.shows("the rule's pattern", () => beer()?.pattern, "beer");
        await alice.client.setPushRuleEnabled("global", PushRuleKind.ContentSpecific, "beer", false);
        await second.shows("the rule off", () => beer()?.enabled, false);
        await alice.client.deletePushRule("global", PushRuleKind.ContentSpecific, "beer");
        await second.shows("the rule gone", () => beer(), undefined);
    });

    it("counts by its push rules", async () => {
        const roomId = await bob.roomWith([alice]);
        const room = alice.client.getRoom(roomId);
        await alice.client.addPushRule("global", PushRuleKind.ContentSpecific, "tea", {
            pattern: "tea",
            actions: ["notify", { set_tweak: "highlight" }],
        });
        await bob.say(roomId, "Who wants tea?");
        await alice.shows("a highlight", () => room.getUnreadNotificationCount("highlight"), 1);
        await alice.client.setRoomMutePushRule("global", roomId, true);
        await alice.sees("the room muted", () => alice.client.getRoomPushRule("global", roomId) ?? mutedBy(alice, roomId));
    });

    it("hides what an ignored user says", async () => {
        const roomId = await alice.roomWith([bob]);
        await alice.client.setIgnoredUsers([bob.id]);
        await second.sees("the list", () => second.client.isUserIgnored(bob.id));
        const unheard = await bob.say(roomId, "can you hear me?");
        const own = await alice.say(roomId, "silence");
        await second.event(roomId, own);
        assert.equal(second.client.getRoom(roomId).findEventById(unheard), undefined);
        await alice.client.setIgnoredUsers([]);
        await second.sees("the list empty", () => !second.client.isUserIgnored(bob.id));
    });

    it("logs out one device, then all", async () => {
        const third = await logIn(alice.account);
        await third.client.logout(true);
        await refused(third.client.whoami(), 401, "M_UNKNOWN_TOKEN");
        await alice.client.whoami();
        await alice.client.logoutAll?.();
        if (!alice.client.logoutAll) {
            const reply = await fetch(`${baseUrl}/_matrix/client/v3/logout/all`, {
                method: "POST",
                headers: { authorization: `Bearer ${alice.client.getAccessToken()}` },
                body: "{}",
            });
            assert.equal(reply.status, 200);
        }
        await refused(second.client.whoami(), 401, "M_UNKNOWN_TOKEN");
        await refused(alice.client.whoami(), 401, "M_UNKNOWN_TOKEN");
    });
});

function passwordAuth(user, challenge, password) {
    return {
        type: "m.login.password",
        identifier: { type: "m.id.user", user: user.account.username },
        password,
        session: challenge.data.session,
    };
}

function mutedBy(user, roomId) {
    return user.client.pushRules?.global.override.some((rule) => rule.rule_id === roomId && rule.enabled);
}
