/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The bus face of jobs: org.davit.Davit1.Job below /org/davit/Davit1/job. */

#include "daemon/job.h"

#define JOB_INTERFACE "org.davit.Davit1.Job"

int job_bus_register(Manager *m);
char *job_bus_path(const Job *job);
int job_bus_reply(Job *job, sd_bus_message *call);
int job_bus_reply_path(const Job *job, sd_bus_message *call); /* of the method that has begun it */

/* methods of Manager; userdata is the Manager */
int method_list_jobs(sd_bus_message *m, void *userdata, sd_bus_error *error);

/* what job.c says; nothing happens without Manager.bus */
void job_bus_added(Job *job);
void job_bus_removed(Job *job);
void job_bus_changed(Job *job, const char *property);
void job_bus_finished(Job *job);
