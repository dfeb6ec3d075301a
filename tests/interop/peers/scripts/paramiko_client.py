"""paramiko as a client: does one thing and ends."""

import os
import stat
import sys

import paramiko

port, user, key, known_hosts, what, one, other = sys.argv[1:]

client = paramiko.SSHClient()
client.load_host_keys(known_hosts)
client.connect("127.0.0.1", int(port), user, key_filename=key, look_for_keys=False, allow_agent=False)
sftp = client.open_sftp()


def put(here, there):
    sftp.put(here, there)
    found = os.stat(here)
    sftp.utime(there, (found.st_atime, found.st_mtime))


def put_tree(here, there):
    sftp.mkdir(there)
    for entry in os.scandir(here):
        step = put_tree if entry.is_dir() else put
        step(entry.path, there + "/" + entry.name)


def get_tree(there, here):
    os.mkdir(here)
    for entry in sftp.listdir_attr(there):
        step = get_tree if stat.S_ISDIR(entry.st_mode) else sftp.get
        step(there + "/" + entry.filename, os.path.join(here, entry.filename))


def put_on(here, there):
    with open(here, "rb") as source, sftp.open(there, "r+") as target:
        offset = target.stat().st_size
        source.seek(offset)
        target.seek(offset)
        target.set_pipelined(True)
        target.write(source.read())


def get_on(there, here):
    with sftp.open(there, "rb") as source, open(here, "ab") as target:
        source.seek(target.tell())
        target.write(source.read())


def remake(there, mode):
    sftp.chmod(there, int(mode, 8))


def show(there, _):
    print("\n".join(sftp.listdir(there)))


{
    "put": put,
    "get": sftp.get,
    "put-tree": put_tree,
    "get-tree": get_tree,
    "put-on": put_on,
    "get-on": get_on,
    "rename": sftp.rename,
    "remove": lambda there, _: sftp.remove(there),
    "rmdir": lambda there, _: sftp.rmdir(there),
    "mkdir": lambda there, _: sftp.mkdir(there),
    "link": sftp.symlink,
    "mode": remake,
    "list": show,
}[what](one, other)
client.close()
