"""AsyncSSH as a client: does one thing and ends."""

import asyncio
import os
import sys

import asyncssh

port, user, key, known_hosts, what, one, other = sys.argv[1:]


async def put_on(sftp):
    with open(one, "rb") as source:
        async with sftp.open(other, "r+b") as target:
            offset = (await target.stat()).size
            source.seek(offset)
            await target.write(source.read(), offset)


async def get_on(sftp):
    with open(other, "ab") as target:
        async with sftp.open(one, "rb") as source:
            target.write(await source.read(-1, target.tell()))


async def show(sftp):
    print("\n".join(await sftp.listdir(one)))


DEEDS = {
    "put": lambda sftp: sftp.put(one, other, preserve=True),
    "get": lambda sftp: sftp.get(one, other, preserve=True),
    "put-tree": lambda sftp: sftp.put(one, other, preserve=True, recurse=True),
    "get-tree": lambda sftp: sftp.get(one, other, preserve=True, recurse=True),
    "put-on": put_on,
    "get-on": get_on,
    "rename": lambda sftp: sftp.rename(one, other),
    "remove": lambda sftp: sftp.remove(one),
    "rmdir": lambda sftp: sftp.rmdir(one),
    "mkdir": lambda sftp: sftp.mkdir(one),
    "link": lambda sftp: sftp.symlink(one, other),
    "mode": lambda sftp: sftp.chmod(one, int(other, 8)),
    "list": show,
}


async def main():
    options = {"username": user, "client_keys": [key], "known_hosts": known_hosts, "config": None}
    async with asyncssh.connect("127.0.0.1", int(port), agent_path=None, **options) as connection:
        async with connection.start_sftp_client() as sftp:
            await DEEDS[what](sftp)


asyncio.run(main())
