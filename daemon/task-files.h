/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The files of a task: below /run/davit/task/<ns>/<id>, and the record of one that is kept. */

#include "daemon/task.h"

#define TASK_STATE_NAME "task.json" /* in its directory */

/* the directory */
int task_dir_open(Manager *m, const char *ns, const char *id, bool create);
int task_dir_remove(Manager *m, const char *ns, const char *id);
void task_dirs_sweep(int task_fd, const char *ns);
void task_file_unusable(int r, const char *ns, const char *id, const char *name);

/* the task */
int task_files_write_state(Task *t);
int task_record_save(Task *t); /* of a kept container: what must last */
int task_record_remove(Task *t);

/* its configuration */
int task_files_write_spec(Task *t);
void task_files_read_spec(Task *t, JsonObject *o);
int task_keep_spec(Task *t, JsonNode *spec);
int task_load_spec(Task *t, JsonNode **ret, sd_bus_error *error);

/* its execs */
int task_files_write_exec(Exec *e);
void task_files_remove_exec(Exec *e);
int task_files_read_exec_exit(const Task *t, const char *exec_id, struct exit_record *ret);
GPtrArray *task_files_list_execs(const Task *t);
