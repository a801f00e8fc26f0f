/* SPDX-License-Identifier: LGPL-2.1-or-later */

/*
 * Seccomp: the built-in profile against its golden table, call by call and capability by capability;
 * the compiler against libseccomp's programs for the published profile and for random ones; profiles
 * of config.json, good and bad; the cache.
 *
 * The published profile is looked for beside the source tree (or where DAVIT_SECCOMP_REFERENCE says)
 * and compared when it is there; the golden table is always.
 */

#include <fcntl.h>
#include <seccomp.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <unistd.h>

#include "plan/capabilities.h"
#include "plan/seccomp.h"
#include "plan/spec.h"
#include "shared/macros.h"
#include "tests/unit/plan-bpf.h"

#define ALLOW SECCOMP_RET_ALLOW
#define EPERM_ RET_ERRNO(1)
#define RET_ERRNO(n) (SECCOMP_RET_ERRNO | (n))
#define DEFAULT_CAPABILITIES G_GUINT64_CONSTANT(0xa80425fb)
#define NUMBERS_MAX 1024U

typedef struct Golden {
        char *name, *outcome;
        gint64 numbers[3];
} Golden;

static const guint32 audit[] = { AUDIT_ARCH_X86_64, AUDIT_ARCH_I386, AUDIT_ARCH_X86_64 };

static const guint64 samples[] = {
        0,
        1,
        2,
        7,
        8,
        9,
        10,
        16,
        37,
        38,
        39,
        40,
        41,
        64,
        0x20000,
        0x20008,
        0x20009,
        0x2000000,
        0x10000000,
        0x20000000,
        0x40000000,
        0x7e020000,
        0x80000000,
        0xfffffffe,
        0xffffffff,
        0x100000000,
        0x100000008,
        0x100000026,
        0x100000028,
        0x100020000,
        0xffffffff00000000,
        0xffffffffffffffff,
        0x01200011,
        0x003d0f00,
        0x10000011,
};

static GBytes *compile_default(guint64 capabilities) {
        g_auto(SeccompProfile) profile = {};
        g_autoptr(GError) error = NULL;
        GBytes *program;

        seccomp_profile_default(&profile, capabilities);
        program = seccomp_compile(&profile, &error);
        g_assert_no_error(error);
        return program;
}

static guint64 capability_bits(const char *names) {
        g_auto(GStrv) words = g_strsplit(names, "|", -1);
        guint64 bits = 0;

        for (char **w = words; *w; w++) {
                int capability = capability_from_name(*w);

                g_assert_cmpint(capability, >=, 0);
                bits |= G_GUINT64_CONSTANT(1) << capability;
        }
        return bits;
}

/* What a rule with arguments decides, told in C and not by rules. */
static guint32 expected(const char *outcome, guint64 capabilities, guint64 first, gboolean wide) {
        gboolean admin = capabilities & G_GUINT64_CONSTANT(1) << 21;

        if (!wide)
                first = (guint32)first;
        if (g_str_equal(outcome, "allow"))
                return ALLOW;
        if (g_str_has_prefix(outcome, "cap:"))
                return capabilities & capability_bits(outcome + 4) ? ALLOW : EPERM_;
        if (g_str_equal(outcome, "socket"))
                return first == 38 || first == 40 ? EPERM_ : ALLOW;
        if (g_str_equal(outcome, "personality"))
                return first == 0 || first == 8 || first == 0x20000 || first == 0x20008 || first == 0xffffffff ? ALLOW
                                                                                                               : EPERM_;
        if (g_str_equal(outcome, "clone"))
                return admin || (first & 0x7e020000) == 0 ? ALLOW : EPERM_;
        if (g_str_equal(outcome, "clone3"))
                return admin ? ALLOW : RET_ERRNO(38);
        g_error("outcome %s", outcome);
}

