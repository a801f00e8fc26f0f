/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is taken away from disk, durably and in order, without the event loop waiting for the disk. */

#include <stdint.h>
#include <systemd/sd-event.h>

typedef struct Sync Sync;

/* work: beside the event loop, touches nothing but its userdata; done: in the event loop, when it is durable,
 * or r < 0: it could not be taken away, or it is not known to stay away */
typedef int (*sync_work_t)(void *userdata);
typedef void (*sync_done_t)(int r, void *userdata);

int sync_new(sd_event *event, Sync **ret);
Sync *sync_free(Sync *s);

void sync_unlink(Sync *s, int dir_fd, const char *name); /* takes dir_fd */
/* dir_fd: to be synced afterwards, is taken; -1: none */
void sync_run(Sync *s, int dir_fd, const char *name, sync_work_t work, sync_done_t done, void *userdata);
uint64_t sync_mark(const Sync *s);
void sync_wait(Sync *s, uint64_t from, sync_done_t done, void *userdata);
int sync_settle(Sync *s, const char *name); /* -EAGAIN: the disk does not get on with it */
