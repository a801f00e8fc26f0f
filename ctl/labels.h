/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The verbs that show or change the labels of an object. */

#include "ctl/bus.h"

int labels_verb(Ctl *ctl, const char *verb, int argc, char **argv, const char *member, const char *interface);
