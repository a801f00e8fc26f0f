/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The WWW-Authenticate header, which a stranger writes.
 *
 * A header may hold several challenges, each a scheme and its parameters, cut by the same commas (RFC 9110, section
 * 11.6.1). A bearer with a realm is preferred to Basic; what is neither, or is not of the grammar from some place on,
 * counts as not there. Values are printable ASCII or are not taken. Strings of the result are its own.
 */

#include "registry/challenge.h"

#include <string.h>

#define VALUE_MAX 4096U

void challenge_clear(Challenge *c) {
        g_clear_pointer(&c->realm, g_free);
        g_clear_pointer(&c->service, g_free);
        g_clear_pointer(&c->scope, g_free);
        c->kind = CHALLENGE_NONE;
}

static gboolean is_token_char(char c) {
        return g_ascii_isalnum(c) || (c != '\0' && strchr("!#$%&'*+-.^_`|~", c));
}

static const char *skip(const char *s, const char *what) {
        return s + strspn(s, what);
}

/* "abc", or NULL where there is none. */
static char *take_token(const char **at) {
        const char *from = *at;

        while (is_token_char(**at))
                (*at)++;
        return *at > from ? g_strndup(from, (gsize)(*at - from)) : NULL;
}

/* A token, or a string in quotes; NULL where neither is there, or not to its end. What a scheme of another kind has in
 * place of parameters may end in "=", so nothing is a token, too. */
static char *take_value(const char **at) {
        g_autoptr(GString) value = g_string_new(NULL);
        const char *s = *at;

        if (*s != '"') {
                /* Some leave the quotes of a realm out: whatever cannot end a parameter belongs to it. */
                while (*s > ' ' && *s < 0x7f && *s != ',' && *s != '"')
                        g_string_append_c(value, *s++);
                *at = s;
                return value->len <= VALUE_MAX ? g_strdup(value->str) : NULL;
        }
        for (s++; *s != '"'; s++) {
                if (*s == '\\')
                        s++;
                if (*s < ' ' || *s >= 0x7f || value->len >= VALUE_MAX)
                        return NULL;
                g_string_append_c(value, *s);
        }
        *at = s + 1;
        return g_strdup(value->str);
}

static ChallengeKind kind_of(const char *scheme) {
        if (g_ascii_strcasecmp(scheme, "Bearer") == 0)
                return CHALLENGE_BEARER;
        return g_ascii_strcasecmp(scheme, "Basic") == 0 ? CHALLENGE_BASIC : CHALLENGE_NONE;
}

/* The first of two equal parameters counts. */
static void set_parameter(Challenge *c, const char *name, char *value) {
        char **to = g_ascii_strcasecmp(name, "realm") == 0     ? &c->realm
                    : g_ascii_strcasecmp(name, "service") == 0 ? &c->service
                    : g_ascii_strcasecmp(name, "scope") == 0   ? &c->scope
                                                               : NULL;

        if (to && !*to)
                *to = value;
        else
                g_free(value);
}

/* A bearer that does not say where tokens are to be had is none. */
static void keep_better(Challenge *best, Challenge *c) {
        if (c->kind == CHALLENGE_BEARER && !c->realm)
                c->kind = CHALLENGE_NONE;
        if (c->kind > best->kind) {
                Challenge old = *best;

                *best = *c;
                *c = old;
        }
        challenge_clear(c);
}

/** challenge_parse() - the best of what @header asks for; several headers are to be joined with ", " */
void challenge_parse(const char *header, Challenge *ret) {
        Challenge now = { CHALLENGE_NONE };
        const char *s = header;

        *ret = now;
        for (;;) {
                g_autofree char *word = NULL;
                char *value;

                s = skip(s, " \t,");
                word = take_token(&s);
                if (!word)
                        break;
                s = skip(s, " \t");
                if (*s != '=') {
                        keep_better(ret, &now);
                        now.kind = kind_of(word);
                        continue;
                }
                s = skip(s + 1, " \t");
                value = take_value(&s);
                if (!value)
                        break;
                set_parameter(&now, word, value);
        }
        keep_better(ret, &now);
}
