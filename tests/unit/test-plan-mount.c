/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * mounts[]: every option of the runtime-spec's table alone, options in pairs, kinds of mounts, and
 * what is refused.
 */

#include <linux/mount.h>

#include "plan/mount-options.h"
#include "tests/unit/plan-test.h"

#ifndef MOUNT_ATTR_NOSYMFOLLOW
#define MOUNT_ATTR_NOSYMFOLLOW 0x00200000
#endif
#ifndef MS_REC
#define MS_REC 16384
#define MS_UNBINDABLE (1 << 17)
#define MS_PRIVATE (1 << 18)
#define MS_SLAVE (1 << 19)
#define MS_SHARED (1 << 20)
#define MS_SYNCHRONOUS 16
#define MS_MANDLOCK 64
#define MS_DIRSYNC 128
#define MS_LAZYTIME (1 << 25)
#endif

/* The mount that the patch's one entry becomes; the plan is the caller's. */
static const struct plan_mount *only_mount(Built *b, const char *entry) {
        g_autofree char *patch = g_strdup_printf("{'mounts':[%s]}", entry);

        *b = build_patch(patch);
        g_assert_cmpuint(b->plan->mounts.n, ==, 1);
        return plan_array(b->plan, b->plan->mounts);
}

static const struct {
        const char *name;
        guint64 set, clear, set_recursive, clear_recursive;
        guint32 superblock, propagation;
} options[] = {
        { "defaults", .set = 0 },
        { "ro", .set = MOUNT_ATTR_RDONLY },
        { "rw", .clear = MOUNT_ATTR_RDONLY },
        { "nosuid", .set = MOUNT_ATTR_NOSUID },
        { "suid", .clear = MOUNT_ATTR_NOSUID },
        { "nodev", .set = MOUNT_ATTR_NODEV },
        { "dev", .clear = MOUNT_ATTR_NODEV },
        { "noexec", .set = MOUNT_ATTR_NOEXEC },
        { "exec", .clear = MOUNT_ATTR_NOEXEC },
        { "nodiratime", .set = MOUNT_ATTR_NODIRATIME },
        { "diratime", .clear = MOUNT_ATTR_NODIRATIME },
        { "nosymfollow", .set = MOUNT_ATTR_NOSYMFOLLOW },
        { "symfollow", .clear = MOUNT_ATTR_NOSYMFOLLOW },
        { "noatime", .set = MOUNT_ATTR_NOATIME, .clear = MOUNT_ATTR__ATIME },
        { "atime", .clear = MOUNT_ATTR__ATIME },
        { "relatime", .clear = MOUNT_ATTR__ATIME },
        { "norelatime", .clear = MOUNT_ATTR__ATIME },
        { "strictatime", .set = MOUNT_ATTR_STRICTATIME, .clear = MOUNT_ATTR__ATIME },
        { "nostrictatime", .clear = MOUNT_ATTR__ATIME },
        { "rro", .set_recursive = MOUNT_ATTR_RDONLY },
        { "rrw", .clear_recursive = MOUNT_ATTR_RDONLY },
        { "rnosuid", .set_recursive = MOUNT_ATTR_NOSUID },
        { "rsuid", .clear_recursive = MOUNT_ATTR_NOSUID },
        { "rnodev", .set_recursive = MOUNT_ATTR_NODEV },
        { "rdev", .clear_recursive = MOUNT_ATTR_NODEV },
        { "rnoexec", .set_recursive = MOUNT_ATTR_NOEXEC },
        { "rexec", .clear_recursive = MOUNT_ATTR_NOEXEC },
        { "rnodiratime", .set_recursive = MOUNT_ATTR_NODIRATIME },
        { "rdiratime", .clear_recursive = MOUNT_ATTR_NODIRATIME },
        { "rnosymfollow", .set_recursive = MOUNT_ATTR_NOSYMFOLLOW },
        { "rsymfollow", .clear_recursive = MOUNT_ATTR_NOSYMFOLLOW },
        { "rnoatime", .set_recursive = MOUNT_ATTR_NOATIME, .clear_recursive = MOUNT_ATTR__ATIME },
        { "ratime", .clear_recursive = MOUNT_ATTR__ATIME },
        { "rrelatime", .clear_recursive = MOUNT_ATTR__ATIME },
        { "rnorelatime", .clear_recursive = MOUNT_ATTR__ATIME },
        { "rstrictatime", .set_recursive = MOUNT_ATTR_STRICTATIME, .clear_recursive = MOUNT_ATTR__ATIME },
        { "rnostrictatime", .clear_recursive = MOUNT_ATTR__ATIME },
        { "sync", .superblock = MS_SYNCHRONOUS },
        { "async", .superblock = 0 },
        { "dirsync", .superblock = MS_DIRSYNC },
        { "mand", .superblock = MS_MANDLOCK },
        { "nomand", .superblock = 0 },
        { "lazytime", .superblock = MS_LAZYTIME },
        { "nolazytime", .superblock = 0 },
        { "silent", .superblock = 0 },
        { "loud", .superblock = 0 },
        { "noiversion", .superblock = 0 },
        { "shared", .propagation = MS_SHARED },
        { "slave", .propagation = MS_SLAVE },
        { "private", .propagation = MS_PRIVATE },
        { "unbindable", .propagation = MS_UNBINDABLE },
        { "rshared", .propagation = MS_SHARED | MS_REC },
        { "rslave", .propagation = MS_SLAVE | MS_REC },
        { "rprivate", .propagation = MS_PRIVATE | MS_REC },
        { "runbindable", .propagation = MS_UNBINDABLE | MS_REC },
};

