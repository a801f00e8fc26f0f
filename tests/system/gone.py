# SPDX-License-Identifier: LGPL-2.1-or-later
"""A caller that leaves the bus while its calls are under way. Standard input: a JSON list of [path, "Interface.Method", body];
the argument: how many seconds it stays after each."""

import json
import os
import sys
import time

import davit
from davit import Gio, GLib


def main():
    with open("/dev/null", "rb") as null:
        for path, method, text in json.load(sys.stdin):
            # A connection for each, so that each is gone at another moment of its call.
            connection = davit.connect()
            interface, _, member = method.rpartition(".")
            message = Gio.DBusMessage.new_method_call(davit.NAME, path, f"{davit.NAME}.{interface}", member)
            body = GLib.Variant.parse(None, text, None, None)
            if body.n_children():
                message.set_body(body)
            if "h" in body.get_type_string().replace("a{sv}", ""):
                fds = Gio.UnixFDList.new()
                fds.append(null.fileno())
                message.set_unix_fd_list(fds)
            connection.send_message(message, Gio.DBusSendMessageFlags.NONE)
            connection.flush_sync()
            time.sleep(float(sys.argv[1]) if len(sys.argv) > 1 else 0)
            connection.close_sync()
    os._exit(0)


main()
