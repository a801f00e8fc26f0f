/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What is UTF-8. */

#include <stddef.h>

size_t utf8_length(const char *text);
