/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The user's own terminal: its size, raw mode and the way back. */

#include <stdbool.h>

bool terminal_size(unsigned *ret_columns, unsigned *ret_rows);
int terminal_raw(void);
void terminal_restore(void);
unsigned terminal_columns(void);
bool terminal_colours(void);
