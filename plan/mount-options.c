/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The mount options of runtime-spec config.md ("Linux mount options") as flags of mount_setattr(2).
 *
 * A later option overrides an earlier one. Attributes exist in a plain and a recursive form, the
 * recursive one being the plain name with "r" before it. What is not in these tables belongs to the
 * file system and is handed on; whether that is allowed is decided where the mount's type is known.
 */

#include <string.h>

#include "plan/mount-options.h"
#include "shared/syscalls.h"

/* Access time is one value, not bits: setting any clears the whole field (mount_setattr(2)). */
static const struct {
        const char *name;
        guint64 set, clear;
} attributes[] = {
        { "ro", MOUNT_ATTR_RDONLY, 0 },
        { "rw", 0, MOUNT_ATTR_RDONLY },
        { "nosuid", MOUNT_ATTR_NOSUID, 0 },
        { "suid", 0, MOUNT_ATTR_NOSUID },
        { "nodev", MOUNT_ATTR_NODEV, 0 },
        { "dev", 0, MOUNT_ATTR_NODEV },
        { "noexec", MOUNT_ATTR_NOEXEC, 0 },
        { "exec", 0, MOUNT_ATTR_NOEXEC },
        { "nodiratime", MOUNT_ATTR_NODIRATIME, 0 },
        { "diratime", 0, MOUNT_ATTR_NODIRATIME },
        { "nosymfollow", MOUNT_ATTR_NOSYMFOLLOW, 0 },
        { "symfollow", 0, MOUNT_ATTR_NOSYMFOLLOW },
        { "noatime", MOUNT_ATTR_NOATIME, MOUNT_ATTR__ATIME },
        { "strictatime", MOUNT_ATTR_STRICTATIME, MOUNT_ATTR__ATIME },
        { "relatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
        { "atime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
        { "norelatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
        { "nostrictatime", MOUNT_ATTR_RELATIME, MOUNT_ATTR__ATIME },
};

/* "silent" is about the kernel's log, and nothing counts inode versions unless asked: both change nothing here. */
static const struct {
        const char *name;
        guint32 set, clear;
} superblock[] = {
        { "sync", MS_SYNCHRONOUS, 0 },
        { "async", 0, MS_SYNCHRONOUS },
        { "dirsync", MS_DIRSYNC, 0 },
        { "mand", MS_MANDLOCK, 0 },
        { "nomand", 0, MS_MANDLOCK },
        { "lazytime", MS_LAZYTIME, 0 },
        { "nolazytime", 0, MS_LAZYTIME },
        { "silent", 0, 0 },
        { "loud", 0, 0 },
        { "noiversion", 0, 0 },
};

static const struct {
        const char *name;
        guint32 flags;
} propagation[] = {
        { "shared", MS_SHARED },         { "rshared", MS_SHARED | MS_REC },
        { "slave", MS_SLAVE },           { "rslave", MS_SLAVE | MS_REC },
        { "private", MS_PRIVATE },       { "rprivate", MS_PRIVATE | MS_REC },
        { "unbindable", MS_UNBINDABLE }, { "runbindable", MS_UNBINDABLE | MS_REC },
};

static gboolean apply_attribute(const char *name, guint64 *set, guint64 *clear) {
        for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++) {
                if (!g_str_equal(attributes[i].name, name))
                        continue;
                *set = (*set & ~attributes[i].clear) | attributes[i].set;
                *clear = (*clear & ~attributes[i].set) | attributes[i].clear;
                return TRUE;
        }
        return FALSE;
}

static gboolean apply_superblock(MountOptions *o, const char *name) {
        for (gsize i = 0; i < G_N_ELEMENTS(superblock); i++)
                if (g_str_equal(superblock[i].name, name)) {
                        o->sb_flags = (o->sb_flags & ~superblock[i].clear) | superblock[i].set;
                        return TRUE;
                }
        return FALSE;
}

static gboolean apply_propagation(MountOptions *o, const char *name) {
        for (gsize i = 0; i < G_N_ELEMENTS(propagation); i++)
                if (g_str_equal(propagation[i].name, name)) {
                        o->propagation = propagation[i].flags;
                        return TRUE;
                }
        return FALSE;
}

static const char *const kinds[] = { "bind", "rbind", "remount", "tmpcopyup", "idmap", "ridmap", "nofail", "defaults" };

/* "nofail" as in fstab(5): a bind whose source does not exist is left out. */
static gboolean apply_kind(MountOptions *o, const char *name) {
        if (g_str_equal(name, "bind"))
                o->bind = TRUE;
        else if (g_str_equal(name, "rbind"))
                o->bind = o->recursive = TRUE;
        else if (g_str_equal(name, "remount"))
                o->remount = TRUE;
        else if (g_str_equal(name, "tmpcopyup"))
                o->copy_up = TRUE;
        else if (g_str_equal(name, "idmap"))
                o->idmap = TRUE;
        else if (g_str_equal(name, "ridmap"))
                o->idmap = o->idmap_recursive = TRUE;
        else if (g_str_equal(name, "nofail"))
                o->optional = TRUE;
        else
                return g_str_equal(name, "defaults");
        return TRUE;
}

/** mount_options_known() - Adds the names of all options to @names, a recursive attribute's too. */
void mount_options_known(JsonArray *names) {
        for (gsize i = 0; i < G_N_ELEMENTS(kinds); i++)
                json_array_add_string_element(names, kinds[i]);
        for (gsize i = 0; i < G_N_ELEMENTS(attributes); i++) {
                g_autofree char *recursive = g_strconcat("r", attributes[i].name, NULL);

                json_array_add_string_element(names, attributes[i].name);
                json_array_add_string_element(names, recursive);
        }
        for (gsize i = 0; i < G_N_ELEMENTS(superblock); i++)
                json_array_add_string_element(names, superblock[i].name);
        for (gsize i = 0; i < G_N_ELEMENTS(propagation); i++)
                json_array_add_string_element(names, propagation[i].name);
}

/**
 * mount_options_parse() - Sorts options into flags and file system data.
 * @ret: overwritten; "data" borrows the strings
 */
void mount_options_parse(MountOptions *ret, const char *const *options, gsize n) {
        *ret = (MountOptions){ .data = g_ptr_array_new() };
        for (gsize i = 0; i < n; i++) {
                const char *name = options[i];

                if (!*name || apply_kind(ret, name) || apply_attribute(name, &ret->attr_set, &ret->attr_clear) ||
                    apply_propagation(ret, name) || apply_superblock(ret, name))
                        continue;
                if (*name == 'r' && apply_attribute(name + 1, &ret->attr_set_recursive, &ret->attr_clear_recursive))
                        continue;
                g_ptr_array_add(ret->data, (gpointer)name);
        }
}

/** mount_options_clear() - Frees what mount_options_parse() made. */
void mount_options_clear(MountOptions *options) {
        g_clear_pointer(&options->data, g_ptr_array_unref);
}