static GPtrArray *read_golden(void) {
        g_autofree char *path = g_build_filename(TEST_SRCDIR, "tests/unit/data/seccomp-default.golden", NULL);
        g_autofree char *text = NULL;
        g_autoptr(GError) error = NULL;
        GPtrArray *golden = g_ptr_array_new();
        g_auto(GStrv) lines = NULL;

        g_assert_true(g_file_get_contents(path, &text, NULL, &error));
        lines = g_strsplit(text, "\n", -1);
        for (char **line = lines; *line; line++) {
                g_auto(GStrv) words = NULL;
                Golden *g;

                if (!**line || **line == '#')
                        continue;
                words = g_strsplit(*line, " ", -1);
                g_assert_cmpuint(g_strv_length(words), ==, 5);
                g = g_new0(Golden, 1);
                g->name = g_strdup(words[0]);
                g->outcome = g_strdup(words[4]);
                for (int i = 0; i < 3; i++)
                        g->numbers[i] = *words[i + 1] == '-' ? -1 : g_ascii_strtoll(words[i + 1], NULL, 10);
                g_ptr_array_add(golden, g);
        }
        g_assert_cmpuint(golden->len, >, 400);
        return golden;
}

static void free_golden(GPtrArray *golden) {
        for (guint i = 0; i < golden->len; i++) {
                Golden *g = golden->pdata[i];

                g_free(g->name);
                g_free(g->outcome);
                g_free(g);
        }
        g_ptr_array_unref(golden);
}

static const Golden *find_golden(GPtrArray *golden, int arch, guint32 number) {
        for (guint i = 0; i < golden->len; i++) {
                const Golden *g = golden->pdata[i];

                if (g->numbers[arch] == number)
                        return g;
        }
        return NULL;
}

static void compare_golden(GPtrArray *golden, guint64 capabilities) {
        g_autoptr(GBytes) bytes = compile_default(capabilities);
        Program program = program_of(bytes);

        for (int arch = 0; arch < 3; arch++)
                for (guint32 n = 0; n < NUMBERS_MAX; n++) {
                        guint32 number = arch == SECCOMP_ARCH_X32 ? n | X32_BIT : n;
                        const Golden *g = find_golden(golden, arch, number);

                        for (gsize i = 0; i < (g && g->numbers[arch] >= 0 ? G_N_ELEMENTS(samples) : 1); i++) {
                                guint64 args[6] = { samples[i] };
                                guint32 got = program_call(program, audit[arch], number, args);
                                guint32 want = g ? expected(g->outcome, capabilities, samples[i], arch == 0) : EPERM_;

                                if (got != want)
                                        g_error("%s (%u on %d), argument 0x%" G_GINT64_MODIFIER
                                                "x, capabilities 0x%" G_GINT64_MODIFIER "x: 0x%x instead of 0x%x",
                                                g ? g->name : "?", n, arch, samples[i], capabilities, got, want);
                        }
                }
        g_assert_cmphex(program_call(program, AUDIT_ARCH_AARCH64, 0, NULL), ==, SECCOMP_RET_KILL_THREAD);
        g_assert_cmphex(program_call(program, AUDIT_ARCH_X86_64, G_MAXUINT32, NULL), ==, EPERM_);
}

static void test_default_golden(void) {
        GPtrArray *golden = read_golden();

        compare_golden(golden, 0);
        compare_golden(golden, DEFAULT_CAPABILITIES);
        compare_golden(golden, CAPABILITY_ALL);
        for (int i = 0; i <= CAPABILITY_LAST; i++) {
                compare_golden(golden, G_GUINT64_CONSTANT(1) << i);
                compare_golden(golden, CAPABILITY_ALL & ~(G_GUINT64_CONSTANT(1) << i));
        }
        free_golden(golden);
}

