/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * A growing vector of strings, always NULL-terminated, as D-Bus calls and exec want them. It owns its strings. Failure
 * means that memory ran out and is told by false; the vector stays valid.
 * An empty vector is all zeros and needs no clearing.
 */

#include "ctl/ctl.h"

#include <stdarg.h>

/** strv_take() - appends s, which then belongs to the vector; a NULL s or lack of memory gives false. */
bool strv_take(Strv *strv, char *s) {
        char **v;

        if (!s)
                return false;
        v = reallocarray(strv->v, strv->n + 2, sizeof(*v));
        if (!v) {
                free(s);
                return false;
        }
        strv->v = v;
        v[strv->n++] = s;
        v[strv->n] = NULL;
        return true;
}

/** strv_add() - appends a copy of s. */
bool strv_add(Strv *strv, const char *s) {
        return strv_take(strv, strdup(s));
}

/** strv_clear() - frees the strings and the vector. */
void strv_clear(Strv *strv) {
        for (size_t i = 0; i < strv->n; i++)
                free(strv->v[i]);
        free(strv->v);
        *strv = (Strv){};
}

/** text_printf() - a formatted string to free, NULL where memory ran out. */
char *text_printf(const char *format, ...) {
        va_list ap;
        char *text;
        int r;

        va_start(ap, format);
        r = vasprintf(&text, format, ap);
        va_end(ap);
        return r < 0 ? NULL : text;
}
