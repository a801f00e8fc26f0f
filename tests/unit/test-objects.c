/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The frame that objects in tables share, with objects that are nothing else: found, enumerated, announced and listed
 * over a private connection.
 */

#include "daemon/objects.h"

#include "daemon/bus.h"
#include "daemon/error.h"
#include "shared/name.h"
#include "tests/unit/bus-pair.h"

typedef struct Thing {
        char *name, *path;
        bool visible;
} Thing;

typedef struct Fixture {
        BusPair pair;
        Manager m;
        Namespace *ns, *other;
        sd_bus_slot *methods, *signals;
        GString *heard;
} Fixture;

static ObjectTable things = {
        .kind = "thing",
        .interface = DAVIT_BUS_NAME ".Thing",
        .table = offsetof(Namespace, containers),
        .path = offsetof(Thing, path),
        .visible = offsetof(Thing, visible),
};

static const sd_bus_vtable vtable[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_PROPERTY("Name", "s", NULL, offsetof(Thing, name), SD_BUS_VTABLE_PROPERTY_EMITS_CHANGE),
        SD_BUS_VTABLE_END,
};

typedef struct Filters {
        char **names, *not;
        GHashTable *labels;
} Filters;

static bool wanted(const void *object, const void *filters) {
        const Filters *f = filters;
        const Thing *t = object;

        return object_named(t->name, f->names) && !(f->not && streq(f->not, t->name));
}

static int append(sd_bus_message *reply, const void *object) {
        const Thing *t = object;

        return sd_bus_message_append(reply, "so", t->name, t->path);
}

static int method_list(sd_bus_message *m, void *userdata, sd_bus_error *error) {
        static const BusOption table[] = {
                { "Name", "as", offsetof(Filters, names), 1, NULL },
                { "Not", "s", offsetof(Filters, not), 1, NULL },
                { "Labels", "a{ss}", offsetof(Filters, labels), 1, NULL },
        };
        static const ObjectList list = { &things, table, ELEMENTSOF(table), "so", wanted, append };
        Filters filters = { 0 };
        int r;

        r = object_list(m, userdata, &list, &filters, error);
        g_assert_true(!filters.names && !filters.not && !filters.labels);
        return r;
}

static const sd_bus_vtable methods[] = {
        SD_BUS_VTABLE_START(0),
        SD_BUS_METHOD("List", "sa{sv}", "a(so)", method_list, SD_BUS_VTABLE_UNPRIVILEGED),
        SD_BUS_VTABLE_END,
};

static int on_signal(sd_bus_message *m, void *userdata, sd_bus_error *error _unused_) {
        Fixture *f = userdata;
        const char *path = sd_bus_message_get_path(m);

        if (streq(sd_bus_message_get_member(m), "PropertiesChanged"))
                g_string_append_printf(f->heard, "changed %s\n", path);
        else if (sd_bus_message_read(m, "o", &path) >= 0)
                g_string_append_printf(f->heard, "%s %s\n", sd_bus_message_get_member(m), path);
        return 0;
}

static Thing *put(Namespace *ns, const char *name, bool visible) {
        Thing *t = g_new0(Thing, 1);

        *t = (Thing){ g_strdup(name), bus_object_path(ns->name, "thing", name), visible };
        g_hash_table_insert(ns->containers, t->name, t);
        return t;
}

static void set_up(Fixture *f, const void *data _unused_) {
        bus_pair_open(&f->pair);
        f->m.bus = f->pair.server;
        f->m.event = f->pair.event;
        f->m.namespaces = g_hash_table_new(g_str_hash, g_str_equal);
        g_assert_cmpint(manager_namespace(&f->m, "default", true, &f->ns, NULL), ==, 0);
        g_assert_cmpint(manager_namespace(&f->m, "other", true, &f->other, NULL), ==, 0);
        f->heard = g_string_new(NULL);
        things.find_all = false;
        g_assert_cmpint(sd_bus_add_object_manager(f->pair.server, NULL, DAVIT_BUS_PATH), >=, 0);
        g_assert_cmpint(object_register(&f->m, &things, vtable), >=, 0);
        g_assert_cmpint(sd_bus_add_object_vtable(f->pair.server, &f->methods, DAVIT_BUS_PATH, DAVIT_BUS_NAME ".Manager",
                                                 methods, &f->m),
                        >=, 0);
        g_assert_cmpint(sd_bus_add_match(f->pair.client, &f->signals, "type='signal'", on_signal, f), >=, 0);
        (void)put(f->ns, "b", true);
        (void)put(f->ns, "a", true);
        (void)put(f->ns, "hidden", false);
        (void)put(f->other, "c", true);
}