static void test_each_option(void) {
        for (gsize i = 0; i < G_N_ELEMENTS(options); i++) {
                g_autofree char *entry = g_strdup_printf(
                        "{'destination':'/d','type':'tmpfs','source':'tmpfs','options':['%s']}", options[i].name);
                g_auto(Built) b = { .result = PLAN_RESULT_NULL };
                const struct plan_mount *m = only_mount(&b, entry);

                g_test_message("%s", options[i].name);
                g_assert_cmpuint(m->kind, ==, PLAN_MOUNT_FS);
                g_assert_cmpuint(m->data, ==, 0);
                g_assert_cmphex(m->attr_set, ==, options[i].set);
                g_assert_cmphex(m->attr_clear, ==, options[i].clear);
                g_assert_cmphex(m->attr_set_recursive, ==, options[i].set_recursive);
                g_assert_cmphex(m->attr_clear_recursive, ==, options[i].clear_recursive);
                g_assert_cmphex(m->sb_flags, ==, options[i].superblock);
                g_assert_cmphex(m->propagation, ==, options[i].propagation);
        }
}

/* After any two options the kernel's rules for mount_setattr(2) hold: no bit both set and cleared but access time,
 * which is cleared whole. */
static void test_pairs(void) {
        for (gsize i = 0; i < G_N_ELEMENTS(options); i++)
                for (gsize j = 0; j < G_N_ELEMENTS(options); j++) {
                        const char *pair[] = { options[i].name, options[j].name };
                        g_auto(MountOptions) o = {};

                        mount_options_parse(&o, pair, 2);
                        g_assert_cmphex(o.attr_set & o.attr_clear & ~(guint64)MOUNT_ATTR__ATIME, ==, 0);
                        g_assert_cmphex(o.attr_set_recursive & o.attr_clear_recursive & ~(guint64)MOUNT_ATTR__ATIME, ==,
                                        0);
                        if (o.attr_set & MOUNT_ATTR__ATIME)
                                g_assert_cmphex(o.attr_clear & MOUNT_ATTR__ATIME, ==, MOUNT_ATTR__ATIME);
                        /* the later one has its way */
                        g_assert_cmphex(o.attr_set & options[j].set, ==, options[j].set);
                        g_assert_cmphex(o.attr_clear & options[j].clear, ==, options[j].clear);
                        g_assert_cmphex(o.attr_set_recursive & options[j].set_recursive, ==, options[j].set_recursive);
                        if (options[j].propagation)
                                g_assert_cmphex(o.propagation, ==, options[j].propagation);
                        g_assert_cmpuint(o.data->len, ==, 0);
                }
}

