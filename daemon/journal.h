/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Lifecycle messages in the journal, with fields to search by; never waits for journald. */

#include "daemon/task.h"

#define JOURNAL_TASK_STARTED "5ab4c1f0b1c64c6b9a1d3e9f0d3a7c11"
#define JOURNAL_TASK_EXITED "c0f3a7d2e5914f4e8c6b2a917d0e4b52"

void journal_task_started(const Task *t);
void journal_task_exited(const Task *t);
