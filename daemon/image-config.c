/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Checks the configuration an image brings, member by member, and builds it anew.
 *
 * The members are those of the OCI image-spec config.md, "config", which a container's default specification is made
 * of; anything else an image says is left out, labels included in it are data and nobody here acts on them. Called by
 * image-record.c alone; reads no file and does not log.
 */

#include <errno.h>
#include <string.h>

#include "daemon/image-config.h"
#include "shared/macros.h"
#include "shared/name.h"

#define LIST_MAX 4096U
#define STRING_MAX (128U * 1024U) /* what execve(2) takes as one string */
#define SHORT_MAX 4096U

typedef enum MemberKind {
        MEMBER_STRING,
        MEMBER_LIST,
        MEMBER_MAP,
} MemberKind;

typedef bool (*string_check_t)(const char *s);

typedef struct Member {
        const char *name;
        MemberKind kind;
        string_check_t check; /* of each string */
} Member;

static bool check_any(const char *s) {
        return strlen(s) < STRING_MAX;
}

static bool check_short(const char *s) {
        if (strlen(s) >= SHORT_MAX)
                return false;

        for (; *s; s++)
                if (g_ascii_iscntrl(*s))
                        return false;
        return true;
}

static bool check_env(const char *s) {
        return check_any(s) && *s != '=' && strchr(s, '=');
}

static bool check_signal(const char *s) {
        return !*s || signal_from_name(s) > 0;
}

static const Member members[] = {
        { "Entrypoint", MEMBER_LIST, check_any },
        { "Cmd", MEMBER_LIST, check_any },
        { "Env", MEMBER_LIST, check_env },
        { "WorkingDir", MEMBER_STRING, check_short },
        { "User", MEMBER_STRING, check_short },
        { "StopSignal", MEMBER_STRING, check_signal },
        { "Labels", MEMBER_MAP, check_any },
        { "Volumes", MEMBER_LIST, check_short },
        { "ExposedPorts", MEMBER_LIST, check_short },
};

static const char *string_of(JsonNode *node, const Member *member) {
        const char *s;

        if (json_node_get_value_type(node) != G_TYPE_STRING)
                return NULL;

        s = json_node_get_string(node);
        return member->check(s) ? s : NULL;
}

static int copy_string(JsonNode *node, const Member *member, JsonObject *to) {
        const char *s = string_of(node, member);

        if (!s)
                return -EBADMSG;
        if (*s)
                json_object_set_string_member(to, member->name, s);
        return 0;
}

static int copy_list(JsonNode *node, const Member *member, JsonObject *to) {
        g_autoptr(JsonArray) copy = json_array_new();
        JsonArray *array;
        guint n;

        if (!JSON_NODE_HOLDS_ARRAY(node))
                return -EBADMSG;
        array = json_node_get_array(node);
        n = json_array_get_length(array);
        if (n > LIST_MAX)
                return -EBADMSG;

        for (guint i = 0; i < n; i++) {
                const char *s = string_of(json_array_get_element(array, i), member);

                if (!s)
                        return -EBADMSG;
                json_array_add_string_element(copy, s);
        }
        json_object_set_array_member(to, member->name, g_steal_pointer(&copy));
        return 0;
}

static int copy_map(JsonNode *node, const Member *member, JsonObject *to) {
        g_autoptr(JsonObject) copy = json_object_new();
        JsonObjectIter iter;
        const char *key;
        JsonNode *value;

        if (!JSON_NODE_HOLDS_OBJECT(node) || json_object_get_size(json_node_get_object(node)) > LIST_MAX)
                return -EBADMSG;

        json_object_iter_init(&iter, json_node_get_object(node));
        while (json_object_iter_next(&iter, &key, &value)) {
                const char *s = string_of(value, member);

                if (!s || !*key || !check_short(key))
                        return -EBADMSG;
                json_object_set_string_member(copy, key, s);
        }
        json_object_set_object_member(to, member->name, g_steal_pointer(&copy));
        return 0;
}

/**
 * image_config_check() - a copy of @config that holds only members that are known and right
 * @ret: a new reference
 * @ret_why: names the member that is wrong; may be NULL
 */
int image_config_check(JsonObject *config, JsonObject **ret, char **ret_why) {
        static int (*const copies[])(JsonNode * node, const Member *member, JsonObject *to) = {
                [MEMBER_STRING] = copy_string,
                [MEMBER_LIST] = copy_list,
                [MEMBER_MAP] = copy_map,
        };
        g_autoptr(JsonObject) copy = json_object_new();

        for (size_t i = 0; i < ELEMENTSOF(members); i++) {
                JsonNode *node = json_object_get_member(config, members[i].name);

                if (!node || JSON_NODE_HOLDS_NULL(node))
                        continue;
                if (copies[members[i].kind](node, &members[i], copy) < 0) {
                        if (ret_why && !*ret_why)
                                *ret_why = g_strdup_printf("config.%s is malformed or too large", members[i].name);
                        return -EBADMSG;
                }
        }

        *ret = g_steal_pointer(&copy);
        return 0;
}