static void forget(Namespace *ns) {
        GHashTableIter iter;
        Thing *t;

        g_hash_table_iter_init(&iter, ns->containers);
        while (g_hash_table_iter_next(&iter, NULL, (void **)&t)) {
                g_hash_table_iter_steal(&iter);
                g_free(t->name);
                g_free(t->path);
                g_free(t);
        }
        (void)namespace_free(ns);
}

static void tear_down(Fixture *f, const void *data _unused_) {
        sd_bus_slot_unref(f->methods);
        sd_bus_slot_unref(f->signals);
        forget(f->ns);
        forget(f->other);
        g_hash_table_unref(f->m.namespaces);
        g_string_free(f->heard, TRUE);
        bus_pair_close(&f->pair);
}

static sd_bus_message *call(Fixture *f, const char *path, const char *interface, const char *member, const char *types,
                            const char *a, const char *b) {
        sd_bus_message *reply = NULL;

        g_assert_cmpint(sd_bus_call_method_async(f->pair.client, NULL, NULL, path, interface, member, bus_pair_on_reply,
                                                 &reply, types, a, b),
                        >=, 0);
        bus_pair_run(&f->pair, (void *const *)&reply);
        return reply;
}

/* The name of the object at this path, or the error. */
static char *name_at(Fixture *f, const char *path) {
        _cleanup_bus_message_ sd_bus_message *m =
                call(f, path, "org.freedesktop.DBus.Properties", "Get", "ss", things.interface, "Name");
        const char *name;

        if (sd_bus_message_is_method_error(m, NULL))
                return g_strdup(sd_bus_message_get_error(m)->name);
        g_assert_cmpint(sd_bus_message_read(m, "v", "s", &name), >, 0);
        return g_strdup(name);
}

#define ASSERT_AT(f, path, expected)                                                                                   \
        do {                                                                                                           \
                g_autofree char *got_ = name_at(f, DAVIT_BUS_PATH path);                                               \
                g_assert_cmpstr(got_, ==, expected);                                                                   \
        } while (0)

static void test_find(Fixture *f, const void *data _unused_) {
        static const char unknown[] = "org.freedesktop.DBus.Error.UnknownObject";
        _cleanup_bus_error_ sd_bus_error error = SD_BUS_ERROR_NULL;
        void *found;

        ASSERT_AT(f, "/ns/default/thing/a", "a");
        ASSERT_AT(f, "/ns/other/thing/c", "c");
        ASSERT_AT(f, "/ns/default/thing/c", unknown);
        ASSERT_AT(f, "/ns/default/other/a", unknown);
        ASSERT_AT(f, "/ns/nowhere/thing/a", unknown);
        ASSERT_AT(f, "/ns/default/thing/hidden", unknown);
        things.find_all = true;
        ASSERT_AT(f, "/ns/default/thing/hidden", "hidden");

        g_assert_cmpint(object_find(&f->m, &things, "", "a", &found, NULL), ==, 0);
        g_assert_true(found == g_hash_table_lookup(f->ns->containers, "a"));
        g_assert_cmpint(object_find(&f->m, &things, "other", "a", &found, &error), ==, -ENOENT);
        g_assert_cmpstr(error.message, ==, "There is no thing \"a\" in namespace \"other\".");
        g_assert_cmpint(object_find(&f->m, &things, "nowhere", "a", &found, NULL), ==, -ENOENT);
}

static void test_enumerate(Fixture *f, const void *data _unused_) {
        _cleanup_bus_message_ sd_bus_message *m = NULL;
        const char *path;
        GString *all = g_string_new(NULL);
        int r;

        m = call(f, DAVIT_BUS_PATH, "org.freedesktop.DBus.ObjectManager", "GetManagedObjects", "", NULL, NULL);
        g_assert_cmpint(sd_bus_message_enter_container(m, 'a', "{oa{sa{sv}}}"), >, 0);
        while ((r = sd_bus_message_enter_container(m, 'e', "oa{sa{sv}}")) > 0) {
                g_assert_cmpint(sd_bus_message_read(m, "o", &path), >, 0);
                g_assert_cmpint(sd_bus_message_skip(m, "a{sa{sv}}"), >=, 0);
                g_assert_cmpint(sd_bus_message_exit_container(m), >=, 0);
                if (strstr(path, "/thing/"))
                        g_string_append_printf(all, "%s ", strrchr(path, '/') + 1);
        }
        g_assert_cmpint(r, ==, 0);
        g_assert_cmpuint(all->len, ==, strlen("a b c "));
        g_assert_true(strstr(all->str, "a ") && strstr(all->str, "b ") && strstr(all->str, "c "));
        g_string_free(all, TRUE);
}

