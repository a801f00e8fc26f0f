/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The start of a task, for the files that make it: launch-begin.c, task-launch.c, launch-undo.c. */

#include "daemon/chain.h"
#include "daemon/launcher.h"
#include "daemon/stdio.h"
#include "daemon/task.h"
#include "daemon/units.h"

struct Launch {
        Task *task;
        Manager *manager;
        bool start;   /* execute at once */
        bool asked;   /* systemd may know the scope */
        bool held;    /* SHIM_START waits for the scope's properties */
        bool devices; /* and so does SHIM_LAUNCH, since they may change which devices can be opened */
        bool created; /* SHIM_CREATED has come, SHIM_START is due */
        bool failed;
        bool restore; /* of a checkpoint, see task-deferred.h */
        bool writes;  /* to its root file system */
        bool written; /* the configuration is in its files */
        int images;   /* of the checkpoint; -1 */
        PlanResult plan;
        JsonNode *spec; /* where it is not the container's own */
        Stdio stdio;
        char *chain_id;
        const char *kind; /* of the chain */
        ChainForm form;
        ChainRequest *chain;
        LauncherRequest *request;
        UnitCall *unit; /* a job or a call at systemd that has not ended */
        sd_event_source *timer;
        int failure;
        sd_bus_error error;
        task_done_t done;
        void *userdata;
};

void launch_next(Launch *l);

/* launch-undo.c */
void launch_fail(Launch *l, int r, const sd_bus_error *error);
void launch_undo(Launch *l);
int launch_timeout(sd_event_source *s, uint64_t usec, void *userdata);
