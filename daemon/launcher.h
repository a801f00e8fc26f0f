/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Client of the launcher: warm shims, chain mounts, removals. Never blocks; reconnects when the launcher has gone. */

#include "daemon/manager.h"
#include "shared/shim-protocol.h"

typedef struct WarmShim {
        int socket; /* control socket */
        int pidfd;
        int pid;
        uint64_t start_time;
} WarmShim;
#define WARM_SHIM_NULL                                                                                                 \
        { .socket = -1, .pidfd = -1 }

typedef struct LauncherRequest LauncherRequest;
typedef void (*launcher_shim_handler_t)(WarmShim *shim, int error, void *userdata); /* takes the shim's descriptors */
typedef void (*launcher_done_handler_t)(int error, const char *message, void *userdata);
typedef void (*launcher_dump_handler_t)(const struct launcher_dumped *d, const char *text, void *userdata);
typedef void (*launcher_mount_handler_t)(int mount, int error, const char *message, void *userdata); /* takes mount */

int launcher_new(Manager *m, Launcher **ret);
Launcher *launcher_free(Launcher *l);

/* Takes a warm shim at once (1), or calls the handler when one comes or the wait has failed (0, *ret_request set). */
int launcher_take(Launcher *l, WarmShim *ret, launcher_shim_handler_t handler, void *userdata,
                  LauncherRequest **ret_request);
void launcher_refill(Launcher *l); /* asks for what was taken, once the caller has sent what is urgent */

/* Mounts a chain's checkout or image read-only at /run/davit/chains/<chain id>; source is an absolute path. */
int launcher_chain(Launcher *l, const char *chain_id, const char *source, const struct launcher_chain *form,
                   launcher_done_handler_t handler, void *userdata, LauncherRequest **ret_request);
uint32_t launcher_features(const Launcher *l);
/* Mounts layers, topmost first, and hands out the mount, attached nowhere. Lists end with NULL. */
int launcher_mount(Launcher *l, const char *const *lowers, const char *const *data, const char *upper, const char *work,
                   launcher_mount_handler_t handler, void *userdata, LauncherRequest **ret_request);
int launcher_drop_chain(Launcher *l, const char *chain_id);
bool launcher_has_chain(Launcher *l, const char *chain_id,
                        const char *source); /* mounted in this launcher's life: no need to wait */
/* Dumps the processes of a task into a directory, or without one finds out whether that is possible here. text: what
 * criu says, or its version; without an answer error is -ECONNRESET. A dump with LAUNCHER_DUMP_EXIT that has succeeded
 * is not over before launcher_dump_end(). */
int launcher_dump(Launcher *l, const struct launcher_dump *what, int directory, int life,
                  launcher_dump_handler_t handler, void *userdata, uint32_t *ret_serial);
int launcher_dump_end(Launcher *l, uint32_t serial, bool end, launcher_done_handler_t handler, void *userdata);
/* Removes an entry of /var/lib/davit/trash ("": all of it) in the background. */
int launcher_remove(Launcher *l, const char *name, launcher_done_handler_t handler, void *userdata);
void launcher_request_cancel(LauncherRequest *r);

void warm_shim_done(WarmShim *s);
