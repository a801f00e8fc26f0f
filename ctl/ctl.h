/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* What every verb of davitctl shares: the context, the table of verbs, options, messages to the user. */

#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#include "shared/macros.h"

/* exit statuses of run and exec that are not the program's own, as other container tools have them */
#define EXIT_DAVIT 125
#define EXIT_NOT_EXECUTABLE 126
#define EXIT_NOT_FOUND 127

#define CTL_ID_MAX 64U

struct Connection;
struct Message;
struct Call;

typedef struct Ctl {
        struct Connection *bus; /* connected by bus_connect() */
        struct Call *calls;     /* on their way */
        void (*on_signal)(struct Message *m, void *userdata);
        void *signal_userdata;
        const char *ns; /* namespace of every call */
        bool json;
        bool latest;        /* the container created last is meant */
        bool stderr_given;  /* to the program: a runtime has said there why it failed */
        uint32_t resources; /* which options were given, see resource.c */
        int failure;        /* exit status of an error of Davit's own: EXIT_FAILURE or EXIT_DAVIT */
} Ctl;

/* One option. key: its letter, or a number from OPTION_LONG up for one without; arg: NULL where it takes no value. */
typedef struct Option {
        int key;
        const char *name, *arg, *help;
} Option;

enum { OPTION_LONG = 256, OPTION_HELP, OPTION_JSON, OPTION_NAMESPACE, OPTION_LATEST, OPTION_FREE };

typedef struct Verb {
        const char *name; /* one word, or "group word" */
        const char *args; /* for the usage line */
        const char *summary;
        const Option *options;  /* ends with an all-zero one; NULL: none */
        int min_args, max_args; /* -1: no limit */
        bool posix;             /* options end at the first argument, what follows is another program's */
        int (*run)(Ctl *ctl, int argc, char **argv);
        bool latest; /* --latest stands for its first argument, a container */
} Verb;

typedef int (*OptionHandler)(int key, const char *arg, void *userdata); /* 0, or an exit status */

/* verbs.c */
const Verb *verb_find(const char *name);

/* options.c */
int options_parse(Ctl *ctl, const char *verb, int *argc, char ***argv, OptionHandler handler, void *userdata);
void options_help(const Verb *verb);
int ctl_namespace(Ctl *ctl, const char *name);

/* message.c */
const char *ctl_gettext(const char *message) __attribute__((format_arg(1)));
const char *ctl_ngettext(const char *one, const char *many, uint64_t n) __attribute__((format_arg(1), format_arg(2)));
#define _(s) ctl_gettext(s)
#define N_(s) s
int ctl_error(const Ctl *ctl, const char *format, ...) _printf_(2, 3);
void ctl_note(const char *format, ...) _printf_(1, 2);
int ctl_oom(const Ctl *ctl);
void locale_init(void);

/* moment.c */
int moment_option(const Ctl *ctl, const char *arg, uint64_t *ret_usec);

/* strv.c */
typedef struct Strv {
        char **v;
        size_t n;
} Strv;

bool strv_add(Strv *strv, const char *s);
bool strv_take(Strv *strv, char *s);
void strv_clear(Strv *strv);
#define _cleanup_strv_ _cleanup_(strv_clear)
char *text_printf(const char *format, ...) _printf_(1, 2);
