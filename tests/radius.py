"""A real RADIUS server for tests: freeradius in a temp folder, on loopback of both families.

`fixtures_directory` has the fixture; whoever changes or stops the server starts his own with
`radius_server`.
"""

import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from tests.servers import START_SECONDS, free_udp_port, require

SECRET = "shared-secret-of-tests"
PASSWORDS = {
    "alice": "alice-wonderland-1865",
    "bob": "bob-the-builder-1999",
    "carol": "carol-christmas-1843",
    "token": "asks-for-a-second-factor",
    "löwe": "löwe-und-maus-1893",
    "long": "x" * 128,
    "nickname": "goes-by-another-name",
}

# alice's groups stand in Class, Filter-Id and a vendor's attribute, each of them different.
USERS = """\
alice Cleartext-Password := "{alice}"
    Class += "admins", Class += "engineers", Class += 0xfffe00,
    Filter-Id += "filtered", Cisco-AVPair += "shell:roles=network-admin"
bob Cleartext-Password := "{bob}"
    Class += "operators"
carol Cleartext-Password := "{carol}"
token Cleartext-Password := "{token}", Response-Packet-Type := Access-Challenge
    Reply-Message := "type the number", State := 0x01
löwe Cleartext-Password := "{löwe}"
long Cleartext-Password := "{long}"
nickname Cleartext-Password := "{nickname}"
    User-Name := "Full.Name"
"""


class RadiusServer:
    """freeradius with the people above.

    It demands a Message-Authenticator and, with `is_signing`, puts one into its answers; without,
    it is as servers were before BlastRADIUS (CVE-2024-3596).  It refuses at once, where an
    ordinary one waits for a second.
    """

    def __init__(self, folder: Path, programs: dict[str, str], *, is_signing: bool) -> None:
        self.port = free_udp_port()
        self._folder = folder
        self._programs = programs
        self._process: subprocess.Popen[bytes] | None = None
        (folder / "users").write_text(USERS.format(**PASSWORDS))
        (folder / "dictionary").write_text("$INCLUDE /usr/share/freeradius/dictionary\n")
        (folder / "radiusd.conf").write_text(_configuration(folder, self.port, is_signing))

    @property
    def address(self) -> str:
        return f"127.0.0.1:{self.port}"

    @property
    def address6(self) -> str:
        return f"[::1]:{self.port}"

    def settings(self, **changes: Any) -> Mapping[str, Any]:
        """Return `spec.radius` of an AuthenticationPolicy that uses this server.

        The Credential with the secret is named `radius`.  None leaves a field out.
        """
        ordinary = {"servers": [self.address], "credential": "radius"}
        return {key: value for key, value in (ordinary | changes).items() if value is not None}

    def start(self) -> None:
        log = self._folder / "log"
        with log.open("wb") as file:
            self._process = subprocess.Popen(
                [self._programs["freeradius"], "-f", "-d", str(self._folder), "-l", "stdout"],
                cwd=self._folder,
                stdout=file,
                stderr=file,
            )
        deadline = time.monotonic() + START_SECONDS
        while b"Ready to process requests" not in log.read_bytes():
            if self._process.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError(f"freeradius does not start: {log.read_text('utf-8')}")
            time.sleep(0.02)

    def stop(self) -> None:
        if self._process is not None:
            self._process.kill()
            self._process.wait(timeout=START_SECONDS)
            self._process = None


def _configuration(folder: Path, port: int, is_signing: bool) -> str:
    sign = "update reply { Message-Authenticator := 0x00 }" if is_signing else ""
    return f"""\
prefix = /usr
name = freeradius
libdir = /usr/lib/freeradius
logdir = {folder}
run_dir = {folder}
pidfile = {folder}/pid
max_request_time = 30
cleanup_delay = 0
max_requests = 4096
hostname_lookups = no
log {{
  destination = stdout
}}
security {{
  allow_core_dumps = no
  max_attributes = 200
  reject_delay = 0
  status_server = no
}}
thread pool {{
  start_servers = 2
  max_servers = 4
  min_spare_servers = 1
  max_spare_servers = 4
}}
client loopback {{
  ipaddr = 127.0.0.1
  secret = {SECRET}
  require_message_authenticator = yes
}}
client loopback6 {{
  ipv6addr = ::1
  secret = {SECRET}
  require_message_authenticator = yes
}}
modules {{
  pap {{
  }}
  files {{
    usersfile = {folder}/users
  }}
}}
server default {{
  listen {{
    type = auth
    ipaddr = 127.0.0.1
    port = {port}
  }}
  listen {{
    type = auth
    ipv6addr = ::1
    port = {port}
  }}
  authorize {{
    files
    pap
  }}
  authenticate {{
    Auth-Type PAP {{
      pap
    }}
  }}
  post-auth {{
    {sign}
    Post-Auth-Type REJECT {{
      {sign}
    }}
    Post-Auth-Type Challenge {{
      {sign}
    }}
  }}
}}
"""


@contextmanager
def radius_server(*, is_signing: bool = True) -> Iterator[RadiusServer]:
    """Run a RADIUS server for the length of a with-block."""
    programs = require("freeradius")
    with tempfile.TemporaryDirectory(prefix="hanse-freeradius-") as name:
        server = RadiusServer(Path(name), programs, is_signing=is_signing)
        server.start()
        try:
            yield server
        finally:
            server.stop()
