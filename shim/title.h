/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What the process is called in ps(1) and systemctl(1). */

#define TITLE_ROOM "--room-for-a-title" /* begins the launcher's last argument, which says nothing */

void title_init(int argc, char *argv[]);
void title_set(const char *ns, const char *id);