/* A program of libseccomp for the same profile. */
static GBytes *reference(const SeccompProfile *profile) {
        static const enum scmp_compare ops[] = { SCMP_CMP_NE, SCMP_CMP_LT, SCMP_CMP_LE,       SCMP_CMP_EQ,
                                                 SCMP_CMP_GE, SCMP_CMP_GT, SCMP_CMP_MASKED_EQ };
        scmp_filter_ctx ctx = seccomp_init(profile->default_action);
        int fd = memfd_create("reference", MFD_CLOEXEC);
        char *data;
        off_t size;
        GBytes *bytes;

        g_assert_nonnull(ctx);
        if (profile->arches & 1U << SECCOMP_ARCH_X86)
                g_assert_cmpint(seccomp_arch_add(ctx, SCMP_ARCH_X86), ==, 0);
        if (profile->arches & 1U << SECCOMP_ARCH_X32)
                g_assert_cmpint(seccomp_arch_add(ctx, SCMP_ARCH_X32), ==, 0);
        for (guint i = 0; i < profile->rules->len; i++) {
                const SeccompRule *rule = &g_array_index(profile->rules, SeccompRule, i);
                int number = seccomp_syscall_resolve_name(rule->name), r;
                struct scmp_arg_cmp args[6];

                if (number == __NR_SCMP_ERROR || rule->action == profile->default_action)
                        continue;
                for (guint j = 0; j < rule->n; j++)
                        args[j] = (struct scmp_arg_cmp){ rule->conditions[j].index, ops[rule->conditions[j].op],
                                                         rule->conditions[j].value, rule->conditions[j].value_two };
                r = seccomp_rule_add_array(ctx, rule->action, number, rule->n, args);
                if (r != 0 && r != -EEXIST)
                        g_error("%s: %s", rule->name, g_strerror(-r));
        }
        g_assert_cmpint(seccomp_export_bpf(ctx, fd), ==, 0);
        seccomp_release(ctx);
        size = lseek(fd, 0, SEEK_END);
        g_assert_cmpint(size, >, 0);
        data = g_malloc((gsize)size);
        g_assert_cmpint(pread(fd, data, (gsize)size, 0), ==, size);
        close(fd);
        bytes = g_bytes_new_take(data, (gsize)size);
        return bytes;
}

/* newer than this libseccomp: only our table has them */
static gboolean known(int arch, guint32 n) {
        g_autofree char *name = seccomp_syscall_resolve_num_arch(arch == SECCOMP_ARCH_X86   ? SCMP_ARCH_X86
                                                                 : arch == SECCOMP_ARCH_X32 ? SCMP_ARCH_X32
                                                                                            : SCMP_ARCH_X86_64,
                                                                 (int)n);

        return name != NULL;
}

static void compare_programs(Program a, Program b, gboolean with_x32) {
        for (int arch = 0; arch < 3; arch++)
                for (guint32 n = 0; n < 600; n++) {
                        guint32 number = arch == SECCOMP_ARCH_X32 ? n | X32_BIT : n;

                        if ((arch != SECCOMP_ARCH_X32 || with_x32) && !known(arch, number))
                                continue;
                        for (gsize i = 0; i < G_N_ELEMENTS(samples); i++) {
                                guint64 args[6] = { samples[i], samples[i], samples[(i + 3) % G_N_ELEMENTS(samples)],
                                                    samples[i] };
                                guint32 x = program_call(a, audit[arch], number, args),
                                        y = program_call(b, audit[arch], number, args);

                                if (x != y)
                                        g_error("%u on %d, argument 0x%" G_GINT64_MODIFIER
                                                "x: 0x%x, libseccomp has 0x%x",
                                                n, arch, samples[i], x, y);
                        }
                }
        g_assert_cmphex(program_call(a, AUDIT_ARCH_AARCH64, 1, NULL), ==, program_call(b, AUDIT_ARCH_AARCH64, 1, NULL));
        g_assert_cmphex(program_call(a, AUDIT_ARCH_X86_64, G_MAXUINT32, NULL), ==,
                        program_call(b, AUDIT_ARCH_X86_64, G_MAXUINT32, NULL));
}

static gboolean list_has(JsonObject *object, const char *list, const char *member, const char *text,
                         guint64 capabilities) {
        JsonObject *o = json_object_has_member(object, list) ? json_object_get_object_member(object, list) : NULL;
        JsonArray *array = o && json_object_has_member(o, member) ? json_object_get_array_member(o, member) : NULL;

        for (guint i = 0; array && i < json_array_get_length(array); i++) {
                const char *s = json_array_get_string_element(array, i);

                if (text ? g_str_equal(s, text) : (capabilities >> capability_from_name(s)) & 1)
                        return TRUE;
        }
        return FALSE;
}