static const struct {
        const char *entry;
        guint32 kind, flags;
        const char *source, *fstype, *data, *target;
} kinds[] = {
        { "{'destination':'/d','type':'bind','source':'/s','options':['bind']}", PLAN_MOUNT_BIND, 0, "/s", NULL, NULL,
          "/d" },
        { "{'destination':'/d','type':'none','source':'/s','options':['rbind']}", PLAN_MOUNT_BIND, PLAN_MOUNT_RECURSIVE,
          "/s", NULL, NULL, "/d" },
        { "{'destination':'/d','source':'/s','options':['rbind','nofail']}", PLAN_MOUNT_BIND,
          PLAN_MOUNT_RECURSIVE | PLAN_MOUNT_OPTIONAL, "/s", NULL, NULL, "/d" },
        { "{'destination':'/d','type':'bind','source':'/s'}", PLAN_MOUNT_BIND, 0, "/s", NULL, NULL, "/d" },
        { "{'destination':'d/e','type':'proc','source':'proc'}", PLAN_MOUNT_FS, 0, "proc", "proc", NULL, "/d/e" },
        { "{'destination':'/d','type':'tmpfs','options':['size=64k','mode=1777','tmpcopyup']}", PLAN_MOUNT_FS,
          PLAN_MOUNT_COPY_UP, NULL, "tmpfs", "size=64k,mode=1777", "/d" },
        { "{'destination':'/d','type':'devpts','source':'x','options':['newinstance','gid=5']}", PLAN_MOUNT_FS, 0, "x",
          "devpts", "gid=5", "/d" },
        { "{'destination':'/d','type':'cgroup','source':'cgroup'}", PLAN_MOUNT_CGROUP, 0, "cgroup", NULL, NULL, "/d" },
        { "{'destination':'/d','type':'cgroup2','source':'cgroup','options':['ro']}", PLAN_MOUNT_CGROUP, 0, "cgroup",
          NULL, NULL, "/d" },
        { "{'destination':'/d','type':'none','options':['remount','ro']}", PLAN_MOUNT_REMOUNT, 0, NULL, NULL, NULL,
          "/d" },
        { "{'destination':'/d','options':['remount','bind','rro']}", PLAN_MOUNT_REMOUNT, 0, NULL, NULL, NULL, "/d" },
        { "{'destination':'/d','type':'overlay','source':'overlay','options':['lowerdir=/a:/b']}", PLAN_MOUNT_FS, 0,
          "overlay", "overlay", "lowerdir=/a:/b", "/d" },
};

static void test_kinds(void) {
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++) {
                g_auto(Built) b = { .result = PLAN_RESULT_NULL };
                const struct plan_mount *m = only_mount(&b, kinds[i].entry);

                g_test_message("%s", kinds[i].entry);
                g_assert_cmpuint(m->kind, ==, kinds[i].kind);
                g_assert_cmphex(m->flags, ==, kinds[i].flags);
                g_assert_cmpstr(plan_string(b.plan, m->source), ==, kinds[i].source);
                g_assert_cmpstr(plan_string(b.plan, m->fstype), ==, kinds[i].fstype);
                g_assert_cmpstr(plan_string(b.plan, m->data), ==, kinds[i].data);
                g_assert_cmpstr(plan_string(b.plan, m->target), ==, kinds[i].target);
        }
}

/* A block device is read-only as a whole; what lives in memory only as a mount. */
static void test_read_only(void) {
        g_auto(Built) disk = { .result = PLAN_RESULT_NULL }, memory = { .result = PLAN_RESULT_NULL };
        const struct plan_mount *m;

        m = only_mount(&disk, "{'destination':'/d','type':'ext4','source':'/dev/sda1','options':['ro']}");
        g_assert_cmphex(m->sb_flags, ==, 1);
        m = only_mount(&memory, "{'destination':'/d','type':'sysfs','source':'sysfs','options':['ro']}");
        g_assert_cmphex(m->sb_flags, ==, 0);
}

#define MAPS                                                                                                           \
        "'uidMappings':[{'containerID':0,'hostID':1000,'size':10}],'gidMappings':[{'containerID':0,'hostID':2000,'"    \
        "size':10}]"

static void test_id_maps(void) {
        g_auto(Built) plain = { .result = PLAN_RESULT_NULL }, recursive = { .result = PLAN_RESULT_NULL };
        const struct plan_mount *m =
                only_mount(&plain, "{'destination':'/d','type':'bind','source':'/s','options':['bind']," MAPS "}");
        const struct plan_id_map *map = plan_array(plain.plan, m->gid_map);

        g_assert_cmphex(m->flags, ==, PLAN_MOUNT_IDMAP);
        g_assert_cmpuint(m->uid_map.n, ==, 1);
        g_assert_cmpuint(map->host_id, ==, 2000);
        m = only_mount(&recursive,
                       "{'destination':'/d','type':'bind','source':'/s','options':['rbind','ridmap']," MAPS "}");
        g_assert_cmphex(m->flags, ==, PLAN_MOUNT_RECURSIVE | PLAN_MOUNT_IDMAP | PLAN_MOUNT_IDMAP_RECURSIVE);
        {
                g_auto(Built) user = build_patch(
                        "{'mounts':[{'destination':'/d','type':'bind','source':'/s','options':['idmap']}],'linux':{"
                        "'namespaces':[{'type':'mount'},{'type':'user'}]," MAPS "}}");

                m = plan_array(user.plan, user.plan->mounts);
                g_assert_cmphex(m->flags, ==, PLAN_MOUNT_IDMAP);
                g_assert_cmpuint(m->uid_map.n, ==, 0);
        }
}

