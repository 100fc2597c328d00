"""Servers that share no room: keys, profiles, directories."""

import json
import ssl
import urllib.request

from harness import Story, fresh_name, quote


class Acquaintance(Story):
    def over_federation(self, server, path):
        trust = ssl.create_default_context(cafile=str(server.authority.certificate))
        with urllib.request.urlopen(f"https://{server.name}{path}", context=trust, timeout=20) as reply:
            return json.load(reply)

    def test_keys_and_version_are_published(self):
        for server in (self.home, self.away):
            keys = self.over_federation(server, "/_matrix/key/v2/server")
            self.assertEqual(keys["server_name"], server.name)
            self.assertTrue(keys["verify_keys"])
            self.assertIn(server.name, keys["signatures"])
            self.assertTrue(self.over_federation(server, "/_matrix/federation/v1/version")["server"]["name"])

    def test_a_notary_tells_the_keys_of_the_other(self):
        alice, bob = self.pair()
        # Synapse tells only keys that it has had to ask for.
        bob.do("GET", f"/profile/{alice.id}")
        reply = self.over_federation(self.home, f"/_matrix/key/v2/query/{self.away.name}")
        keys = next(keys for keys in reply["server_keys"] if keys["server_name"] == self.away.name)
        self.assertEqual(set(keys["signatures"]), {self.home.name, self.away.name})

    def test_profiles_are_shown(self):
        alice, bob = self.pair()
        alice.do("PUT", f"/profile/{alice.id}/displayname", {"displayname": "Alice of afar"})
        self.assertEqual(bob.do("GET", f"/profile/{alice.id}")["displayname"], "Alice of afar")
        stranger = f"@{fresh_name('nobody')}:{self.home.name}"
        bob.refused(404, "GET", f"/profile/{stranger}")

    def test_aliases_are_found(self):
        alice, bob = self.pair()
        name = fresh_name("room")
        room_id = alice.create_room(self.version, room_alias_name=name)
        alias = quote(f"#{name}:{self.home.name}")
        reply = bob.do("GET", f"/directory/room/{alias}")
        self.assertEqual(reply["room_id"], room_id)
        self.assertIn(self.home.name, reply["servers"])
        nothing = quote(f"#{fresh_name('none')}:{self.home.name}")
        bob.refused(404, "GET", f"/directory/room/{nothing}")

    def test_the_public_directory_is_shown(self):
        alice, bob = self.pair()
        name = fresh_name("Published")
        room_id = alice.create_room(self.version, name=name, visibility="public")
        hidden = alice.create_room(self.version, name=name)
        body = {"filter": {"generic_search_term": name}}

        def found():
            reply = bob.do("POST", f"/publicRooms?server={quote(self.home.name)}", body)
            return [(room["room_id"], room["name"]) for room in reply["chunk"]]

        bob.sees("the published room", found)
        self.assertEqual(found(), [(room_id, name)], f"and not {hidden}")
