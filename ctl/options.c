/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Options of the verbs: one table each, from which getopt_long's tables, --help and the checks of the manual page come.
 * --help, --json and -n/--namespace are understood after every verb. It prints what is wrong with an option and names
 * the help to read; it knows no option's meaning.
 */

#include "ctl/ctl.h"

#include <getopt.h>

#include "ctl/bus.h"
#include "ctl/resource.h"
#include "ctl/text.h"
#include "shared/name.h"

#define OPTIONS_MAX 64

static const Option common_options[] = {
        { 'n', "namespace", N_("NAME"), N_("Work in this namespace (default: $DAVIT_NAMESPACE, or \"default\")") },
        { OPTION_JSON, "json", NULL, N_("Print JSON") },
        { OPTION_HELP, "help", NULL, N_("Show this help") },
        {},
};

static const Option latest_option = { 'l', "latest", NULL, N_("Instead of naming it: the container created last") };

typedef struct Tables {
        struct option longs[OPTIONS_MAX];
        char shorts[2 * OPTIONS_MAX + 3];
        size_t n_longs, n_shorts;
} Tables;

static void tables_add(Tables *t, const Option *option) {
        t->longs[t->n_longs++] =
                (struct option){ option->name, option->arg ? required_argument : no_argument, NULL, option->key };
        if (option->key >= OPTION_LONG || memchr(t->shorts, option->key, t->n_shorts))
                return;
        t->shorts[t->n_shorts++] = (char)option->key;
        if (option->arg)
                t->shorts[t->n_shorts++] = ':';
}

static void tables_fill(Tables *t, const Verb *verb) {
        if (verb->posix)
                t->shorts[t->n_shorts++] = '+';
        t->shorts[t->n_shorts++] = ':';
        for (const Option *o = verb->options; o && o->name; o++)
                tables_add(t, o);
        if (verb->latest)
                tables_add(t, &latest_option);
        for (const Option *o = common_options; o->name; o++) {
                Option common = *o;

                if (o->key == 'n') /* a verb may use the letter itself */
                        common.key = memchr(t->shorts, 'n', t->n_shorts) ? OPTION_NAMESPACE : 'n';
                tables_add(t, &common);
        }
        if (!memchr(t->shorts, 'h', t->n_shorts))
                t->shorts[t->n_shorts++] = 'h';
        t->shorts[t->n_shorts] = '\0';
}

/* Options of other container tools that have no like here, and what to do instead. */
static const struct {
        const char *name;
        char letter;
        const char *hint;
} foreign[] = {
        { "--privileged", 0, N_("there is no --privileged; name what is needed with --cap-add, -v and --spec-patch") },
        { "--publish", 'p', N_("ports cannot be published; --network=host shares the host's network") },
        { "--restart", 0, N_("there is no --restart; a systemd unit that calls davitctl can do it") },
        { "--device", 0, N_("there is no --device; describe it in linux.devices with --spec-patch") },
        { "--ulimit", 0, N_("there is no --ulimit; set process.rlimits with --spec-patch") },
        { "--sysctl", 0, N_("there is no --sysctl; set linux.sysctl with --spec-patch") },
        { "--format", 0, N_("there is no --format; use --json, with jq where wanted") },
};

static const char *foreign_hint(const char *word, int letter) {
        size_t n = strcspn(word, "=");

        for (size_t i = 0; i < ELEMENTSOF(foreign); i++)
                if ((letter > 0 && letter == foreign[i].letter) ||
                    (strlen(foreign[i].name) == n && strncmp(word, foreign[i].name, n) == 0))
                        return foreign[i].hint;
        return NULL;
}

static int option_unknown(Ctl *ctl, const Verb *verb, const char *word) {
        const char *hint = foreign_hint(word, word[1] != '-' && !word[2] ? word[1] : 0);

        if (hint)
                return ctl_error(ctl, "%s", _(hint));
        return ctl_error(ctl, _("unknown option '%s'; see 'davitctl %s --help'"), word, verb->name);
}

