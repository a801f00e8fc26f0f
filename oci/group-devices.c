/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * linux.resources.devices: which devices a container may open and make nodes of.
 *
 * The last rule that fits decides, for each kind of access by itself. Version 1 has files for that; for version 2 the
 * rules become a small BPF program of the cgroup, which takes what an allowing rule grants off the list of what is
 * asked for, from the last rule to the first, and is content when nothing is left. The devices every container has
 * (config-linux.md "Default Devices") are allowed after all rules. Without rules everything stays as it was.
 */

#include <errno.h>
#include <fcntl.h>
#include <linux/bpf.h>
#include <string.h>
#include <unistd.h>

#include "oci/group-internal.h"
#include "plan/fields.h"
#include "shared/macros.h"
#include "shared/syscalls.h"

#define DEVICES "linux.resources.devices"

typedef struct Rule {
        gboolean allow;
        char type;           /* 'a', 'b' or 'c' */
        gint64 major, minor; /* -1: any */
        char access[4];
} Rule;

static const Rule defaults[] = {
        { TRUE, 'c', -1, -1, "m" }, { TRUE, 'b', -1, -1, "m" },    { TRUE, 'c', 1, 3, "rwm" },
        { TRUE, 'c', 1, 5, "rwm" }, { TRUE, 'c', 1, 7, "rwm" },    { TRUE, 'c', 1, 8, "rwm" },
        { TRUE, 'c', 1, 9, "rwm" }, { TRUE, 'c', 5, 0, "rwm" },    { TRUE, 'c', 5, 1, "rwm" },
        { TRUE, 'c', 5, 2, "rwm" }, { TRUE, 'c', 136, -1, "rwm" },
};

static gboolean parse(JsonObject *object, const char *field, Rule *ret, GError **error) {
        const char *type = NULL, *access = NULL;

        *ret = (Rule){ .type = 'a', .major = -1, .minor = -1, .access = "rwm" };
        if (!field_bool(object, field, "allow", &ret->allow, error) ||
            !field_string(object, field, "type", &type, error) ||
            !field_string(object, field, "access", &access, error) ||
            !field_int(object, field, "major", -1, G_MAXINT32, &ret->major, error) ||
            !field_int(object, field, "minor", -1, G_MAXINT32, &ret->minor, error))
                return FALSE;
        if (type && *type) {
                if (strlen(type) != 1 || !strchr("abcu", *type))
                        return oci_fail(error, OCI_ERROR_FAILED, "%stype: \"%s\" is not one of a, b, c", field, type);
                ret->type = *type == 'u' ? 'c' : *type;
        }
        if (access && *access) {
                if (strlen(access) > 3 || strspn(access, "rwm") != strlen(access))
                        return oci_fail(error, OCI_ERROR_FAILED, "%saccess: \"%s\" is not made of r, w and m", field,
                                        access);
                g_strlcpy(ret->access, access, sizeof(ret->access));
        }
        return TRUE;
}

static char *rule_number(gint64 v) {
        return v < 0 ? g_strdup("*") : g_strdup_printf("%d", (int)v);
}

static gboolean write_rule(const char *directory, const Rule *rule, GError **error) {
        g_autofree char *major = rule_number(rule->major), *minor = rule_number(rule->minor);
        g_autofree char *text = g_strdup_printf("%c %s:%s %s", rule->type, major, minor, rule->access);
        g_autofree char *path = g_build_filename(directory, rule->allow ? "devices.allow" : "devices.deny", NULL);
        _cleanup_close_ int fd = open(path, O_WRONLY | O_CLOEXEC);

        if (fd < 0 || write(fd, text, strlen(text)) < 0)
                return oci_fail_errno(error, errno, DEVICES ": write \"%s\" to %s", text, path);
        return TRUE;
}

static guint32 access_bits(const char *access) {
        guint32 bits = 0;

        for (; *access; access++)
                bits |= *access == 'm'   ? BPF_DEVCG_ACC_MKNOD
                        : *access == 'r' ? BPF_DEVCG_ACC_READ
                                         : BPF_DEVCG_ACC_WRITE;
        return bits;
}

static void emit(GArray *code, guint8 op, guint8 dst, guint8 src, gint16 off, gint32 imm) {
        struct bpf_insn insn = { .code = op, .dst_reg = dst & 0xf, .src_reg = src & 0xf, .off = off, .imm = imm };

        g_array_append_val(code, insn);
}

static void emit_return(GArray *code, gint32 value) {
        emit(code, BPF_ALU64 | BPF_MOV | BPF_K, BPF_REG_0, 0, 0, value);
        emit(code, BPF_JMP | BPF_EXIT, 0, 0, 0, 0);
}

