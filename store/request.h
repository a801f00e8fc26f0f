/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A request of store-protocol.h, carried out. */

#include <glib.h>

#include "store/job.h"

/* The result's text, or NULL with error. @fd is the import's input, -1: none; it stays the caller's. */
char *request_run(const char *directory, StoreJob *job, const char *text, gsize size, int fd, GError **error);

int server_run(int sock, const char *directory);
int command_run(const char *directory, int argc, char **argv);
