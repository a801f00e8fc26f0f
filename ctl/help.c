/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * davitctl help, and the way from words to a verb: one or two of them, or a name users of other container tools know.
 * The aliases are for people; scripts and the manual page use the verbs' own names. Nothing here does a verb's work.
 * It never asks the manager.
 */

#include "ctl/verbs.h"

typedef struct Alias {
        const char *name, *verb;
} Alias;

/* What users of other container tools type. */
static const Alias aliases[] = {
        { "images", "image ls" },
        { "df", "system df" },
        { "history", "image history" },
        { "import", "image import" },
        { "list", "ps" },
        { "load", "image load" },
        { "ls", "ps" },
        { "remove", "rm" },
        { "resume", "unpause" },
        { "rmi", "image rm" },
        { "save", "image save" },
        { "tag", "image tag" },
        { "untag", "image untag" },
        { "image list", "image ls" },
        { "image pull", "pull" },
        { "image remove", "image rm" },
        { "image delete", "image rm" },
        { "namespace", "namespace ls" },
        { "namespace list", "namespace ls" },
        { "namespace remove", "namespace rm" },
        { "container list", "ps" },
        { "container ls", "ps" },
        { "container", "ps" },
        { "content", "content ls" },
        { "content list", "content ls" },
        { "content remove", "content rm" },
        { "image", "image ls" },
        { "job", "job ls" },
        { "job list", "job ls" },
        { "lease", "lease ls" },
        { "lease list", "lease ls" },
        { "prune", "system prune" },
        { "snapshot", "snapshot ls" },
        { "snapshot list", "snapshot ls" },
        { "snapshot remove", "snapshot rm" },
};

static const char *alias_resolve(const char *name) {
        for (size_t i = 0; i < ELEMENTSOF(aliases); i++)
                if (streq(aliases[i].name, name))
                        return aliases[i].verb;
        return name;
}

/** verb_is_group() - whether a word is the first of verbs that have two. */
bool verb_is_group(const char *word) {
        static const char *const groups[] = { "checkpoint", "container", "content",  "image", "job",
                                              "lease",      "namespace", "snapshot", "system" };

        for (size_t i = 0; i < ELEMENTSOF(groups); i++)
                if (streq(groups[i], word))
                        return true;
        return false;
}

/** verb_hint() - what to do in place of a command of other container tools that has no like here; NULL: nothing known.
 */
const char *verb_hint(const char *word) {
        static const Alias hints[] = {
                { "build", N_("images are not built from files here; see 'davitctl commit' and 'davitctl snapshot'") },
                { "login", N_("davitctl reads what 'podman login', 'skopeo login' or 'docker login' have written") },
                { "logout", N_("davitctl reads what 'podman login', 'skopeo login' or 'docker login' have written") },
                { "push", N_("images are not pushed; 'davitctl image save' writes what 'skopeo copy' takes") },
        };

        for (size_t i = 0; i < ELEMENTSOF(hints); i++)
                if (streq(hints[i].name, word))
                        return hints[i].verb;
        return NULL;
}

/** verb_take() - finds the verb at argv[0], which may be two words, and moves argv to its last word; NULL: there is
 * none. */
const Verb *verb_take(int *argc, char ***argv) {
        const char *word = (*argv)[0];
        const Verb *verb = NULL;

        if (*argc > 1 && (*argv)[1][0] != '-' && verb_is_group(word)) {
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

static void list_verbs(const char *beginning) {
        for (size_t i = 0; i < n_verbs; i++)
                if (strncmp(verbs[i].name, beginning, strlen(beginning)) == 0)
                        printf("  %-18s %s\n", verbs[i].name, _(verbs[i].summary));
}

/* The commands that begin with a word such as "image"; false: there are none. */
static bool help_of_group(const char *word) {
        _cleanup_free_ char *beginning = text_printf("%s ", word);

        if (!beginning || !verb_is_group(word) || streq(word, "container"))
                return false;
        printf(_("Usage: davitctl [-n NAMESPACE] %s COMMAND [ARGUMENT...]\n\nCommands:\n"), word);
        list_verbs(beginning);
        printf(_("\nSee 'davitctl %s COMMAND --help' and davitctl(1).\n"), word);
        return true;
}

/** verb_help() - lists the verbs, those of a group, or shows the help of one. */
int verb_help(Ctl *ctl, int argc, char **argv) {
        const Verb *verb;

        argc--;
        argv++;
        if (argc == 1 && help_of_group(argv[0]))
                return EXIT_SUCCESS;
        if (argc > 0) {
                verb = verb_take(&argc, &argv);
                if (!verb)
                        return ctl_error(ctl, _("there is no command '%s'; see 'davitctl help'"), argv[0]);
                options_help(verb);
                return EXIT_SUCCESS;
        }
        printf("%s", _("Usage: davitctl [-n NAMESPACE] COMMAND [ARGUMENT...]\n\nRuns and manages "
                       "containers.\n\nCommands:\n"));
        list_verbs("");
        printf("%s", _("\nOptions of every command: -n/--namespace=NAME, --json, --help.\n"
                       "See 'davitctl COMMAND --help' and davitctl(1).\n"));
        return EXIT_SUCCESS;
}