static void test_refused(void) {
        static const struct {
                PlanError code;
                const char *entry, *message;
        } bad[] = {
                { PLAN_ERROR_INVALID, "1", "mounts[0]: expected an object" },
                { PLAN_ERROR_INVALID, "{'type':'tmpfs'}", "mounts[0].destination" },
                { PLAN_ERROR_INVALID, "{'destination':'','type':'tmpfs'}", "mounts[0].destination" },
                { PLAN_ERROR_INVALID, "{'destination':'/','type':'tmpfs'}", "mounts[0].destination" },
                { PLAN_ERROR_INVALID, "{'destination':'/./','type':'tmpfs'}", "mounts[0].destination" },
                { PLAN_ERROR_INVALID, "{'destination':'/..','type':'tmpfs'}", "mounts[0].destination" },
                { PLAN_ERROR_INVALID, "{'destination':'/a\\nb','type':'tmpfs'}", "mounts[0].destination" },
                { PLAN_ERROR_INVALID, "{'destination':'/d'}", "mounts[0].type" },
                { PLAN_ERROR_INVALID, "{'destination':'/d','type':'none'}", "mounts[0].type" },
                { PLAN_ERROR_INVALID, "{'destination':'/d','type':'bind'}", "mounts[0].source" },
                { PLAN_ERROR_INVALID, "{'destination':'/d','type':'bind','source':'s'}", "mounts[0].source" },
                { PLAN_ERROR_INVALID, "{'destination':'/d','type':'tmpfs','options':'ro'}", "mounts[0].options" },
                { PLAN_ERROR_INVALID, "{'destination':'/d','type':'tmpfs','options':['nofail']}", "mounts[0] (/d): " },
                { PLAN_ERROR_INVALID, "{'destination':'/d','type':'proc','options':['tmpcopyup']}",
                  "mounts[0] (/d): " },
                { PLAN_ERROR_INVALID, "{'destination':'/d','type':'bind','source':'/s','options':['idmap']}",
                  "mounts[0] (/d): " },
                { PLAN_ERROR_INVALID,
                  "{'destination':'/d','type':'bind','source':'/"
                  "s','uidMappings':[{'containerID':0,'hostID':0,'size':1}]}",
                  "mounts[0].gidMappings" },
                { PLAN_ERROR_NOT_SUPPORTED, "{'destination':'/d','type':'tmpfs'," MAPS "}", "mounts[0].uidMappings" },
                { PLAN_ERROR_NOT_SUPPORTED, "{'destination':'/d','type':'bind','source':'/s','options':['size=1k']}",
                  "mounts[0] (/d): " },
                { PLAN_ERROR_NOT_SUPPORTED, "{'destination':'/d','type':'bind','source':'/s','options':['rnosuch']}",
                  "mounts[0] (/d): unknown option \"rnosuch\"" },
                { PLAN_ERROR_NOT_SUPPORTED, "{'destination':'/d','type':'bind','source':'/s','options':['iversion']}",
                  "mounts[0] (/d): " },
                { PLAN_ERROR_NOT_SUPPORTED, "{'destination':'/d','type':'cgroup','options':['clone_children']}",
                  "mounts[0] (/d): " },
                { PLAN_ERROR_NOT_SUPPORTED, "{'destination':'/d','type':'tmpfs','options':['size=1k,mode=7']}",
                  "mounts[0] (/d): " },
        };

        for (gsize i = 0; i < G_N_ELEMENTS(bad); i++) {
                g_autofree char *patch = g_strdup_printf("{'mounts':[%s]}", bad[i].entry);

                refuse_patch(patch, bad[i].code, bad[i].message);
        }
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/mount/each-option", test_each_option);
        g_test_add_func("/mount/pairs", test_pairs);
        g_test_add_func("/mount/kinds", test_kinds);
        g_test_add_func("/mount/read-only", test_read_only);
        g_test_add_func("/mount/id-maps", test_id_maps);
        g_test_add_func("/mount/refused", test_refused);
        return g_test_run();
}
