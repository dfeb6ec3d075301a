"""AsyncSSH as an SFTP server for one account, which sees the whole file system.

Keys are exchanged anew every few MiB. Prints where it listens and its version; ends when it is killed.
"""

import asyncio
import concurrent.futures.thread  # loaded late otherwise, by somebody who may not be let in there
import logging
import os
import sys

import asyncssh

from account import become, folder_and_user


class OneAccount(asyncssh.SSHServer):
    def __init__(self, user, keys):
        self.user, self.keys = user, keys

    def connection_made(self, conn):
        self.conn = conn

    def begin_auth(self, username):
        self.conn.set_authorized_keys(self.keys if username == self.user else asyncssh.import_authorized_keys(""))
        return True


async def main():
    folder, user = folder_and_user()
    keys = asyncssh.read_authorized_keys(os.path.join(folder, "authorized_keys"))
    listener = await asyncssh.listen(
        "127.0.0.1",
        0,
        server_host_keys=[asyncssh.read_private_key(os.path.join(folder, "host_key"))],
        server_factory=lambda: OneAccount(user, keys),
        sftp_factory=True,
        rekey_bytes=8 << 20,
    )
    logging.basicConfig(level=logging.INFO)
    asyncssh.set_log_level("DEBUG")
    logging.getLogger("asyncssh").addFilter(lambda record: "key exchange" in record.getMessage())
    become(user)
    print("port", listener.get_port(), "version", asyncssh.__version__, flush=True)
    await listener.wait_closed()


sys.exit(asyncio.run(main()))
