"""Homeservers as processes that speak TLS with each other: Synapse, and Myelin's built binary.

All are named `localhost:PORT`, so that nothing has to be looked up, and have certificates of an authority that exists for one
run. Clients come without TLS, to another port.
"""

import datetime
import ipaddress
import os
import pathlib
import signal
import subprocess
import sys

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

sys.path.append(str(pathlib.Path(__file__).resolve().parent.parent))

import server as interop  # noqa: E402

#: What both sides wait at first before they ask a server again that did not answer.
RETRY = "1s"


class Authority:
    """A certificate authority, and the certificate of `localhost`, as PEM files of a folder."""

    def __init__(self, folder):
        self.certificate, self.leaf, self.leaf_key = (folder / name for name in ("ca.pem", "localhost.pem", "localhost.key"))
        now = datetime.datetime.now(datetime.timezone.utc)
        keys = [ec.generate_private_key(ec.SECP256R1()) for _ in range(2)]
        names = [x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)]) for name in ("Tests", "localhost")]

        def build(subject, key):
            builder = x509.CertificateBuilder().subject_name(subject).issuer_name(names[0]).public_key(key.public_key())
            builder = builder.serial_number(x509.random_serial_number())
            return builder.not_valid_before(now - datetime.timedelta(days=1)).not_valid_after(now + datetime.timedelta(days=1))

        root = build(names[0], keys[0]).add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        hosts = [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]
        leaf = build(names[1], keys[1]).add_extension(x509.SubjectAlternativeName(hosts), critical=False)
        leaf = leaf.add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        for path, made in ((self.certificate, root), (self.leaf, leaf)):
            path.write_bytes(made.sign(keys[0], hashes.SHA256()).public_bytes(serialization.Encoding.PEM))
        form = (serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
        self.leaf_key.write_bytes(keys[1].private_bytes(*form))


class Homeserver(interop.Server):
    """One data folder, one name, and at times a process."""

    def __init__(self, binary, folder, authority, **environment):
        folder.mkdir()
        super().__init__(binary, folder, **environment)
        self.authority = authority
        self.federation_port = interop.free_port()
        self.name = f"localhost:{self.federation_port}"

    def pause(self):
        """The process stops where it is, as a machine that hangs: connections stay open, nothing is answered."""
        self.process.send_signal(signal.SIGSTOP)

    def go_on(self):
        """Ends a pause."""
        self.process.send_signal(signal.SIGCONT)

    def end(self):
        if self.process is not None and self.process.poll() is None:
            self.go_on()
        super().end()


class Myelin(Homeserver):
    """The built binary."""

    def __init__(self, binary, folder, authority):
        super().__init__(binary, folder, authority)
        self.environment |= {
            "MYELIN_SERVER_NAME": self.name,
            "MYELIN_LISTENERS_FEDERATION": f"127.0.0.1:{self.federation_port}",
            "MYELIN_TLS_CERTIFICATE": str(authority.leaf),
            "MYELIN_TLS_KEY": str(authority.leaf_key),
            "MYELIN_TLS_CLIENT": "false",
            "MYELIN_FEDERATION_CERTIFICATE_AUTHORITIES": str(authority.certificate),
            "MYELIN_FEDERATION_ALLOWED_ADDRESS_RANGES": "127.0.0.0/8,::1",
            "MYELIN_FEDERATION_TRUSTED_NOTARIES": "",
            "MYELIN_FEDERATION_FIRST_RETRY": RETRY,
            "MYELIN_FEDERATION_LONGEST_RETRY": RETRY,
            "MYELIN_LOG_LEVEL": os.environ.get("INTEROP_LOG_LEVEL", "warn"),
        }


class Synapse(Homeserver):
    """Synapse of this virtual environment, with SQLite."""

    def __init__(self, folder, authority):
        super().__init__(sys.executable, folder, authority)
        # As it is, not where its link leads: only so it knows its virtual environment.
        self.binary = sys.executable
        config = folder / "homeserver.yaml"
        config.write_text(self._config())
        (folder / "log.yaml").write_text(
            "version: 1\nhandlers: {stderr: {class: logging.StreamHandler}}\nroot: {level: WARNING, handlers: [stderr]}\n"
        )
        self.arguments = ("-m", "synapse.app.homeserver", "--config-path", str(config))
        subprocess.run(
            [self.binary, *self.arguments, "--generate-keys"], cwd=folder, check=True, capture_output=True, timeout=120
        )

    def _config(self):
        everything = "{per_second: 100000, burst_count: 100000}"
        return f"""
server_name: "{self.name}"
pid_file: {self.folder}/pid
listeners:
  - {{port: {self.port}, type: http, bind_addresses: ["127.0.0.1"], resources: [{{names: [client]}}]}}
  - {{port: {self.federation_port}, tls: true, type: http, bind_addresses: ["127.0.0.1"], resources: [{{names: [federation]}}]}}
tls_certificate_path: {self.authority.leaf}
tls_private_key_path: {self.authority.leaf_key}
federation_custom_ca_list: [{self.authority.certificate}]
ip_range_blacklist: []
trusted_key_servers: []
federation:
  destination_min_retry_interval: {RETRY}
  destination_retry_multiplier: 1
  destination_max_retry_interval: {RETRY}
  client_timeout: 10s
  max_long_retry_delay: {RETRY}
  max_short_retry_delay: {RETRY}
database: {{name: sqlite3, args: {{database: {self.folder}/db}}}}
media_store_path: {self.folder}/media
signing_key_path: {self.folder}/signing.key
log_config: {self.folder}/log.yaml
macaroon_secret_key: tests
form_secret: tests
report_stats: false
enable_registration: true
enable_registration_without_verification: true
bcrypt_rounds: 4
allow_public_rooms_over_federation: true
allow_public_rooms_without_auth: true
room_list_publication_rules: [{{action: allow}}]
rc_message: {everything}
rc_registration: {everything}
rc_login: {{address: {everything}, account: {everything}, failed_attempts: {everything}}}
rc_joins: {{local: {everything}, remote: {everything}}}
rc_joins_per_room: {everything}
rc_invites: {{per_room: {everything}, per_user: {everything}, per_issuer: {everything}}}
rc_room_creation: {everything}
rc_federation: {{window_size: 1000, sleep_limit: 100000, sleep_delay: 1, reject_limit: 100000, concurrent: 100}}
federation_rr_transactions_per_room_per_second: 1000
"""
