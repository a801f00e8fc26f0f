/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl, Davit's command line: the table of verbs and the way from argv to one of them. It knows Davit only through
 * the D-Bus interface; a verb's work is in the file of the verb's name. Nothing is set up before a verb wants it, since
 * starting davitctl is part of starting a container.
 */

#include "ctl/bus.h"
#include "ctl/ctl.h"
#include "ctl/verbs.h"

typedef struct Alias {
        const char *name, *verb;
} Alias;

/* What users of other container tools type. */
static const Alias aliases[] = {
        { "images", "image ls" },
        { "import", "image import" },
        { "list", "ps" },
        { "load", "image import" },
        { "ls", "ps" },
        { "remove", "rm" },
        { "resume", "unpause" },
        { "rmi", "image rm" },
        { "image list", "image ls" },
        { "image load", "image import" },
        { "image remove", "image rm" },
        { "image delete", "image rm" },
        { "namespace", "namespace ls" },
        { "namespace list", "namespace ls" },
        { "namespace remove", "namespace rm" },
        { "container list", "ps" },
        { "container ls", "ps" },
        { "image", "image ls" },
};

static const char *alias_resolve(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(aliases); i++)
                if (streq(aliases[i].name, name))
                        return aliases[i].verb;
        return name;
}

/** verb_find() - the verb of a name, NULL where there is none. */
const Verb *verb_find(const char *name) {
        for (size_t i = 0; i < n_verbs; i++)
                if (streq(verbs[i].name, name))
                        return &verbs[i];
        return NULL;
}

static bool is_group(const char *word) {
        return streq(word, "image") || streq(word, "namespace") || streq(word, "container");
}

/* Finds the verb at argv[0], which may be two words, and moves argv to its last word. */
static const Verb *verb_take(int *argc, char ***argv) {
        const char *word = (*argv)[0];
        const Verb *verb = NULL;

        if (*argc > 1 && (*argv)[1][0] != '-' && is_group(word)) {
                _cleanup_free_ char *both = text_printf("%s %s", word, (*argv)[1]);

                verb = both ? verb_find(alias_resolve(both)) : NULL;
                if (!verb && streq(word, "container"))
                        verb = verb_find(alias_resolve((*argv)[1]));
                if (verb) {
                        (*argc)--;
                        (*argv)++;
                }
                return verb;
        }
        return verb_find(alias_resolve(word));
}

/** verb_help() - lists the verbs, or shows the help of one. */
int verb_help(Ctl *ctl, int argc, char **argv) {
        const Verb *verb;

        argc--;
        argv++;
        if (argc > 0) {
                verb = verb_take(&argc, &argv);
                if (!verb)
                        return ctl_error(ctl, _("there is no command '%s'; see 'davitctl help'"), argv[0]);
                options_help(verb);
                return EXIT_SUCCESS;
        }
        printf("%s", _("Usage: davitctl [-n NAMESPACE] COMMAND [ARGUMENT...]\n\nRuns and manages "
                       "containers.\n\nCommands:\n"));
        for (size_t i = 0; i < n_verbs; i++)
                printf("  %-18s %s\n", verbs[i].name, _(verbs[i].summary));
        printf("%s", _("\nOptions of every command: -n/--namespace=NAME, --json, --help.\n"
                       "See 'davitctl COMMAND --help' and davitctl(1).\n"));
        return EXIT_SUCCESS;
}

/* Options before the verb. Returns -1 to go on, or an exit status. */
static int global_options(Ctl *ctl, int *argc, char ***argv) {
        while (*argc > 1 && (*argv)[1][0] == '-') {
                const char *option = (*argv)[1];
                int used = 1;

                if (streq(option, "--version"))
                        return printf("davit %s\n", PACKAGE_VERSION) < 0 ? EXIT_FAILURE : EXIT_SUCCESS;
                if (streq(option, "--help") || streq(option, "-h"))
                        return verb_help(ctl, 1, (char *[]){ (char *)"help", NULL });
                if (streq(option, "--json"))
                        ctl->json = true;
                else if (strncmp(option, "--namespace=", 12) == 0)
                        ctl->ns = option + 12;
                else if ((streq(option, "--namespace") || streq(option, "-n")) && *argc > 2) {
                        ctl->ns = (*argv)[2];
                        used = 2;
                } else
                        return ctl_error(ctl, _("unknown option '%s'; see 'davitctl help'"), option);
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
        verb = verb_take(&argc, &argv);
        if (!verb) {
                const char *second = argc > 1 && is_group(argv[0]) ? argv[1] : "";

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
        /* Every call has been answered; the kernel closes the connection faster than sd-bus takes it down. */
        return r;
}
