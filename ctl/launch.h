/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What run, start and exec share on the way to a running program. */

#include "ctl/session.h"

struct ContainerOptions;

int dup_cloexec(int fd);
int launch_report(Ctl *ctl, const Call *call, const char *subject);
int session_report(Session *s, const Call *call);
int append_console_size(Message *m);
int task_create(Session *s, Call *call, const char *container, const char *checkpoint);
int task_created(Session *s, Call *call, const char **ret_path);

/* leaving.c */
typedef int (*container_send_t)(struct ContainerOptions *o, Session *s, Call *call, int argc, char **argv);

int container_define(struct ContainerOptions *o, Session *s, Call *call, int argc, char **argv);
int container_make(struct ContainerOptions *o, Session *s, Call *call, int argc, char **argv, container_send_t send);