static gboolean names_list(JsonObject *object, const char *list, const char *member) {
        return json_object_has_member(object, list) &&
               json_object_has_member(json_object_get_object_member(object, list), member);
}

/* The published form has conditions of its own; what is left for this machine and these capabilities is a plain
 * profile. */
static void published(JsonNode *document, guint64 capabilities, SeccompProfile *ret) {
        JsonObject *root = json_node_get_object(document);
        JsonArray *syscalls = json_object_get_array_member(root, "syscalls"), *kept = json_array_new();
        g_autoptr(GError) error = NULL;
        JsonObject *plain = json_object_new();

        for (guint i = 0; i < json_array_get_length(syscalls); i++) {
                JsonObject *rule = json_array_get_object_element(syscalls, i);

                if (names_list(rule, "includes", "arches") && !list_has(rule, "includes", "arches", "amd64", 0))
                        continue;
                if (names_list(rule, "includes", "caps") && !list_has(rule, "includes", "caps", NULL, capabilities))
                        continue;
                if (list_has(rule, "excludes", "arches", "amd64", 0) ||
                    list_has(rule, "excludes", "caps", NULL, capabilities))
                        continue;
                json_array_add_object_element(kept, json_object_ref(rule));
        }
        json_object_set_string_member(plain, "defaultAction", json_object_get_string_member(root, "defaultAction"));
        json_object_set_int_member(plain, "defaultErrnoRet", json_object_get_int_member(root, "defaultErrnoRet"));
        json_object_set_array_member(plain, "syscalls", kept);
        g_assert_true(seccomp_profile_parse(ret, plain, "", &error));
        ret->arches |= 1U << SECCOMP_ARCH_X86 | 1U << SECCOMP_ARCH_X32;
        json_object_set_object_member(root, "kept", plain); /* names are borrowed from it */
}

static void test_default_published(void) {
        static const guint64 sets[] = { 0,
                                        DEFAULT_CAPABILITIES,
                                        CAPABILITY_ALL,
                                        CAPABILITY_ALL & ~(G_GUINT64_CONSTANT(1) << 21),
                                        G_GUINT64_CONSTANT(1) << 21,
                                        G_GUINT64_CONSTANT(1) << 39 };
        const char *given = g_getenv("DAVIT_SECCOMP_REFERENCE");
        g_autofree char *beside =
                g_build_filename(TEST_SRCDIR, "..", "shared", "data", "seccomp-default-moby.json", NULL);
        g_autofree char *text = NULL;
        g_autoptr(GError) error = NULL;
        g_autoptr(JsonNode) document = NULL;
        gsize size;

        if (!g_file_get_contents(given ? given : beside, &text, &size, NULL)) {
                g_test_skip("the published profile is not there");
                return;
        }
        document = spec_parse(text, size, &error);
        g_assert_no_error(error);
        for (gsize i = 0; i < G_N_ELEMENTS(sets); i++) {
                g_auto(SeccompProfile) profile = {};
                g_autoptr(GBytes) theirs = NULL, ours = compile_default(sets[i]), compiled = NULL;

                published(document, sets[i], &profile);
                theirs = reference(&profile);
                compiled = seccomp_compile(&profile, &error);
                g_assert_no_error(error);
                compare_programs(program_of(ours), program_of(theirs), TRUE);
                compare_programs(program_of(compiled), program_of(theirs), TRUE);
                g_test_message("capabilities 0x%" G_GINT64_MODIFIER "x: %zu instructions, libseccomp has %zu", sets[i],
                               program_of(ours).n, program_of(theirs).n);
        }
}

