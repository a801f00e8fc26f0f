/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The journal of a container until it has ended. */

#include "ctl/ctl.h"

int logs_follow(Ctl *ctl, const char *id, const Strv *command, const char *lines);
