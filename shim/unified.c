/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources.unified, the part that systemd has no property for.
 *
 * The scope's own files are systemd's. These are written in payload/, which is delegated to us and which systemd never
 * writes, so no daemon-reload takes them back; the controllers they belong to are handed down from the scope first. A
 * change writes all or none: what a file held is kept and put back when a later one is refused, or on demand.
 */

#include "shim/unified.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>

#include "shared/fd.h"
#include "shared/macros.h"
#include "shared/plan-check.h"

#define UNIFIED_FILE_MAX 65536U
#define IO_UNLIMITED "rbps=max wbps=max riops=max wiops=max"

static bool is_file(const char *name) {
        const char *dot = strchr(name, '.');

        return dot && dot != name && dot[1] && !strchr(name, '/') && strncmp(name, "cgroup.", 7) != 0;
}

static int hand_down(struct cgroup *c, const char *name, struct fault *fault) {
        char word[64];
        int r;

        (void)snprintf(word, sizeof(word), "+%.*s", (int)strcspn(name, "."), name);
        r = cgroup_write(c->scope_fd, "cgroup.subtree_control", word);
        if (r == -ENOENT || r == -EINVAL) /* the scope has not got it, or there is no such thing */
                r = -EOPNOTSUPP;
        return r < 0 ? fault_set(fault, SHIM_STEP_CGROUP, r, "%s: controller \"%s\"", name, word + 1) : 0;
}

static int write_one(struct cgroup *c, const char *name, const char *value, struct fault *fault) {
        int r;

        if (c->payload_fd < 0 || !is_file(name))
                return fault_set(fault, SHIM_STEP_CGROUP, EINVAL, "%s", name);
        if (faccessat(c->payload_fd, name, F_OK, 0) < 0) {
                r = hand_down(c, name, fault);
                if (r < 0)
                        return r;
        }
        r = cgroup_write(c->payload_fd, name, value);
        return r < 0 ? fault_set(fault, SHIM_STEP_CGROUP, r, "%s: \"%s\"", name, value) : 0;
}

/** unified_apply() - what the plan of a new container says */
int unified_apply(struct cgroup *c, const struct plan *plan, struct fault *fault) {
        const plan_str *s = plan_array(plan, plan->unified);
        int r = 0;

        for (uint32_t i = 0; r >= 0 && i < plan->unified.n; i++)
                r = write_one(c, plan_string(plan, s[2 * i]), plan_string(plan, s[2 * i + 1]), fault);
        return r;
}

static int undo_add(struct unified_undo *u, const char *text, size_t size) {
        char *grown = realloc(u->text, u->size + size + 1);

        if (!grown)
                return -ENOMEM;
        u->text = grown;
        memcpy(grown + u->size, text, size);
        grown[u->size + size] = '\0';
        u->size += size + 1;
        return 0;
}

/* What would bring the file back to what it holds: of a file with a line a device, that device's line. */
static int undo_remember(struct cgroup *c, struct unified_undo *u, const char *name, const char *value) {
        _cleanup_free_ char *text = NULL, *line = NULL;
        size_t key = strcspn(value, " "), n;
        char *found;
        int r;

        if (faccessat(c->payload_fd, name, F_OK, 0) < 0)
                return 0; /* the controller comes with it, and what it begins with holds nobody */
        r = file_read_at(c->payload_fd, name, UNIFIED_FILE_MAX, &text, NULL);
        if (r < 0)
                return r == -EINVAL || r == -EACCES ? 0 : r; /* a file that can only be written */
        found = text;
        if (memchr(value, ':', key)) {
                line = strndup(value, key + 1);
                if (!line)
                        return -ENOMEM;
                found = cgroup_line(text, line) ? cgroup_line(text, line) - key - 1 : NULL;
        }
        r = undo_add(u, name, strlen(name));
        if (r < 0)
                return r;
        if (!found) {
                _cleanup_free_ char *none = NULL;

                if (asprintf(&none, "%.*s " IO_UNLIMITED, (int)key, value) < 0) {
                        none = NULL;
                        return -ENOMEM;
                }
                return undo_add(u, none, strlen(none));
        }
        n = strcspn(found, "\n");
        return undo_add(u, found, n);
}

static void undo_clear(struct unified_undo *u) {
        free(TAKE_PTR(u->text));
        u->size = 0;
}

/** unified_take_back() - put back what the last change has replaced; without one nothing happens */
int unified_take_back(struct cgroup *c, struct unified_undo *undo, struct fault *fault) {
        int r = 0;

        for (size_t at = 0; at < undo->size;) {
                const char *name = undo->text + at, *value = name + strlen(name) + 1;

                if (value >= undo->text + undo->size) /* there was no memory for it */
                        break;
                if (write_one(c, name, value, fault) < 0)
                        r = fault->error;
                at += strlen(name) + strlen(value) + 2;
        }
        undo_clear(undo);
        return r;
}

static int change(struct cgroup *c, struct unified_undo *undo, const char *text, size_t size, struct fault *fault) {
        int r = 0;

        for (size_t at = 0; r >= 0 && at < size;) {
                const char *name = text + at, *value = name + strlen(name) + 1;

                if (value >= text + size)
                        return fault_set(fault, SHIM_STEP_CGROUP, EBADMSG, "a name without a value");
                if (!is_file(name))
                        return fault_set(fault, SHIM_STEP_CGROUP, EINVAL, "%s", name);
                r = undo_remember(c, undo, name, value);
                if (r < 0)
                        return fault_set(fault, SHIM_STEP_CGROUP, r, "%s", name);
                r = write_one(c, name, value, fault);
                at += strlen(name) + strlen(value) + 2;
        }
        return r;
}

/** unified_change() - write the names and values of a sealed memfd, all or none */
int unified_change(struct cgroup *c, struct unified_undo *undo, int fd, struct fault *fault) {
        _cleanup_free_ char *text = NULL;
        size_t size;
        int r;

        undo_clear(undo);
        r = fd < 0 || lseek(fd, 0, SEEK_SET) < 0 ? -EBADMSG : fd_read_bounded(fd, UNIFIED_FILE_MAX, &text, &size);
        if (r >= 0 && (size == 0 || text[size - 1] != '\0'))
                r = -EBADMSG;
        if (r < 0)
                return fault_set(fault, SHIM_STEP_CGROUP, r, "limits");
        r = change(c, undo, text, size, fault);
        if (r < 0) {
                struct fault ignored = FAULT_NULL;

                (void)unified_take_back(c, undo, &ignored);
        }
        return r;
}