static const char *const some_names[] = {
        "read",     "write",     "open",   "close",   "stat",         "mmap",       "socket", "socketcall",
        "connect",  "ipc",       "shmget", "clone",   "personality",  "ioctl",      "fcntl",  "kill",
        "uname",    "ptrace",    "mount",  "umount2", "prctl",        "arch_prctl", "openat", "execve",
        "execveat", "getrandom", "time",   "futex",   "waitpid",      "lseek",      "accept", "accept4",
        "sendto",   "semop",     "msgctl", "preadv",  "rt_sigaction",
};

static SeccompCondition random_condition(GRand *rand, guint index, guint64 mask) {
        return (SeccompCondition){
                .index = index,
                .op = (SeccompCompare)g_rand_int_range(rand, SECCOMP_CMP_NE, SECCOMP_CMP_MASKED_EQ + 1),
                .value = samples[g_rand_int_range(rand, 0, G_N_ELEMENTS(samples))] & mask,
                .value_two = samples[g_rand_int_range(rand, 0, G_N_ELEMENTS(samples))] & mask,
        };
}

static gboolean multiplexed(const char *name) {
        SeccompNumber n;

        return seccomp_number(SECCOMP_ARCH_X86, name, &n) && n.multiplexer != SECCOMP_NUMBER_NONE;
}

/*
 * For libseccomp each name comes once: what two rules of different action for one call mean together
 * it leaves open, and 2.5 merges conditions of several rules for one call wrongly. Behind i386's
 * multiplexers it compares arguments that are pointers there.
 */
static void random_profile(GRand *rand, SeccompProfile *profile, gboolean once) {
        static const guint32 actions[] = {
                ALLOW, EPERM_, RET_ERRNO(13), SECCOMP_RET_KILL_PROCESS, SECCOMP_RET_TRAP, SECCOMP_RET_LOG
        };
        guint n = (guint)g_rand_int_range(rand, 1, 30);
        gboolean used[G_N_ELEMENTS(some_names)] = {};
        guint64 mask;

        seccomp_profile_init(profile, actions[g_rand_int_range(rand, 0, G_N_ELEMENTS(actions))]);
        if (g_rand_boolean(rand))
                profile->arches |= 1U << SECCOMP_ARCH_X86;
        if (g_rand_boolean(rand))
                profile->arches |= 1U << SECCOMP_ARCH_X32;
        mask = profile->arches == 1U << SECCOMP_ARCH_X86_64 ? G_MAXUINT64 : G_MAXUINT32;
        for (guint i = 0; i < n; i++) {
                guint at = (guint)g_rand_int_range(rand, 0, G_N_ELEMENTS(some_names));
                SeccompRule rule = { .name = some_names[at],
                                     .action = actions[g_rand_int_range(rand, 0, G_N_ELEMENTS(actions))] };

                if (once && (used[at] || g_str_equal(rule.name, "ipc") || g_str_equal(rule.name, "socketcall")))
                        continue;
                used[at] = TRUE;
                rule.n = g_rand_boolean(rand) || (once && multiplexed(rule.name)) ? 0
                                                                                  : (guint)g_rand_int_range(rand, 1, 4);
                for (guint j = 0; j < rule.n; j++)
                        rule.conditions[j] = random_condition(rand, j, mask);
                seccomp_profile_add(profile, &rule);
        }
}

static void test_random_libseccomp(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(20240229);

        for (int i = 0; i < 100; i++) {
                g_auto(SeccompProfile) profile = {};
                g_autoptr(GBytes) ours = NULL, theirs = NULL;
                g_autoptr(GError) error = NULL;

                random_profile(rand, &profile, TRUE);
                ours = seccomp_compile(&profile, &error);
                g_assert_no_error(error);
                theirs = reference(&profile);
                compare_programs(program_of(ours), program_of(theirs), profile.arches & 1U << SECCOMP_ARCH_X32);
        }
}

static gboolean holds(const SeccompCondition *c, guint64 argument, gboolean wide) {
        guint64 value = wide ? c->value : (guint32)c->value, two = wide ? c->value_two : (guint32)c->value_two;

        if (!wide)
                argument = (guint32)argument;
        switch (c->op) {
        case SECCOMP_CMP_NE:
                return argument != value;
        case SECCOMP_CMP_LT:
                return argument < value;
        case SECCOMP_CMP_LE:
                return argument <= value;
        case SECCOMP_CMP_EQ:
                return argument == value;
        case SECCOMP_CMP_GE:
                return argument >= value;
        case SECCOMP_CMP_GT:
                return argument > value;
        default:
                return (argument & value) == (two & value);
        }
}

