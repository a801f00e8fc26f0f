/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Who may call: every message waits here until its sender's uid is known. */

#include "daemon/manager.h"

int auth_new(Manager *m, Auth **ret);
Auth *auth_free(Auth *a);
uint32_t auth_sender_uid(Auth *a, sd_bus_message *m); /* UINT32_MAX: nobody knows */
