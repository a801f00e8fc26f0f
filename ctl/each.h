/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One method called on every container a user named, all at once. */

#include "ctl/bus.h"

typedef struct Each {
        const char *kind; /* "task" or "container" */
        const char *interface, *member;
        int (*append)(Message *m, void *userdata); /* the arguments; NULL: none. Negative errno */
        int (*answered)(Ctl *ctl, const char *id, Call *call,
                        void *userdata); /* NULL: print the id. 0 or an exit status */
        bool absent_ok;                  /* a container without a task is as wanted already */
        bool missing_ok;                 /* no such container is as wanted already */
        const char *refused;             /* what to say where its state forbids it, after its id; NULL: as told */
        void *userdata;
} Each;

int each_call(Ctl *ctl, const Each *each, int argc, char **argv);
