/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the journal adds to a task's lines: files beside systemd's own, written and removed in task-files.c. */

#include <stdbool.h>

typedef struct Task Task;

#define LOG_FIELDS_DIR "/run/systemd/units"
#define LOG_FIELDS_NAME "log-extra-fields:"
#define LOG_RATE_INTERVAL_NAME "log-rate-limit-interval:"
#define LOG_RATE_BURST_NAME "log-rate-limit-burst:"

int task_log_fields_write(Task *t);
bool task_log_fields_exist(const Task *t);
void task_log_fields_remove(Task *t);
