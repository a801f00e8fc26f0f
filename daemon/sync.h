/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is taken away from disk, durably and in order, without the event loop waiting for the disk. */

#include <systemd/sd-event.h>

typedef struct Sync Sync;

/* work: beside the event loop, touches nothing but its userdata; done: in the event loop, when it is durable */
typedef int (*sync_work_t)(void *userdata);
typedef void (*sync_done_t)(void *userdata);

int sync_new(sd_event *event, Sync **ret);
Sync *sync_free(Sync *s);

void sync_unlink(Sync *s, int dir_fd, const char *name); /* takes dir_fd */
void sync_run(Sync *s, const char *name, sync_work_t work, sync_done_t done, void *userdata);
void sync_wait(Sync *s, sync_done_t done, void *userdata);
void sync_settle(Sync *s, const char *name);
