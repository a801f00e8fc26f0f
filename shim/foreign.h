/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* A container that another OCI runtime makes, as the shim's event loop and its requests see it. */

#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "shim/setup.h"
#include "shim/shim.h"

/* making */
int foreign_prepare(struct shim *s, struct setup *su, struct fault *fault);
int foreign_create(struct shim *s, struct fault *fault);
int foreign_start(struct shim *s, struct fault *fault);
int foreign_exec(struct shim *s, struct process *p, struct setup *su, struct fault *fault);

/* requests */
void foreign_signal(struct shim *s, int signal, uint32_t serial);
void foreign_freeze(struct shim *s, bool on, uint32_t serial);

/* events */
void foreign_stray(struct shim *s, const siginfo_t *info);
bool foreign_ended(struct shim *s, const struct process *p, const siginfo_t *info);
size_t foreign_fill(const struct shim *s, struct pollfd *p, size_t n, size_t max);
void foreign_poll(struct shim *s, int sock);
uint64_t foreign_deadline(const struct shim *s);
void foreign_late(struct shim *s);
bool foreign_delete(struct shim *s);