/* r2: what is still asked for, r3: type, r4: major, r5: minor */
static void emit_rule(GArray *code, const Rule *rule) {
        guint begin = code->len, jumps[3], n = 0;

        if (rule->type != 'a') {
                jumps[n++] = code->len;
                emit(code, BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_3, 0, 0,
                     rule->type == 'b' ? BPF_DEVCG_DEV_BLOCK : BPF_DEVCG_DEV_CHAR);
        }
        if (rule->major >= 0) {
                jumps[n++] = code->len;
                emit(code, BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_4, 0, 0, (gint32)rule->major);
        }
        if (rule->minor >= 0) {
                jumps[n++] = code->len;
                emit(code, BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_5, 0, 0, (gint32)rule->minor);
        }
        if (rule->allow) {
                emit(code, BPF_ALU | BPF_AND | BPF_K, BPF_REG_2, 0, 0, (gint32)~access_bits(rule->access));
                emit(code, BPF_JMP32 | BPF_JNE | BPF_K, BPF_REG_2, 0, 2, 0);
        } else {
                emit(code, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_0, BPF_REG_2, 0, 0);
                emit(code, BPF_ALU | BPF_AND | BPF_K, BPF_REG_0, 0, 0, (gint32)access_bits(rule->access));
                emit(code, BPF_JMP32 | BPF_JEQ | BPF_K, BPF_REG_0, 0, 2, 0);
        }
        emit_return(code, rule->allow);
        for (guint i = 0; i < n; i++)
                g_array_index(code, struct bpf_insn, jumps[i]).off = (gint16)(code->len - jumps[i] - 1);
        g_assert(code->len > begin);
}

static GArray *compile(const GArray *rules) {
        GArray *code = g_array_new(FALSE, FALSE, sizeof(struct bpf_insn));
        gint16 at = (gint16)offsetof(struct bpf_cgroup_dev_ctx, access_type);

        emit(code, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_2, BPF_REG_1, at, 0);
        emit(code, BPF_ALU | BPF_MOV | BPF_X, BPF_REG_3, BPF_REG_2, 0, 0);
        emit(code, BPF_ALU | BPF_AND | BPF_K, BPF_REG_3, 0, 0, 0xffff);
        emit(code, BPF_ALU | BPF_RSH | BPF_K, BPF_REG_2, 0, 0, 16);
        emit(code, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_4, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, major), 0);
        emit(code, BPF_LDX | BPF_MEM | BPF_W, BPF_REG_5, BPF_REG_1, offsetof(struct bpf_cgroup_dev_ctx, minor), 0);
        for (guint i = rules->len; i-- > 0;)
                emit_rule(code, &g_array_index(rules, Rule, i));
        emit_return(code, 1);
        return code;
}

static gboolean attach(State *state, const GArray *rules, GError **error) {
        g_autoptr(GArray) code = compile(rules);
        _cleanup_close_ int group = group_open(state), program = -1;
        union bpf_attr load = {
                .prog_type = BPF_PROG_TYPE_CGROUP_DEVICE,
                .insn_cnt = code->len,
                .insns = (guint64)(guintptr)code->data,
                .license = (guint64)(guintptr) "GPL",
        };
        union bpf_attr attach_to = { .attach_type = BPF_CGROUP_DEVICE, .attach_flags = BPF_F_ALLOW_MULTI };

        if (group < 0)
                return oci_fail_errno(error, group, DEVICES ": cgroup %s", state->group);
        program = sys_bpf(BPF_PROG_LOAD, &load, sizeof(load));
        if (program < 0)
                return oci_fail_errno(error, errno, DEVICES ": load the program");
        attach_to.target_fd = (guint32)group;
        attach_to.attach_bpf_fd = (guint32)program;
        if (sys_bpf(BPF_PROG_ATTACH, &attach_to, sizeof(attach_to)) < 0)
                return oci_fail_errno(error, errno, DEVICES ": attach the program");
        return TRUE;
}

/** limit_devices() - linux.resources.devices */
gboolean limit_devices(State *state, JsonObject *resources, GError **error) {
        g_autoptr(GArray) rules = g_array_new(FALSE, FALSE, sizeof(Rule));
        g_autofree char *directory = group_directory(state, "devices");
        JsonArray *array = NULL;

        if (!field_array(resources, "linux.resources.", "devices", &array, error))
                return FALSE;
        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                g_autofree char *field = g_strdup_printf(DEVICES "[%u].", i);
                JsonObject *object;
                Rule rule;

                if (!element_object(array, DEVICES, i, &object, error) || !parse(object, field, &rule, error))
                        return FALSE;
                g_array_append_val(rules, rule);
        }
        if (rules->len == 0)
                return TRUE;
        g_array_append_vals(rules, defaults, G_N_ELEMENTS(defaults));
        if (!directory)
                return attach(state, rules, error);
        for (guint i = 0; i < rules->len; i++)
                if (!write_rule(directory, &g_array_index(rules, Rule, i), error))
                        return FALSE;
        return TRUE;
}
