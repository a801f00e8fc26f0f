/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The table of verbs: name, arguments, summary, options, function. Help, usage lines and the tests of the manual page
 * and of the completion are made from it.
 * The order is the one in which the help lists them.
 */

#include "ctl/verbs.h"

#define MANY (-1)

const Verb verbs[] = {
        { "run", N_("[OPTION...] IMAGE [COMMAND [ARG...]]"), N_("Create a container and start it"), run_options, 0,
          MANY, true, verb_run },
        { "create", N_("[OPTION...] IMAGE [COMMAND [ARG...]]"), N_("Create a container without starting it"),
          create_options, 0, MANY, true, verb_create },
        { "start", N_("[OPTION...] CONTAINER..."), N_("Start containers"), start_options, 1, MANY, false, verb_start },
        { "attach", N_("[OPTION...] CONTAINER"), N_("Connect to the terminal of a container"), attach_options, 1, 1,
          false, verb_attach },
        { "exec", N_("[OPTION...] CONTAINER COMMAND [ARG...]"), N_("Run a further program in a container"),
          exec_options, 2, MANY, true, verb_exec },
        { "ps", N_("[OPTION...]"), N_("List containers"), ps_options, 0, 0, false, verb_ps },
        { "top", N_("CONTAINER"), N_("List the processes of a container"), NULL, 1, 1, false, verb_top },
        { "logs", N_("[OPTION...] CONTAINER"), N_("Show what a container wrote"), logs_options, 1, 1, false,
          verb_logs },
        { "inspect", N_("[OPTION...] NAME..."), N_("Show all there is to know of containers or images"),
          inspect_options, 1, MANY, false, verb_inspect },
        { "stop", N_("[OPTION...] CONTAINER..."), N_("Stop containers"), stop_options, 1, MANY, false, verb_stop },
        { "restart", N_("[OPTION...] CONTAINER..."), N_("Stop containers and start them again"), restart_options, 1,
          MANY, false, verb_restart },
        { "kill", N_("[OPTION...] CONTAINER..."), N_("Send a signal to containers"), kill_options, 1, MANY, false,
          verb_kill },
        { "pause", N_("CONTAINER..."), N_("Freeze all processes of containers"), NULL, 1, MANY, false, verb_pause },
        { "unpause", N_("CONTAINER..."), N_("Let frozen containers go on"), NULL, 1, MANY, false, verb_unpause },
        { "wait", N_("CONTAINER..."), N_("Wait for containers to end and print their exit statuses"), NULL, 1, MANY,
          false, verb_wait },
        { "rm", N_("[OPTION...] CONTAINER..."), N_("Remove containers"), rm_options, 1, MANY, false, verb_rm },
        { "image import", N_("[OPTION...] FILE|DIRECTORY|-"), N_("Import images from an archive"), image_import_options,
          0, 1, false, verb_image_import },
        { "image ls", N_("[OPTION...]"), N_("List images"), image_ls_options, 0, 0, false, verb_image_ls },
        { "image rm", N_("[OPTION...] IMAGE..."), N_("Remove images"), image_rm_options, 1, MANY, false,
          verb_image_rm },
        { "image inspect", N_("IMAGE..."), N_("Show all there is to know of images"), NULL, 1, MANY, false,
          verb_image_inspect },
        { "namespace ls", "", N_("List namespaces"), NULL, 0, 0, false, verb_namespace_ls },
        { "namespace create", N_("[OPTION...] NAME"), N_("Create a namespace"), namespace_create_options, 1, 1, false,
          verb_namespace_create },
        { "namespace rm", N_("NAME..."), N_("Remove empty namespaces"), NULL, 1, MANY, false, verb_namespace_rm },
        { "version", "", N_("Show the versions of davitctl and of the manager"), NULL, 0, 0, false, verb_version },
        { "help", N_("[COMMAND]"), N_("Show this list, or the help of a command"), NULL, 0, MANY, true, verb_help },
};

const size_t n_verbs = ELEMENTSOF(verbs);

/** verb_find() - the verb of a name, NULL where there is none. */
const Verb *verb_find(const char *name) {
        for (size_t i = 0; i < n_verbs; i++)
                if (streq(verbs[i].name, name))
                        return &verbs[i];
        return NULL;
}
