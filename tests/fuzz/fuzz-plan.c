/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Fuzz target: the plan, as the shim checks it before it looks at anything else.
 *
 * The input is the plan's bytes; magic, version and size are put right, so that the fuzzer gets to the lists. What
 * passes the check is read whole: every string and array of a plan that is in order has to lie inside of it.
 */

#include <string.h>

#include "shared/macros.h"
#include "shared/plan-check.h"
#include "tests/fuzz/fuzz.h"

static size_t read_strings(const struct plan *p, struct plan_list l) {
        const plan_str *s = plan_array(p, l);
        size_t total = 0;

        for (uint32_t i = 0; i < l.n; i++)
                total += strlen(plan_string(p, s[i]));
        return total;
}

static size_t read_mounts(const struct plan *p) {
        const struct plan_mount *m = plan_array(p, p->mounts);
        size_t total = 0;

        for (uint32_t i = 0; i < p->mounts.n; i++)
                total += m[i].target ? strlen(plan_string(p, m[i].target)) : 0;
        return total;
}

static size_t read_plan(const struct plan *p) {
        const plan_str strings[] = { p->namespace, p->id, p->exec_id, p->hostname, p->domainname, p->log_identifier };
        size_t total = read_strings(p, p->process.args) + read_strings(p, p->process.env);

        for (size_t i = 0; i < ELEMENTSOF(strings); i++)
                total += strings[i] ? strlen(plan_string(p, strings[i])) : 0;
        if (p->kind != PLAN_CONTAINER)
                return total;
        total += read_strings(p, p->rootfs.lowers) + read_strings(p, p->rootfs.data);
        return total + read_strings(p, p->masked_paths) + read_strings(p, p->readonly_paths) + read_mounts(p);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
        g_autofree uint8_t *bytes = g_malloc(MAX(size, sizeof(struct plan)));
        struct plan *p = (struct plan *)bytes;

        if (size < sizeof(*p))
                return 0; /* NOLINT(clang-analyzer-unix.Malloc): bytes go by themselves */
        memcpy(bytes, data, size);
        p->magic = PLAN_MAGIC;
        p->version = PLAN_VERSION;
        p->size = (uint32_t)size;
        if (plan_check(bytes, size) == 0)
                g_assert_cmpuint(read_plan(p), <=, size * 64);
        return 0; /* NOLINT(clang-analyzer-unix.Malloc) */
}
