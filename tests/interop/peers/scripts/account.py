"""What the servers in Python share: whose they are."""

import os
import pwd
import sys


def folder_and_user():
    """The folder with keys, and the name of the user who logs in, as given on the command line."""
    _, folder, user = sys.argv
    return folder, user


def become(user):
    """Gives up root for this user. What is needed of other folders has to be loaded before."""
    if os.geteuid() != 0:
        return
    entry = pwd.getpwnam(user)
    os.setgroups([entry.pw_gid])
    os.setgid(entry.pw_gid)
    os.setuid(entry.pw_uid)
    os.umask(0o022)
    os.chdir("/")