/* Rule by rule, the plain meaning: without conditions first, then the first whose conditions all hold. */
static guint32 meaning(const SeccompProfile *profile, int arch, guint32 number, const guint64 args[6]) {
        for (int pass = 0; pass < 2; pass++)
                for (guint i = 0; i < profile->rules->len; i++) {
                        const SeccompRule *rule = &g_array_index(profile->rules, SeccompRule, i);
                        SeccompNumber n;
                        guint j = 0;

                        if (rule->action == profile->default_action ||
                            !seccomp_number((SeccompArch)arch, rule->name, &n))
                                continue;
                        if (pass == 1 && n.multiplexer == (int)number && n.call == (guint32)args[0])
                                return rule->action;
                        if (n.direct != (int)number || (pass == 0) != (rule->n == 0))
                                continue;
                        while (j < rule->n && holds(&rule->conditions[j], args[rule->conditions[j].index],
                                                    arch == SECCOMP_ARCH_X86_64))
                                j++;
                        if (j == rule->n)
                                return rule->action;
                }
        return profile->default_action;
}

static void compare_meaning(const SeccompProfile *profile, Program program) {
        for (int arch = 0; arch < 3; arch++)
                for (guint32 n = 0; n < 600; n++) {
                        guint32 number = arch == SECCOMP_ARCH_X32 ? n | X32_BIT : n;

                        for (gsize i = 0; i < G_N_ELEMENTS(samples); i++) {
                                guint64 args[6] = { samples[i], samples[(i + 7) % G_N_ELEMENTS(samples)],
                                                    samples[(i + 3) % G_N_ELEMENTS(samples)], samples[i] };
                                guint32 want = profile->arches & 1U << arch ? meaning(profile, arch, number, args)
                                                                            : SECCOMP_RET_KILL_THREAD;
                                guint32 got = program_call(program, audit[arch], number, args);

                                if (got != want)
                                        g_error("%u on %d, argument 0x%" G_GINT64_MODIFIER "x: 0x%x instead of 0x%x", n,
                                                arch, samples[i], got, want);
                        }
                }
}

static void test_random_meaning(void) {
        g_autoptr(GRand) rand = g_rand_new_with_seed(19700101);

        for (int i = 0; i < 25; i++) {
                g_auto(SeccompProfile) profile = {};
                g_autoptr(GBytes) bytes = NULL;
                g_autoptr(GError) error = NULL;

                random_profile(rand, &profile, FALSE);
                bytes = seccomp_compile(&profile, &error);
                g_assert_no_error(error);
                compare_meaning(&profile, program_of(bytes));
        }
}

/* How much a call costs: the deepest path over all numbers. */
static void test_depth(void) {
        g_autoptr(GBytes) bytes = compile_default(DEFAULT_CAPABILITIES);
        Program program = program_of(bytes);
        guint deepest = 0;

        for (guint32 n = 0; n < NUMBERS_MAX; n++) {
                struct seccomp_data data = { .nr = (int)n, .arch = AUDIT_ARCH_X86_64 };
                guint steps = 0;

                (void)program_run(program, &data, &steps);
                deepest = MAX(deepest, steps);
        }
        g_test_message("%zu instructions, at most %u for a call", program.n, deepest);
        g_assert_cmpuint(deepest, <=, 32);
        g_assert_cmpuint(program.n, <=, 800);
}

