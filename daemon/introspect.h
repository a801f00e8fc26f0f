/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* davitd --bus-introspect: the interfaces as the running daemon would show them, without a bus. */

int introspect_print(const char *path);
