/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl, Davit's command line: the table of verbs and the way from argv to one of them. It knows Davit only through
 * the D-Bus interface; a verb's work is in the file of the verb's name. Nothing is set up before a verb wants it, since
 * starting davitctl is part of starting a container.
 */

#include "ctl/bus.h"
#include "ctl/ctl.h"
#include "ctl/verbs.h"

static int option_wrong(Ctl *ctl, const char *option) {
        static const char *const plain[] = { "--version", "--help", "--json" };
        int n = (int)strcspn(option, "=");

        if (streq(option, "--namespace") || streq(option, "-n"))
                return ctl_error(ctl, _("option '%s' needs a value; see 'davitctl help'"), option);
        for (size_t i = 0; option[n] && i < ELEMENTSOF(plain); i++)
                if ((size_t)n == strlen(plain[i]) && strncmp(option, plain[i], (size_t)n) == 0)
                        return ctl_error(ctl, _("option '%s' takes no value; see 'davitctl help'"), plain[i]);
        return ctl_error(ctl, _("unknown option '%s'; see 'davitctl help'"), option);
}

/* Options before the verb. Returns -1 to go on, or an exit status. */
static int global_options(Ctl *ctl, int *argc, char ***argv) {
        while (*argc > 1 && (*argv)[1][0] == '-') {
                const char *option = (*argv)[1], *ns = NULL;
                int used = 1;

                if (streq(option, "--version"))
                        return printf("davit %s\n", PACKAGE_VERSION) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
                if (streq(option, "--help") || streq(option, "-h"))
                        return verb_help(ctl, 1, (char *[]){ (char *)"help", NULL });
                if (streq(option, "--json"))
                        ctl->json = true;
                else if (strncmp(option, "--namespace=", 12) == 0)
                        ns = option + 12;
                else if ((streq(option, "--namespace") || streq(option, "-n")) && *argc > 2) {
                        ns = (*argv)[2];
                        used = 2;
                } else
                        return option_wrong(ctl, option);
                if (ns && ctl_namespace(ctl, ns) != 0)
                        return ctl->failure;
                *argc -= used;
                *argv += used;
        }
        return -1;
}

static int run_verb(Ctl *ctl, int argc, char **argv) {
        const Verb *verb;
        int r;

        argc--;
        argv++;
        if (argc < 1) {
                (void)verb_help(ctl, 1, (char *[]){ (char *)"help", NULL });
                return EXIT_FAILURE;
        }
        if (argc == 2 && verb_is_group(argv[0]) && (streq(argv[1], "--help") || streq(argv[1], "-h")))
                return verb_help(ctl, 2, (char *[]){ (char *)"help", argv[0], NULL });
        verb = verb_take(&argc, &argv);
        if (!verb) {
                const char *second = argc > 1 && verb_is_group(argv[0]) ? argv[1] : "";

                if (!*second && verb_hint(argv[0]))
                        return ctl_error(ctl, "%s", _(verb_hint(argv[0])));
                if (argc == 1 && verb_is_group(argv[0]) && !streq(argv[0], "container"))
                        return ctl_error(ctl, _("'davitctl %s' takes a command; see 'davitctl %s --help'"), argv[0],
                                         argv[0]);
                return ctl_error(ctl, _("there is no command '%s%s%s'; see 'davitctl help'"), argv[0],
                                 *second ? " " : "", second);
        }
        r = verb->run(ctl, argc, argv);
        if (fflush(stdout) != 0 && errno != EPIPE && r == EXIT_SUCCESS)
                return ctl_error(ctl, _("cannot write the output: %s"), strerror(errno));
        return r;
}

int main(int argc, char **argv) {
        const char *ns = getenv("DAVIT_NAMESPACE");
        Ctl ctl = { .ns = ns && *ns ? ns : "default", .failure = EXIT_FAILURE };
        int r;

        r = global_options(&ctl, &argc, &argv);
        if (r < 0)
                r = run_verb(&ctl, argc, argv);
        /* Every call has been answered; the kernel closes the connection. */
        return r;
}
