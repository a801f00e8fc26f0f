/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A container held still while a worker reads what it writes to. */

#include "daemon/container.h"

typedef struct Freeze Freeze;
typedef void (*freeze_done_t)(int r, const sd_bus_error *error, void *userdata);

/* 1: done will be called once, when nothing of the container runs any more; 0: nothing runs, done is not called and
 * *ret is NULL; a container that is paused already is left so. */
int freeze_begin(Container *c, freeze_done_t done, void *userdata, Freeze **ret, sd_bus_error *error);
Freeze *freeze_end(Freeze *f); /* lets it run on, also before done was called; done is not called any more */

void freeze_stop(Manager *m);    /* an orderly end: what is held still runs on, whatever reads it has ended */
void freeze_settled(Manager *m); /* somebody is held no more by a dump for the last manager */
void freeze_recover(Manager *m); /* once, when the shims have answered: what a killed manager left frozen runs on */
