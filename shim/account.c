/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Users and groups as an image writes them.
 *
 * The texts come from an image and are hostile: every number is parsed as a whole or not at all, a name is a name and
 * never a number, lines that are not what passwd(5) and group(5) say are skipped, and nothing here opens a file, asks
 * NSS or recurses.
 */

#include "shim/account.h"

#include <stdlib.h>
#include <string.h>

#include "shared/macros.h"

#define ACCOUNT_LINE_MAX 65536U
#define ACCOUNT_HOME_MAX 4096U

/** account_parse_id() - a whole decimal number that is a valid uid or gid: 0 to 4294967294, no sign, no space
 *
 * Return: 0, -EINVAL when it is no number, -ERANGE when it is too large (the last one means "no change" to the kernel).
 */
int account_parse_id(const char *s, size_t size, uint32_t *ret) {
        uint64_t v = 0;

        if (size == 0)
                return -EINVAL;
        for (size_t i = 0; i < size; i++)
                if (s[i] < '0' || s[i] > '9')
                        return -EINVAL;
        for (size_t i = 0; i < size; i++) {
                v = v * 10 + (uint64_t)(s[i] - '0');
                if (v >= UINT32_MAX)
                        return -ERANGE;
        }
        *ret = (uint32_t)v;
        return 0;
}

static bool name_char(char c) {
        return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '_' || c == '-' ||
               c == '.' || c == '@' || c == '+' || c == '$' || c == '\\' || (unsigned char)c >= 0x80;
}

/* A name that begins like a number, a sign or an option is a mistake, not a name. */
static bool name_valid(const char *s, size_t size) {
        if (size == 0 || size >= ACCOUNT_NAME_MAX || (s[0] >= '0' && s[0] <= '9') || s[0] == '-' || s[0] == '+')
                return false;
        for (size_t i = 0; i < size; i++)
                if (!name_char(s[i]))
                        return false;
        return true;
}

static int request_part(const char *s, size_t size, bool *ret_numeric, uint32_t *ret_id, char name[ACCOUNT_NAME_MAX]) {
        int r = account_parse_id(s, size, ret_id);

        *ret_numeric = r >= 0;
        if (r >= 0)
                return 0;
        if (r == -ERANGE)
                return r;
        if (!name_valid(s, size))
                return -EINVAL;
        memcpy(name, s, size);
        name[size] = '\0';
        return 0;
}

/** account_parse_request() - take "user[:group]" apart, each a name or a number
 *
 * Return: 0, -ERANGE for a number that is no id, -EINVAL for anything else that is neither.
 */
int account_parse_request(const char *s, struct account_request *ret) {
        size_t n = strcspn(s, ":");
        int r;

        *ret = (struct account_request){ .uid = 0 };
        r = request_part(s, n, &ret->user_numeric, &ret->uid, ret->user);
        if (r < 0 || s[n] == '\0')
                return r;
        ret->group_given = true;
        return request_part(s + n + 1, strlen(s + n + 1), &ret->group_numeric, &ret->gid, ret->group);
}

struct field {
        const char *s;
        size_t size;
};

/* Splits the line at *p into exactly @n fields and moves *p to the next line. 1: fields are set, 0: a line to skip, -1:
 * the end. */
static int line_next(const char **p, struct field *fields, size_t n) {
        const char *line = *p, *end;
        size_t i = 0;

        if (!*line)
                return -1;
        end = line + strcspn(line, "\n");
        *p = *end ? end + 1 : end;
        if ((size_t)(end - line) > ACCOUNT_LINE_MAX || *line == '#')
                return 0;
        for (;;) {
                const char *colon = memchr(line, ':', (size_t)(end - line));

                if (i == n)
                        return 0;
                fields[i].s = line;
                fields[i++].size = (size_t)((colon ? colon : end) - line);
                if (!colon)
                        return i == n;
                line = colon + 1;
        }
}

static bool field_is(const struct field *f, const char *s) {
        return f->size == strlen(s) && memcmp(f->s, s, f->size) == 0;
}

/** account_find() - the first entry of a passwd file by @name, or by @uid where @name is NULL
 *
 * Return: 1 with the account (free its home), 0 when there is none, or -ENOMEM.
 */
int account_find(const char *passwd, const char *name, uint32_t uid, struct account *ret) {
        struct field f[7];
        int r;

        while ((r = line_next(&passwd, f, ELEMENTSOF(f))) >= 0) {
                struct account a = { .home = NULL };

                if (r == 0 || f[0].size == 0 || f[0].size >= ACCOUNT_NAME_MAX || f[5].size > ACCOUNT_HOME_MAX)
                        continue;
                if (account_parse_id(f[2].s, f[2].size, &a.uid) < 0 || account_parse_id(f[3].s, f[3].size, &a.gid) < 0)
                        continue;
                if (name ? !field_is(&f[0], name) : a.uid != uid)
                        continue;
                memcpy(a.name, f[0].s, f[0].size);
                a.home = strndup(f[5].s, f[5].size);
                if (!a.home)
                        return -ENOMEM;
                *ret = a;
                return 1;
        }
        return 0;
}

/** account_find_group() - the gid of the first entry named @name of a group file; 1, or 0 when there is none */
int account_find_group(const char *group, const char *name, uint32_t *ret_gid) {
        struct field f[4];
        int r;

        while ((r = line_next(&group, f, ELEMENTSOF(f))) >= 0)
                if (r > 0 && field_is(&f[0], name) && account_parse_id(f[2].s, f[2].size, ret_gid) >= 0)
                        return 1;
        return 0;
}

static bool member_of(const struct field *list, const char *member) {
        const char *p = list->s, *end = list->s + list->size;
        size_t size = strlen(member);

        while (p < end) {
                const char *comma = memchr(p, ',', (size_t)(end - p));
                size_t n = (size_t)((comma ? comma : end) - p);

                if (n == size && memcmp(p, member, n) == 0)
                        return true;
                if (!comma)
                        break;
                p = comma + 1;
        }
        return false;
}

/** account_groups() - append the gids of all groups that list @member
 *
 * @gids, @n_gids: an array the caller owns, grown with realloc. Return: 0, -E2BIG beyond ACCOUNT_GROUPS_MAX, or
 * -ENOMEM.
 */
int account_groups(const char *group, const char *member, uint32_t **gids, size_t *n_gids) {
        struct field f[4];
        int r;

        while ((r = line_next(&group, f, ELEMENTSOF(f))) >= 0) {
                uint32_t gid, *grown;

                if (r == 0 || !member_of(&f[3], member) || account_parse_id(f[2].s, f[2].size, &gid) < 0)
                        continue;
                if (*n_gids >= ACCOUNT_GROUPS_MAX)
                        return -E2BIG;
                grown = realloc(*gids, (*n_gids + 1) * sizeof(*grown));
                if (!grown)
                        return -ENOMEM;
                *gids = grown;
                grown[(*n_gids)++] = gid;
        }
        return 0;
}