/* The shim's filter refuses nothing that the container's allows, whatever the call and its arguments. */
static void check_supervisor(const SeccompProfile *profile) {
        g_auto(SeccompProfile) supervisor = {};
        g_autoptr(GBytes) own = seccomp_compile(profile, NULL), shim = NULL;

        (void)seccomp_profile_supervisor(profile, &supervisor);
        shim = seccomp_compile(&supervisor, NULL);
        for (int arch = 0; arch < 3; arch++)
                for (guint32 n = 0; n < 600; n++)
                        for (gsize i = 0; i < G_N_ELEMENTS(samples); i++) {
                                guint64 args[6] = { samples[i], samples[i], samples[i] };
                                guint32 number = arch == SECCOMP_ARCH_X32 ? n | X32_BIT : n;
                                guint32 a = program_call(program_of(own), audit[arch], number, args);
                                guint32 s = program_call(program_of(shim), audit[arch], number, args);

                                if (s != ALLOW && a != EPERM_ &&
                                    (gint32)(a & SECCOMP_RET_ACTION_FULL) >= (gint32)SECCOMP_RET_TRACE)
                                        g_error("%u on %d: the shim's filter has 0x%x, the container's 0x%x", n, arch,
                                                s, a);
                        }
}

static void test_supervisor(void) {
        static const char *const needed[] = {
                "clone3",
                "setns",
                "execve",
                "sendmsg",
                "recvmsg",
                "signalfd4",
                "ppoll",
                "poll",
                "waitid",
                "pidfd_open",
                "pidfd_send_signal",
                "capset",
                "prctl",
                "seccomp",
                "setgroups",
                "setresuid",
                "setresgid",
                "openat2",
                "fsopen",
                "fsconfig",
                "fsmount",
                "open_tree",
                "move_mount",
                "mount_setattr",
                "mount",
                "umount2",
                "chroot",
                "unshare",
                "keyctl",
                "renameat",
                "renameat2",
                "unlinkat",
                "memfd_create",
        };
        static const char *const refused[] = { "bpf",    "kexec_load",     "init_module", "finit_module",
                                               "reboot", "io_uring_setup", "swapon" };
        g_auto(SeccompProfile) profile = {}, open = {}, supervisor = {}, none = {};
        g_autoptr(GBytes) bytes = NULL;
        g_autoptr(GRand) rand = g_rand_new_with_seed(7);

        seccomp_profile_default(&profile, DEFAULT_CAPABILITIES);
        g_assert_true(seccomp_profile_supervisor(&profile, &supervisor));
        bytes = seccomp_compile(&supervisor, NULL);
        for (gsize i = 0; i < G_N_ELEMENTS(needed); i++)
                g_assert_cmphex(program_call(program_of(bytes), AUDIT_ARCH_X86_64,
                                             (guint32)seccomp_syscall_resolve_name(needed[i]), NULL),
                                ==, ALLOW);
        for (gsize i = 0; i < G_N_ELEMENTS(refused); i++)
                g_assert_cmphex(program_call(program_of(bytes), AUDIT_ARCH_X86_64,
                                             (guint32)seccomp_syscall_resolve_name(refused[i]), NULL),
                                ==, SECCOMP_RET_USER_NOTIF);
        g_test_message("%zu instructions", program_of(bytes).n);
        check_supervisor(&profile);
        seccomp_profile_default(&open, CAPABILITY_ALL);
        check_supervisor(&open);
        for (int i = 0; i < 10; i++) {
                g_auto(SeccompProfile) any = {};

                random_profile(rand, &any, FALSE);
                check_supervisor(&any);
        }
        seccomp_profile_init(&none, ALLOW);
        seccomp_profile_clear(&supervisor);
        g_assert_false(seccomp_profile_supervisor(&none, &supervisor));
        seccomp_profile_clear(&open);
}

int main(int argc, char **argv) {
        g_test_init(&argc, &argv, NULL);
        g_test_add_func("/seccomp/default/golden", test_default_golden);
        g_test_add_func("/seccomp/default/published", test_default_published);
        g_test_add_func("/seccomp/random/libseccomp", test_random_libseccomp);
        g_test_add_func("/seccomp/random/meaning", test_random_meaning);
        g_test_add_func("/seccomp/depth", test_depth);
        g_test_add_func("/seccomp/supervisor", test_supervisor);
        return g_test_run();
}
