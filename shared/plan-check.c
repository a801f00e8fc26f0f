/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * The plan's gatekeeper.
 *
 * A plan arrives in a sealed memfd from the manager, or from a davit-oci that anyone may have called. Before
 * the shim follows one offset it is checked here as a whole: every array inside the memory, aligned and
 * bounded, every string terminated inside it, every enum one that is known. What plan_check() has passed
 * may be read without further tests of memory; what the values mean for the kernel is the shim's business.
 */

#include "shared/plan-check.h"

#include <linux/filter.h>
#include <stdbool.h>
#include <string.h>
#include <sys/stat.h>

#include "shared/macros.h"

struct checker {
        const uint8_t *data;
        size_t size;
};

static bool check_list(const struct checker *c, struct plan_list l, size_t record) {
        if (l.n == 0)
                return true;
        if (l.n > PLAN_LIST_MAX || l.offset % 8 != 0 || l.offset < sizeof(struct plan) || l.offset > c->size)
                return false;
        return (uint64_t)l.n * record <= c->size - l.offset;
}

static bool check_string(const struct checker *c, plan_str s) {
        if (s == 0)
                return true;
        if (s < sizeof(struct plan) || s >= c->size)
                return false;
        return memchr(c->data + s, '\0', c->size - s) != NULL;
}

static bool check_path(const struct checker *c, plan_str s, bool required) {
        if (s == 0)
                return !required;
        return check_string(c, s) && c->data[s] == '/';
}

static bool check_strings(const struct checker *c, struct plan_list l, bool paths) {
        if (!check_list(c, l, sizeof(plan_str)))
                return false;
        for (uint32_t i = 0; i < l.n; i++) {
                plan_str s;

                memcpy(&s, c->data + l.offset + i * sizeof(s), sizeof(s));
                if (s == 0 || !check_string(c, s) || (paths && c->data[s] != '/'))
                        return false;
        }
        return true;
}

static bool check_maps(const struct checker *c, struct plan_list l) {
        const struct plan_id_map *m;

        if (!check_list(c, l, sizeof(*m)))
                return false;
        m = (const void *)(c->data + l.offset);
        for (uint32_t i = 0; i < l.n; i++)
                if (m[i].size == 0 || m[i].container_id > UINT32_MAX - m[i].size ||
                    m[i].host_id > UINT32_MAX - m[i].size)
                        return false;
        return true;
}

static bool check_seccomp(const struct checker *c, const struct plan_seccomp *s) {
        return check_list(c, s->program, sizeof(struct sock_filter)) && s->program.n <= BPF_MAXINSNS &&
               check_string(c, s->listener) && check_string(c, s->metadata);
}

/* A set of CPUs or of memory nodes. */
static bool check_bits(const struct checker *c, struct plan_list l) {
        return check_list(c, l, sizeof(uint64_t)) && l.n <= PLAN_BITS_MAX / 64;
}

static bool check_process(const struct checker *c, const struct plan_process *p) {
        const plan_str strings[] = { p->user, p->apparmor_profile, p->selinux_label };

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                if (!check_string(c, strings[i]))
                        return false;
        return p->args.n > 0 && check_strings(c, p->args, false) && check_strings(c, p->env, false) &&
               check_path(c, p->cwd, true) && check_list(c, p->groups, sizeof(uint32_t)) &&
               check_list(c, p->rlimits, sizeof(struct plan_rlimit)) && check_bits(c, p->affinity_initial) &&
               check_bits(c, p->affinity_final) && p->n_listen_fds <= 32 && p->uid != UINT32_MAX &&
               p->gid != UINT32_MAX;
}

static bool check_rootfs(const struct checker *c, const struct plan_rootfs *r) {
        if (!check_strings(c, r->lowers, true) || !check_strings(c, r->data, true))
                return false;
        if (!check_path(c, r->upper, false) || !check_path(c, r->work, false) || !check_path(c, r->path, false))
                return false;
        if (r->kind == PLAN_ROOTFS_DIRECTORY)
                return r->path != 0;
        return r->kind == PLAN_ROOTFS_OVERLAY && r->lowers.n > 0 && !r->upper == !r->work;
}

static bool check_mounts(const struct checker *c, struct plan_list l) {
        const struct plan_mount *m;

        if (!check_list(c, l, sizeof(*m)))
                return false;
        m = (const void *)(c->data + l.offset);
        for (uint32_t i = 0; i < l.n; i++, m++) {
                if (m->kind < PLAN_MOUNT_BIND || m->kind > PLAN_MOUNT_REMOUNT || !check_path(c, m->target, true))
                        return false;
                if (!check_string(c, m->source) || !check_string(c, m->fstype) || !check_string(c, m->data))
                        return false;
                if (m->kind == PLAN_MOUNT_BIND && !check_path(c, m->source, true))
                        return false;
                if (m->kind == PLAN_MOUNT_FS && m->fstype == 0)
                        return false;
                if (!check_maps(c, m->uid_map) || !check_maps(c, m->gid_map))
                        return false;
        }
        return true;
}

