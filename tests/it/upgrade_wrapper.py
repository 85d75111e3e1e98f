"""Stands in for a new process of an upgrade: passes on what it and the old one say, up to a point."""

import array
import json
import os
import signal
import socket
import struct
import subprocess
import sys
import time

POSTERN, STEP, HOW = "@POSTERN@", int("@STEP@"), "@HOW@"
# Who speaks: the old process, or the new one.
FRAMES = ["old", "new", "old", "old", "new", "old", "new", "old", "new", "old"]


def exactly(source, count):
    data = b""
    while len(data) < count:
        more = source.recv(count - len(data))
        if not more:
            raise SystemExit(1)
        data += more
    return data


def frame(source):
    head = exactly(source, 7)
    _, size, count = struct.unpack("!BIH", head)
    body, groups, seen = exactly(source, size), [], 0
    while seen < count:
        data, ancillary, _, _ = source.recvmsg(1, socket.CMSG_SPACE(64 * 4))
        if not data:
            raise SystemExit(1)
        group = array.array("i")
        for _, _, rights in ancillary:
            group.frombytes(rights)
        groups.append(group)
        seen += len(group)
    return head + body, groups


def send(target, data, groups):
    target.sendall(data)
    for group in groups:
        target.sendmsg([b"\0"], [(socket.SOL_SOCKET, socket.SCM_RIGHTS, group)])
        for descriptor in group:
            os.close(descriptor)


def give_up():
    if HOW == "swap":
        swap()
    if HOW == "hang":
        time.sleep(3600)
    child.kill()
    child.wait()
    if HOW == "signal":
        os.kill(os.getpid(), signal.SIGSEGV)
    sys.exit(3)


def swap():
    """Has the new process find another store where the old one's was; and puts that back."""
    away = store + ".away"
    os.rename(store, away)
    send(ours, *frame(old))
    said = frame(ours)
    child.wait()
    os.replace(away, store)
    send(old, *said)
    sys.exit(0)


old = socket.socket(fileno=os.dup(0))
ours, theirs = socket.socketpair()
child = subprocess.Popen([POSTERN] + sys.argv[1:], stdin=theirs.fileno())
theirs.close()
for number, who in enumerate(FRAMES):
    if who == "old":
        if number == STEP:
            give_up()
        heard = frame(old)
        if number == 0:
            store = json.loads(heard[0][7:])["store"]
        send(ours, *heard)
    else:
        said = frame(ours)
        if number == STEP:
            give_up()
        send(old, *said)
sys.exit("the upgrade went through")
