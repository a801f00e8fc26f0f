/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* One method called on every container a user named, all at once, or on one exec of the one that was named. */

#include "ctl/bus.h"

enum { OPTION_EXEC = OPTION_FREE };

#define EACH_OPTION_EXEC                                                                                               \
        { OPTION_EXEC, "exec", N_("ID"), N_("Of the one container named this exec, as davitctl top calls it") }

typedef struct Each {
        const char *kind; /* "task" or "container" */
        const char *interface, *member;
        int (*append)(Message *m, void *userdata); /* the arguments; NULL: none. Negative errno */
        int (*answered)(Ctl *ctl, const char *id, Call *call,
                        void *userdata); /* NULL: print the id. 0 or an exit status */
        bool absent_ok;                  /* a container without a task is as wanted already */
        bool missing_ok;                 /* no such container is as wanted already */
        bool repeats;                    /* a container that is named twice is called twice */
        int (*refused)(Ctl *ctl, const char *id, Call *call); /* says that its state forbids it; NULL: as told */
        const char *exec;                /* id of an exec of the one container; NULL: it is about containers */
        void *userdata;
} Each;

int each_names(Ctl *ctl, bool repeats, int argc, char **argv, Strv *ret);
int each_call(Ctl *ctl, const Each *each, int argc, char **argv);
