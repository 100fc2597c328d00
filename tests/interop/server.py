"""The built binary as a process: started on a free loopback port, killed, started again, stopped."""

import http.client
import json
import os
import pathlib
import signal
import socket
import subprocess
import time

#: Passwords are not what is tested here: the cheapest hash that the server allows.
ENVIRONMENT = {
    "MYELIN_SERVER_NAME": "localhost",
    "MYELIN_REGISTRATION_MODE": "open",
    "MYELIN_RATE_LIMITS_ENABLED": "false",
    "MYELIN_PASSWORDS_MEMORY": "8 MiB",
    "MYELIN_PASSWORDS_ITERATIONS": "1",
    "MYELIN_LOG_LEVEL": "warn",
}


class Down(Exception):
    """The server did not answer: it is not running, or ended before it could."""


class Server:
    """One data folder and, at times, a process that serves it."""

    #: What the binary is told, to serve.
    arguments = ("serve",)

    def __init__(self, binary, folder, **environment):
        self.binary = str(pathlib.Path(binary).resolve())
        self.folder = pathlib.Path(folder)
        self.port = free_port()
        self.process = None
        settings = {
            "MYELIN_SERVER_DATA": str(self.folder / "data"),
            "MYELIN_LISTENERS_CLIENT": f"127.0.0.1:{self.port}",
        }
        # No setting of the caller's shell may reach the server under test.
        inherited = {name: value for name, value in os.environ.items() if not name.startswith("MYELIN_")}
        self.environment = {**inherited, **ENVIRONMENT, **settings, **environment}

    @property
    def url(self):
        return f"http://127.0.0.1:{self.port}"

    @property
    def log(self):
        return self.folder / "log"

    def start(self, deadline=60):
        """Starts the process; returns the seconds until its first answer."""
        begun = time.monotonic()
        with self.log.open("ab") as log:
            self.process = subprocess.Popen(
                [self.binary, *self.arguments],
                cwd=self.folder,
                env=self.environment,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
            )
        while time.monotonic() < begun + deadline:
            try:
                status, _ = Client(self.port).request("GET", "/_matrix/client/versions")
            except Down:
                if self.process.poll() is not None:
                    raise SystemExit(f"the server ended with {self.process.returncode} at its start:\n{self.last_words()}")
                time.sleep(0.002)
                continue
            if status == 200:
                return time.monotonic() - begun
            raise SystemExit(f"the server answers /versions with {status}")
        raise SystemExit(f"the server does not answer:\n{self.last_words()}")

    def kill(self):
        """kill -9."""
        self.process.kill()
        self.process.wait()

    def stop(self, deadline=30):
        """SIGTERM; returns the seconds until it ended. A server that has to be killed, or ends badly, is an error."""
        begun = time.monotonic()
        self.process.send_signal(signal.SIGTERM)
        try:
            code = self.process.wait(deadline)
        except subprocess.TimeoutExpired:
            self.kill()
            raise SystemExit(f"the server did not stop within {deadline} s:\n{self.last_words()}") from None
        if code != 0:
            raise SystemExit(f"the server stopped with {code}:\n{self.last_words()}")
        return time.monotonic() - begun

    def command(self, *arguments, deadline=600):
        """Runs another command of the binary on the same data folder; returns its exit code and what it printed."""
        done = subprocess.run(
            [self.binary, *arguments],
            cwd=self.folder,
            env=self.environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            timeout=deadline,
            check=False,
        )
        return done.returncode, done.stdout.decode(errors="replace")

    def last_words(self):
        """The end of its log."""
        return "\n".join(self.log.read_text(errors="replace").splitlines()[-40:])

    def end(self):
        """Makes sure that no process is left."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Client:
    """One keep-alive connection."""

    def __init__(self, port, token=None, timeout=60):
        self.connection = http.client.HTTPConnection("127.0.0.1", port, timeout=timeout)
        self.headers = {"Content-Type": "application/json"}
        if token:
            self.headers["Authorization"] = f"Bearer {token}"

    def request(self, method, path, body=None):
        """Returns the status and the JSON of the answer."""
        data = None if body is None else json.dumps(body)
        try:
            self.connection.request(method, path, data, self.headers)
            reply = self.connection.getresponse()
            return reply.status, json.loads(reply.read() or b"null")
        except (OSError, http.client.HTTPException, json.JSONDecodeError) as error:
            self.connection.close()
            raise Down(repr(error)) from error

    def forget_connection(self):
        """The next request opens a connection: to be called when the server was started again."""
        self.connection.close()

    def expect(self, method, path, body=None):
        """The JSON of an answer that must be 200."""
        status, reply = self.request(method, path, body)
        if status != 200:
            raise AssertionError(f"{method} {path}: {status}: {reply}")
        return reply


def register(port, name, password="a password of the tests"):
    """Registers by the dummy stage; returns the reply with the access token."""
    client = Client(port)
    request = {"username": name, "password": password}
    status, reply = client.request("POST", "/_matrix/client/v3/register", request)
    if status == 401:
        request["auth"] = {"type": "m.login.dummy", "session": reply["session"]}
        status, reply = client.request("POST", "/_matrix/client/v3/register", request)
    if status != 200:
        raise AssertionError(f"registration of {name}: {status}: {reply}")
    return reply


def free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