static void test_announce(Fixture *f, const void *data _unused_) {
        const Thing *a = g_hash_table_lookup(f->ns->containers, "a");

        object_added(&f->m, &things, a);
        object_changed(&f->m, &things, a, (const char *const[]){ "Name", NULL });
        object_removed(&f->m, &things, a);
        ASSERT_AT(f, "/ns/default/thing/a", "a"); /* what came before is there now, too */
        g_assert_cmpstr(f->heard->str, ==,
                        "InterfacesAdded " DAVIT_BUS_PATH "/ns/default/thing/a\n"
                        "changed " DAVIT_BUS_PATH "/ns/default/thing/a\n"
                        "InterfacesRemoved " DAVIT_BUS_PATH "/ns/default/thing/a\n");
        f->m.bus = NULL; /* nobody to tell */
        object_added(&f->m, &things, a);
        f->m.bus = f->pair.server;
}

/* The names in a list, or the error. */
static char *list(Fixture *f, const char *ns, const char *key, const char *type, const char *value) {
        _cleanup_bus_message_ sd_bus_message *m = NULL, *reply = NULL;
        g_autoptr(GString) all = g_string_new(NULL);
        const char *name;

        g_assert_cmpint(sd_bus_message_new_method_call(f->pair.client, &m, NULL, DAVIT_BUS_PATH,
                                                       DAVIT_BUS_NAME ".Manager", "List"),
                        >=, 0);
        g_assert_cmpint(sd_bus_message_append(m, "s", ns), >=, 0);
        g_assert_cmpint(sd_bus_message_open_container(m, 'a', "{sv}"), >=, 0);
        if (key && streq(type, "s"))
                g_assert_cmpint(sd_bus_message_append(m, "{sv}", key, type, value), >=, 0);
        else if (key)
                g_assert_cmpint(sd_bus_message_append(m, "{sv}", key, type, 1, value, "x"), >=, 0);
        g_assert_cmpint(sd_bus_message_close_container(m), >=, 0);
        g_assert_cmpint(sd_bus_call_async(f->pair.client, NULL, m, bus_pair_on_reply, &reply, 0), >=, 0);
        bus_pair_run(&f->pair, (void *const *)&reply);
        if (sd_bus_message_is_method_error(reply, NULL))
                return g_strdup(sd_bus_message_get_error(reply)->name);
        g_assert_cmpint(sd_bus_message_enter_container(reply, 'a', "(so)"), >=, 0);
        while (sd_bus_message_read(reply, "(so)", &name, NULL) > 0)
                g_string_append_printf(all, "%s ", name);
        return g_strdup(all->str);
}

static void test_list(Fixture *f, const void *data _unused_) {
        static const struct {
                const char *ns, *key, *type, *value, *expected;
        } table[] = {
                { "", NULL, NULL, NULL, "a b " }, /* sorted, and without what is hidden */
                { "default", NULL, NULL, NULL, "a b " },
                { "*", NULL, NULL, NULL, "a b c " },
                { "other", NULL, NULL, NULL, "c " },
                { "nowhere", NULL, NULL, NULL, "" },
                { "../x", NULL, NULL, NULL, DAVIT_BUS_ERROR "InvalidArgument" },
                { "*", "Not", "s", "b", "a c " },
                { "*", "Labels", "a{ss}", "k", "a b c " },
                { "*", "Names", "s", "b", DAVIT_BUS_ERROR "InvalidArgument" },
                { "*", "Not", "a{ss}", "b", DAVIT_BUS_ERROR "InvalidArgument" },
        };

        for (size_t i = 0; i < ELEMENTSOF(table); i++) {
                g_autofree char *got = list(f, table[i].ns, table[i].key, table[i].type, table[i].value);

                g_assert_cmpstr(got, ==, table[i].expected);
        }
        g_assert_null(g_hash_table_lookup(f->m.namespaces, "nowhere"));
        g_assert_true(object_named("x", NULL));
        g_assert_true(object_named("x", (char *[]){ (char *)"y", (char *)"x", NULL }));
        g_assert_false(object_named("x", (char *[]){ NULL }));
}

#define ADD(name, func) g_test_add(name, Fixture, NULL, set_up, func, tear_down)

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        ADD("/objects/find", test_find);
        ADD("/objects/enumerate", test_enumerate);
        ADD("/objects/announce", test_announce);
        ADD("/objects/list", test_list);
        return g_test_run();
}
