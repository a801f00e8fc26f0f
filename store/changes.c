/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Instructions that change an image's configuration.
 *
 * CMD and ENTRYPOINT (a JSON list, or a line for the shell), ENV, EXPOSE, LABEL, STOPSIGNAL, USER, VOLUME, WORKDIR, one
 * a string, with the quoting and the $NAME of a Dockerfile, where names are those of the configuration's own
 * environment. An instruction that is not known is refused by its name. Members are replaced, never changed in place,
 * because the configuration shares them with the parent's. Source of the rules: the reference of Dockerfile.
 */

#include "store/changes.h"

#include <string.h>

#include "shared/name.h"
#include "store/error.h"
#include "store/json.h"

#define WHAT "config"
#define CHANGE_MAX ((gsize)64 * 1024)

typedef struct {
        JsonObject *config;
        gboolean command_set;
        const char *name; /* of the instruction */
        const char *rest;
} Change;

static gboolean is_space(char c) {
        return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static gboolean is_name(char c) {
        return g_ascii_isalnum(c) || c == '_';
}

/* The elements of a list of strings, which may be missing. */
static gboolean read_list(JsonObject *config, const char *member, GPtrArray **ret, GError **error) {
        g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free);
        JsonArray *array;

        if (!json_array(config, member, WHAT, &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                const char *s = json_element_string(array, i, member, error);

                if (!s)
                        return FALSE;
                g_ptr_array_add(list, g_strdup(s));
        }
        *ret = g_steal_pointer(&list);
        return TRUE;
}

static void write_list(JsonObject *config, const char *member, const GPtrArray *list) {
        JsonArray *array = json_array_new();

        for (guint i = 0; i < list->len; i++)
                json_array_add_string_element(array, list->pdata[i]);
        json_object_set_array_member(config, member, array);
}

/* An object whose members may be replaced, in place of the one that is there, or a new one. */
static JsonObject *own_object(JsonObject *config, const char *member, GError **error) {
        g_autoptr(GList) names = NULL;
        JsonObject *old, *o;

        if (!json_object(config, member, WHAT, &old, error))
                return NULL;
        o = json_object_new();
        names = old ? json_object_get_members(old) : NULL;
        for (GList *l = names; l; l = l->next)
                json_object_set_member(o, l->data, json_node_copy(json_object_get_member(old, l->data)));
        json_object_set_object_member(config, member, o);
        return o;
}

static const char *env_value(const GPtrArray *env, const char *name, gsize size) {
        for (guint i = 0; i < env->len; i++) {
                const char *entry = env->pdata[i];

                if (strncmp(entry, name, size) == 0 && entry[size] == '=')
                        return entry + size + 1;
        }
        return "";
}

/* At a "$": appends the variable's value, or the "$" where no name follows; returns what comes behind. */
static const char *expand(const char *at, const GPtrArray *env, GString *to) {
        const char *name = at + 1 + (at[1] == '{'), *end = name;

        while (is_name(*end))
                end++;
        if (end == name || (at[1] == '{' && *end != '}')) {
                g_string_append_c(to, '$');
                return at + 1;
        }
        g_string_append(to, env_value(env, name, (gsize)(end - name)));
        return end + (at[1] == '{');
}

/* One word, or with @whole all of the rest; NULL: a quote is not closed. */
static const char *take_word(const char *at, const GPtrArray *env, gboolean whole, GString *to) {
        char quote = 0;

        for (; *at && (quote || whole || !is_space(*at));) {
                if (quote ? *at == quote : *at == '"' || *at == '\'') {
                        quote = quote ? 0 : *at;
                        at++;
                } else if (*at == '\\' && at[1] && quote != '\'') {
                        if (quote && at[1] != '"' && at[1] != '$' && at[1] != '\\')
                                g_string_append_c(to, '\\');
                        g_string_append_c(to, at[1]);
                        at += 2;
                } else if (*at == '$' && quote != '\'')
                        at = expand(at, env, to);
                else
                        g_string_append_c(to, *at++);
        }
        return quote ? NULL : at;
}

static char **words(const char *text, JsonObject *config, gboolean whole, GError **error) {
        g_autoptr(GPtrArray) list = g_ptr_array_new_with_free_func(g_free), env = NULL;

        if (!read_list(config, "Env", &env, error))
                return NULL;
        while (is_space(*text))
                text++;
        while (*text) {
                GString *word = g_string_new(NULL);

                text = take_word(text, env, whole, word);
                g_ptr_array_add(list, g_string_free(word, FALSE));
                if (!text) {
                        store_fail(error, STORE_FAIL_INVALID, "A quote is not closed");
                        return NULL;
                }
                while (is_space(*text))
                        text++;
        }
        g_ptr_array_add(list, NULL);
        return (char **)g_ptr_array_free(g_steal_pointer(&list), FALSE);
}

/** changes_words() - the words of an instruction, quotes and backslashes undone, $NAME and ${NAME} replaced */
char **changes_words(const char *text, JsonObject *config, GError **error) {
        return words(text, config, FALSE, error);
}

static gboolean bad(const Change *c, const char *why, GError **error) {
        return store_fail(error, STORE_FAIL_INVALID, "Change '%s %.100s': %s", c->name, c->rest, why);
}

/* The rest as a list: TRUE when it is JSON of strings. */
static gboolean json_list(const char *text, GPtrArray **ret) {
        g_autoptr(JsonObject) holder = json_object_new();
        g_autoptr(JsonNode) root = text[0] == '[' ? json_parse(text, strlen(text), "A change", NULL) : NULL;

        if (!root || !JSON_NODE_HOLDS_ARRAY(root))
                return FALSE;
        json_object_set_member(holder, "list", json_node_copy(root));
        return read_list(holder, "list", ret, NULL);
}

/* A command for the image's shell. */
static gboolean shell_list(const Change *c, GPtrArray **ret, GError **error) {
        if (!read_list(c->config, "Shell", ret, error))
                return FALSE;
        if ((*ret)->len == 0) {
                g_ptr_array_add(*ret, g_strdup("/bin/sh"));
                g_ptr_array_add(*ret, g_strdup("-c"));
        }
        g_ptr_array_add(*ret, g_strdup(c->rest));
        return TRUE;
}

static gboolean change_command(Change *c, const char *member, GError **error) {
        g_autoptr(GPtrArray) list = NULL;

        if (!json_list(c->rest, &list)) {
                /* Quotes forgotten or a bracket not closed: as a line for the shell it would fail when it is run. */
                if (c->rest[0] == '[')
                        return bad(c, "what begins with '[' needs to be a JSON list of strings", error);
                if (!shell_list(c, &list, error))
                        return FALSE;
        }
        write_list(c->config, member, list);
        return TRUE;
}

static gboolean change_cmd(Change *c, GError **error) {
        c->command_set = TRUE;
        return change_command(c, "Cmd", error);
}

/* The arguments of another entry point mean nothing to this one. */
static gboolean change_entrypoint(Change *c, GError **error) {
        if (!c->command_set && json_object_has_member(c->config, "Cmd"))
                json_object_remove_member(c->config, "Cmd");
        return change_command(c, "Entrypoint", error);
}

/* "KEY=VALUE ...", or "KEY VALUE" with the rest of the line: calls @set for each. */
static gboolean each_pair(Change *c, void (*set)(void *data, const char *key, const char *value), void *data,
                          GError **error) {
        const char *sign = strpbrk(c->rest, "= \t");
        gboolean single = sign && *sign != '=';
        g_auto(GStrv) list = NULL;

        if (!sign || sign == c->rest)
                return bad(c, "it needs NAME=VALUE", error);
        if (single) {
                g_autofree char *key = g_strndup(c->rest, (gsize)(sign - c->rest));

                list = words(sign, c->config, TRUE, error);
                if (!list)
                        return FALSE;
                set(data, key, list[0] ? list[0] : "");
                return TRUE;
        }
        list = changes_words(c->rest, c->config, error);
        for (char **w = list; w && *w; w++) {
                char *value = strchr(*w, '=');

                if (!value || value == *w)
                        return bad(c, "it needs NAME=VALUE", error);
                *value = '\0';
                set(data, *w, value + 1);
        }
        return list != NULL;
}

static void set_env(void *data, const char *key, const char *value) {
        GPtrArray *env = data;
        char *entry = g_strconcat(key, "=", value, NULL);

        for (guint i = 0; i < env->len; i++)
                if (strncmp(env->pdata[i], entry, strlen(key) + 1) == 0) {
                        g_free(env->pdata[i]);
                        env->pdata[i] = entry;
                        return;
                }
        g_ptr_array_add(env, entry);
}

static gboolean change_env(Change *c, GError **error) {
        g_autoptr(GPtrArray) env = NULL;

        if (!read_list(c->config, "Env", &env, error) || !each_pair(c, set_env, env, error))
                return FALSE;
        write_list(c->config, "Env", env);
        return TRUE;
}

static void set_label(void *data, const char *key, const char *value) {
        json_object_set_string_member(data, key, value);
}

static gboolean change_label(Change *c, GError **error) {
        JsonObject *labels = own_object(c->config, "Labels", error);

        return labels && each_pair(c, set_label, labels, error);
}

static gboolean add_ports(const Change *c, JsonObject *ports, const char *word, GError **error) {
        g_auto(GStrv) parts = g_strsplit(word, "/", 3), range = g_strsplit(parts[0] ? parts[0] : "", "-", 3);
        g_autofree char *protocol = g_ascii_strdown(parts[0] && parts[1] ? parts[1] : "tcp", -1);
        guint64 first, last;

        if (g_strv_length(parts) > 2 || g_strv_length(range) > 2 || !range[0] ||
            !g_ascii_string_to_unsigned(range[0], 10, 1, 65535, &first, NULL) ||
            !g_ascii_string_to_unsigned(range[range[1] ? 1 : 0], 10, first, 65535, &last, NULL))
                return bad(c, "it needs PORT[-PORT][/PROTOCOL]", error);
        if (strcmp(protocol, "tcp") != 0 && strcmp(protocol, "udp") != 0 && strcmp(protocol, "sctp") != 0)
                return bad(c, "the protocol is tcp, udp or sctp", error);
        for (guint64 p = first; p <= last; p++) {
                g_autofree char *key = g_strdup_printf("%" G_GUINT64_FORMAT "/%s", p, protocol);

                json_object_set_object_member(ports, key, json_object_new());
        }
        return TRUE;
}

static gboolean change_expose(Change *c, GError **error) {
        JsonObject *ports = own_object(c->config, "ExposedPorts", error);
        g_auto(GStrv) list = ports ? changes_words(c->rest, c->config, error) : NULL;

        for (char **w = list; w && *w; w++)
                if (!add_ports(c, ports, *w, error))
                        return FALSE;
        return list != NULL;
}

static gboolean change_volume(Change *c, GError **error) {
        JsonObject *volumes = own_object(c->config, "Volumes", error);
        g_autoptr(GPtrArray) given = NULL;
        g_auto(GStrv) list = NULL;

        if (!volumes)
                return FALSE;
        if (json_list(c->rest, &given)) {
                for (guint i = 0; i < given->len; i++)
                        json_object_set_object_member(volumes, given->pdata[i], json_object_new());
                return TRUE;
        }
        list = changes_words(c->rest, c->config, error);
        for (char **w = list; w && *w; w++)
                json_object_set_object_member(volumes, *w, json_object_new());
        return list != NULL;
}

static gboolean change_string(Change *c, const char *member, GError **error) {
        g_auto(GStrv) list = words(c->rest, c->config, TRUE, error);

        if (!list)
                return FALSE;
        if (!list[0] || list[0][0] == '\0')
                return bad(c, "it needs a value", error);
        json_object_set_string_member(c->config, member, g_strstrip(list[0]));
        return TRUE;
}

static gboolean change_user(Change *c, GError **error) {
        return change_string(c, "User", error);
}

static gboolean change_stopsignal(Change *c, GError **error) {
        const char *name;

        if (!change_string(c, "StopSignal", error) || !json_string(c->config, "StopSignal", WHAT, &name, error))
                return FALSE;
        return signal_from_name(name) > 0 ? TRUE : bad(c, "it needs the name or number of a signal", error);
}

/* A relative directory is below the one there is. */
static gboolean change_workdir(Change *c, GError **error) {
        g_autofree char *old = NULL, *path = NULL;
        const char *before, *given;

        if (!json_string(c->config, "WorkingDir", WHAT, &before, error))
                return FALSE;
        old = g_strdup(before && before[0] ? before : "/");
        if (!change_string(c, "WorkingDir", error) || !json_string(c->config, "WorkingDir", WHAT, &given, error))
                return FALSE;
        path = g_canonicalize_filename(given, old[0] == '/' ? old : "/");
        json_object_set_string_member(c->config, "WorkingDir", path);
        return TRUE;
}

static const struct {
        const char *name;
        gboolean (*apply)(Change *c, GError **error);
} instructions[] = {
        { "CMD", change_cmd },       { "ENTRYPOINT", change_entrypoint }, { "ENV", change_env },
        { "EXPOSE", change_expose }, { "LABEL", change_label },           { "STOPSIGNAL", change_stopsignal },
        { "USER", change_user },     { "VOLUME", change_volume },         { "WORKDIR", change_workdir },
};

static gboolean apply_one(Change *c, const char *text, GError **error) {
        g_autofree char *line = g_strstrip(g_strdup(text)), *name = NULL;
        gsize size = strcspn(line, " \t\n=");
        char *rest = line + size;

        rest += strspn(rest, " \t\n");
        if (rest == line + size && *rest == '=')
                rest++;
        name = g_ascii_strup(line, (gssize)size);
        c->name = name;
        c->rest = rest;
        if (strlen(text) > CHANGE_MAX || !g_utf8_validate(text, -1, NULL))
                return store_fail(error, STORE_FAIL_INVALID, "A change is too long or not UTF-8");
        for (gsize i = 0; i < G_N_ELEMENTS(instructions); i++) {
                if (strcmp(instructions[i].name, name) != 0)
                        continue;
                return rest[0] ? instructions[i].apply(c, error) : bad(c, "it needs a value", error);
        }
        return store_fail(error, STORE_FAIL_UNSUPPORTED, "Change '%.40s' is not supported", name);
}

/** changes_apply() - carry out a list of instructions on @config, in their order */
gboolean changes_apply(JsonObject *config, JsonArray *changes, GError **error) {
        Change c = { .config = config };

        for (guint i = 0; changes && i < json_array_get_length(changes); i++) {
                const char *text = json_element_string(changes, i, "changes", error);

                if (!text || !apply_one(&c, text, error))
                        return FALSE;
        }
        return TRUE;
}
