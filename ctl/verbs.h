/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* The table of verbs, in the order the help lists them. */

#include "ctl/ctl.h"

extern const Verb verbs[];
extern const size_t n_verbs;

const Verb *verb_take(int *argc, char ***argv);
bool verb_is_group(const char *word);

extern const Option attach_options[], create_options[], exec_options[], image_import_options[], image_ls_options[],
        image_rm_options[], inspect_options[], kill_options[], logs_options[], namespace_create_options[], ps_options[],
        restart_options[], rm_options[], run_options[], start_options[], stop_options[];