static bool check_devices(const struct checker *c, struct plan_list l) {
        const struct plan_device *d;

        if (!check_list(c, l, sizeof(*d)))
                return false;
        d = (const void *)(c->data + l.offset);
        for (uint32_t i = 0; i < l.n; i++)
                if (!check_path(c, d[i].path, true) || (d[i].mode & ~07777U) ||
                    (d[i].type != S_IFCHR && d[i].type != S_IFBLK && d[i].type != S_IFIFO))
                        return false;
        return true;
}

static bool check_pairs(const struct checker *c, struct plan_list l, bool second_is_path) {
        const plan_str *s;

        /* struct plan_link and struct plan_sysctl are two strings each. */
        if (!check_list(c, l, 2 * sizeof(plan_str)))
                return false;
        s = (const void *)(c->data + l.offset);
        for (uint32_t i = 0; i < l.n; i++)
                if (s[2 * i] == 0 || !check_string(c, s[2 * i]) || s[2 * i + 1] == 0 ||
                    !check_string(c, s[2 * i + 1]) || (second_is_path && c->data[s[2 * i + 1]] != '/'))
                        return false;
        return true;
}

static bool check_namespaces(const struct checker *c, struct plan_list l) {
        const struct plan_namespace *n;

        if (!check_list(c, l, sizeof(*n)))
                return false;
        n = (const void *)(c->data + l.offset);
        for (uint32_t i = 0; i < l.n; i++)
                if (!check_path(c, n[i].path, true) || __builtin_popcount(n[i].clone_flag) != 1)
                        return false;
        return true;
}

static bool check_hooks(const struct checker *c, struct plan_list l) {
        const struct plan_hook *h;

        if (!check_list(c, l, sizeof(*h)))
                return false;
        h = (const void *)(c->data + l.offset);
        for (uint32_t i = 0; i < l.n; i++)
                if (h[i].stage == 0 || h[i].stage >= _PLAN_HOOK_STAGE_MAX || !check_path(c, h[i].path, true) ||
                    !check_strings(c, h[i].args, false) || !check_strings(c, h[i].env, false))
                        return false;
        return true;
}

static bool check_runtime(const struct checker *c, const struct plan_runtime *r) {
        if (r->program == 0)
                return true;
        return check_string(c, r->program) && c->data[r->program] != '\0' && check_path(c, r->root, true) &&
               check_strings(c, r->arguments, false) && check_strings(c, r->config, false) && r->config.n >= 1 &&
               r->config.n <= 2;
}

static bool check_container(const struct checker *c, const struct plan *p) {
        return check_rootfs(c, &p->rootfs) && check_namespaces(c, p->namespaces) && check_maps(c, p->uid_map) &&
               check_maps(c, p->gid_map) && check_mounts(c, p->mounts) && check_devices(c, p->devices) &&
               check_pairs(c, p->links, true) && check_pairs(c, p->sysctls, false) &&
               check_pairs(c, p->unified, false) && check_strings(c, p->masked_paths, true) &&
               check_strings(c, p->readonly_paths, true) &&
               check_seccomp(c, &p->supervisor_seccomp) && check_hooks(c, p->hooks) &&
               check_list(c, p->time_offsets, sizeof(struct plan_time_offset)) && check_string(c, p->mount_label);
}

/** plan_check() - whether @size bytes at @data (aligned to 8) are a plan that can be followed safely
 *
 * Return: 0, -EPROTONOSUPPORT for another version, -EBADMSG for anything malformed.
 */
int plan_check(const void *data, size_t size) {
        const struct plan *p = data;
        struct checker c = { .data = data, .size = size };

        if (size < sizeof(*p) || size > PLAN_SIZE_MAX || (uintptr_t)data % 8 != 0 || p->magic != PLAN_MAGIC)
                return -EBADMSG;
        if (p->version != PLAN_VERSION)
                return -EPROTONOSUPPORT;
        if (p->size != size || (p->kind != PLAN_CONTAINER && p->kind != PLAN_EXEC))
                return -EBADMSG;

        const plan_str strings[] = { p->namespace, p->id, p->exec_id, p->hostname, p->domainname, p->log_identifier };
        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                if (!check_string(&c, strings[i]))
                        return -EBADMSG;
        if (p->namespace == 0 || p->id == 0 || (p->kind == PLAN_EXEC && p->exec_id == 0))
                return -EBADMSG;
        if (!check_process(&c, &p->process) || !check_seccomp(&c, &p->seccomp) || !check_runtime(&c, &p->runtime) ||
            !check_bits(&c, p->memory_nodes))
                return -EBADMSG;
        if (p->kind == PLAN_CONTAINER && !check_container(&c, p))
                return -EBADMSG;
        return 0;
}

/** plan_string() - a string of a checked plan, NULL when it was not given; lives as long as the plan */
const char *plan_string(const struct plan *plan, plan_str s) {
        return s ? (const char *)plan + s : NULL;
}

/** plan_array() - the records of a list of a checked plan, NULL when it is empty */
const void *plan_array(const struct plan *plan, struct plan_list l) {
        return l.n ? (const uint8_t *)plan + l.offset : NULL;
}