/* Whether a word names a long option of ours, written in full, and not a beginning of it. */
static bool is_known(const Tables *t, const char *word) {
        size_t n = strcspn(word, "=");

        for (size_t i = 0; i < t->n_longs; i++)
                if (strlen(t->longs[i].name) + 2 == n && strncmp(t->longs[i].name, word + 2, n - 2) == 0)
                        return true;
        return false;
}

/* Whether what getopt_long() is not content with is a long option: a letter it knows has no value too many. */
static bool is_long(const Tables *t, int c, const char *word) {
        if (c == ':' || optopt == 0)
                return strncmp(word, "--", 2) == 0;
        for (size_t i = 0; i < t->n_longs; i++)
                if (t->longs[i].val == optopt)
                        return true;
        return false;
}

/* Says what is wrong in the user's words. @before: the letter before, NUL where there is none; after one without a
 * value "=" comes as the next letter. */
static int option_wrong(Ctl *ctl, const Verb *verb, const Tables *t, int c, char before, char **argv) {
        char letter[] = { '-', (char)optopt, '\0' };
        const char *word = argv[optind - 1];

        if (is_long(t, c, word)) {
                if (!is_known(t, word))
                        return option_unknown(ctl, verb, word);
        } else if (optopt < 0) /* half a character; the word is only left when its last letter is done */
                return option_unknown(ctl, verb, argv[optind] ?: word);
        else {
                if (c == '?' && (optopt != '=' || !before))
                        return option_unknown(ctl, verb, letter);
                if (c == '?')
                        letter[1] = before;
                word = letter;
        }
        if (c == ':')
                return ctl_error(ctl, _("option '%s' needs a value; see 'davitctl %s --help'"), word, verb->name);
        return ctl_error(ctl, _("option '%.*s' takes no value; see 'davitctl %s --help'"), (int)strcspn(word, "="),
                         word, verb->name);
}

/* The word of the long option just parsed. */
static const char *option_word(char **argv) {
        return argv[optarg && optarg == argv[optind - 1] ? optind - 2 : optind - 1];
}

/* Whether it was written in full. getopt_long() takes any beginning of one, so that --name, where a verb has none,
 * would mean --namespace. */
static bool is_whole(const struct option *option, char **argv) {
        const char *word = option_word(argv);

        return word && option->name && strcspn(word, "=") == strlen(option->name) + 2;
}

/* Notes which of the verb's options was given. */
static void given(Ctl *ctl, const Verb *verb, int key) {
        for (const Option *o = verb->options; o && o->name; o++)
                if (o->key == key)
                        resource_given(ctl, o->name);
}

static bool own_letter(const Verb *verb, int key) {
        for (const Option *o = verb->options; o && o->name; o++)
                if (o->key == key)
                        return true;
        return false;
}

/** ctl_namespace() - takes what was given as the namespace. An empty name is the default one's for the manager, but
 * here more likely a variable that was not set. 0 or an exit status. */
int ctl_namespace(Ctl *ctl, const char *name) {
        if (!*name)
                return ctl_error(ctl, "%s",
                                 _("the name of the namespace is empty; leave the option out for the default"));
        ctl->ns = name;
        return 0;
}

/* The same answer for every verb, also for those of which the manager is not told the namespace, and no "*", which is
 * what -A says. */
static int check_namespace(Ctl *ctl) {
        if (name_namespace_valid(ctl->ns))
                return 0;
        return ctl_error(ctl,
                         _("'%s' is no namespace: up to %u letters and digits, with one '_', '-' or '.' between two of "
                           "them"),
                         ctl->ns, NAME_NAMESPACE_MAX);
}

/* Returns -1 where the option is the verb's, otherwise as options_parse(). */
static int common_option(Ctl *ctl, const Verb *verb, int c) {
        if (verb->latest && c == latest_option.key)
                ctl->latest = true;
        else if (c == OPTION_NAMESPACE || (c == 'n' && !own_letter(verb, c)))
                return ctl_namespace(ctl, optarg);
        else if (c == OPTION_JSON)
                ctl->json = true;
        else if (c == OPTION_HELP || (c == 'h' && !own_letter(verb, c))) {
                options_help(verb);
                exit(EXIT_SUCCESS);
        } else
                return -1;
        return 0;
}

