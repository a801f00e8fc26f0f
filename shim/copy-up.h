/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* tmpcopyup: a new tmpfs begins with what the directory below it holds. */

int copy_up(int from_fd, int to_fd);
