/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Starting a container that exists; restart does it too. */

#include "ctl/bus.h"

int start_container(Ctl *ctl, const char *id);
