/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Checkpoints on the bus: methods of Task and Container. Decodes, calls, encodes.
 *
 * Task.Checkpoint is answered with its job once this host is known to be able to make one, so that what is missing is
 * told before the task is touched.
 */

#include "daemon/bus.h"
#include "daemon/checkpoint.h"
#include "daemon/error.h"
#include "daemon/job-bus.h"
#include "daemon/task.h"

typedef struct Flags {
        int exit, tcp, unix_sockets, terminal, locks;
} Flags;

static void on_begun(Job *job, int r, const sd_bus_error *error, void *userdata) {
        sd_bus_message *call = userdata;

        if (r < 0) {
                bus_reply_error(&call, r, error);
                return;
        }
        (void)job_bus_reply_path(job, call);
        sd_bus_message_unref(call);
}

/** method_checkpoint() - Task.Checkpoint */
int method_checkpoint(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Exit", "b", offsetof(Flags, exit), 1, NULL },
                { "AllowTcp", "b", offsetof(Flags, tcp), 1, NULL },
                { "AllowUnixSockets", "b", offsetof(Flags, unix_sockets), 1, NULL },
                { "AllowTerminal", "b", offsetof(Flags, terminal), 1, NULL },
                { "FileLocks", "b", offsetof(Flags, locks), 1, NULL },
        };
        CheckpointOptions o = {};
        Flags f = {};
        int r;

        r = sd_bus_message_read(m, "s", &o.name);
        if (r >= 0)
                r = bus_options_read(m, table, ELEMENTSOF(table), 1, &f, error);
        if (r < 0)
                return r;
        o.exit = f.exit;
        o.flags = (f.tcp ? CHECKPOINT_TCP : 0U) | (f.unix_sockets ? CHECKPOINT_UNIX : 0U) |
                  (f.terminal ? CHECKPOINT_TERMINAL : 0U) | (f.locks ? CHECKPOINT_LOCKS : 0U);
        return bus_reply_later(m, checkpoint_make(userdata, &o, on_begun, sd_bus_message_ref(m), error), error);
}

/** method_list_checkpoints() - Container.ListCheckpoints */
int method_list_checkpoints(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        _cleanup_bus_message_ sd_bus_message *reply = NULL;
        const Container *c = userdata;
        int r;

        r = sd_bus_message_new_method_return(m, &reply);
        if (r >= 0)
                r = sd_bus_message_open_container(reply, 'a', "(stt)");
        for (guint i = 0; r >= 0 && c->checkpoints && i < c->checkpoints->len; i++) {
                const Checkpoint *k = g_ptr_array_index(c->checkpoints, i);

                if (k->usable)
                        r = sd_bus_message_append(reply, "(stt)", k->name, k->created, k->bytes);
        }
        if (r >= 0)
                r = sd_bus_message_close_container(reply);
        return r < 0 ? r : sd_bus_send(NULL, reply, NULL);
}

/** method_delete_checkpoint() - Container.DeleteCheckpoint */
int method_delete_checkpoint(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        const char *name;
        int r;

        r = sd_bus_message_read(m, "s", &name);
        if (r >= 0)
                r = checkpoint_delete(userdata, name, error);
        return r < 0 ? r : sd_bus_reply_method_return(m, NULL);
}