static int check_count(Ctl *ctl, const Verb *verb, int n) {
        if (n < verb->min_args)
                return ctl_error(ctl, _("too few arguments; usage: davitctl %s %s"), verb->name, verb->args);
        if (verb->max_args >= 0 && n > verb->max_args)
                return ctl_error(ctl, _("too many arguments; usage: davitctl %s %s"), verb->name, verb->args);
        return 0;
}

/* The container created last, as if it had been named first. */
static int insert_latest(Ctl *ctl, int *argc, char ***argv) {
        char **v = calloc((size_t)*argc + 2, sizeof(*v));

        if (!v)
                return ctl_oom(ctl);
        memcpy(v + 1, *argv, (size_t)*argc * sizeof(*v));
        v[0] = container_latest(ctl);
        *argv = v; /* for as long as the program runs */
        (*argc)++;
        return v[0] ? 0 : ctl->failure;
}

/**
 * options_parse() - parses a verb's options.
 * @argc, @argv: argv[0] is the verb; on success they are what remains after the options.
 * @handler: called with each option of the verb, NULL where it has none; what it returns but 0 ends the parsing and is
 * the exit status.
 *
 * Returns 0, or the exit status after an error has been printed.
 */
int options_parse(Ctl *ctl, const char *name, int *argc, char ***argv, OptionHandler handler, void *userdata) {
        const Verb *verb = verb_find(name);
        Tables tables = {};
        int c, r, index = -1;
        char before = '\0';

        tables_fill(&tables, verb);
        optind = 0;
        opterr = 0;
        while ((c = getopt_long(*argc, *argv, tables.shorts, tables.longs, &index)) >= 0) {
                if (c == '?' || c == ':')
                        return option_wrong(ctl, verb, &tables, c, before, *argv);
                if (index >= 0 && !is_whole(&tables.longs[index], *argv))
                        return option_unknown(ctl, verb, option_word(*argv));
                before = index < 0 ? (char)c : '\0';
                index = -1;
                r = common_option(ctl, verb, c);
                if (r < 0) {
                        given(ctl, verb, c);
                        r = handler ? handler(c, optarg, userdata) : 0;
                }
                if (r != 0)
                        return r;
        }
        *argc -= optind;
        *argv += optind;
        r = check_namespace(ctl);
        if (r != 0)
                return r;
        if (ctl->latest) {
                /* "rm -f -l web" would remove two. */
                if (*argc > 0 && verb->min_args <= 1)
                        return ctl_error(ctl, _("name a container or say --latest, not both"));
                r = insert_latest(ctl, argc, argv);
                if (r != 0)
                        return r;
        }
        return check_count(ctl, verb, *argc);
}

static char *help_left(const Option *option, bool letter) {
        return text_printf("%c%c%s --%s%s%s", letter ? '-' : ' ', letter ? option->key : ' ', letter ? "," : " ",
                           option->name, option->arg ? "=" : "", option->arg ? _(option->arg) : "");
}

static void help_line(const Option *option, bool letter, size_t width) {
        _cleanup_free_ char *left = help_left(option, letter);

        if (left)
                printf("  %s%*s %s\n", left, (int)(width - text_width(left)), "", _(option->help));
}

static size_t help_width(const Option *options) {
        size_t width = 0;

        for (const Option *o = options; o && o->name; o++) {
                _cleanup_free_ char *left = help_left(o, true);

                if (left && text_width(left) > width)
                        width = text_width(left);
        }
        return width;
}

/** options_help() - prints what a verb does and every option it takes. */
void options_help(const Verb *verb) {
        size_t width = help_width(common_options), own = help_width(verb->options);

        if (own > width)
                width = own;
        printf(_("Usage: davitctl %s%s%s\n\n%s.\n\nOptions:\n"), verb->name, *verb->args ? " " : "",
               *verb->args ? _(verb->args) : "", _(verb->summary));
        for (const Option *o = verb->options; o && o->name; o++)
                help_line(o, o->key < OPTION_LONG, width);
        if (verb->latest)
                help_line(&latest_option, true, width);
        for (const Option *o = common_options; o->name; o++)
                help_line(o, o->key < OPTION_LONG && !own_letter(verb, o->key), width);
        printf(_("\nSee davitctl(1) for more.\n"));
}
