/* SPDX-License-Identifier: LGPL-2.1-or-later */
#pragma once

/* Users and groups as an image writes them: "user[:group]", passwd(5), group(5). Text in, numbers out; no files. */

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define ACCOUNT_NAME_MAX 256U
#define ACCOUNT_GROUPS_MAX 4096U

struct account_request {
        bool user_numeric, group_numeric, group_given;
        uint32_t uid, gid;
        char user[ACCOUNT_NAME_MAX];
        char group[ACCOUNT_NAME_MAX];
};

struct account {
        uint32_t uid, gid;
        char name[ACCOUNT_NAME_MAX];
        char *home; /* owned */
};

int account_parse_id(const char *s, size_t size, uint32_t *ret);
int account_parse_request(const char *s, struct account_request *ret);
int account_find(const char *passwd, const char *name, uint32_t uid, struct account *ret);
int account_find_group(const char *group, const char *name, uint32_t *ret_gid);
int account_groups(const char *group, const char *member, uint32_t **gids, size_t *n_gids);
